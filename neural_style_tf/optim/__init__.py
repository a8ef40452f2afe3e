"""Optimisers of an image: `init` makes a state, `update` advances image and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from neural_style_tf.config.fields import flat
from neural_style_tf.config.optimizers import facts_of
from neural_style_tf.config.parsing import factory_of
from neural_style_tf.config.schema import Config

Losses = dict[str, tf.Tensor]
"""Name → scalar; `total` is minimised."""
Evaluate = Callable[[tf.Tensor], tuple[Losses, tf.Tensor]]
"""Image [1, H, W, 3] → (losses, gradient of `total`)."""
State = dict[str, Any]
"""Name → `tf.Variable`, or a nested state: all that an optimiser remembers."""


class Optimizer:
    """Moves the image: a frozen dataclass of settings; everything that changes is in its state.

    So one compiled step serves every run whose optimiser has the same `static` settings. Write a subclass
    with `init` and `update`, and with the others where the defaults do not fit.

    From the command line a field gets the setting of its name, such as `learning_rate`, `clamp` or
    `iterations`, and `agree` a function that broadcasts a tensor from the chief of several workers.
    """

    @property
    def static(self) -> Optimizer:
        """The optimiser with defaults for settings that only `init` uses, such as the learning rate."""
        return self

    def init(self, image: tf.Variable) -> State:
        """Return the initial state for an image [1, H, W, 3]; it has an int64 `steps`, 0."""
        raise NotImplementedError

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once and add 1 to `state["steps"]`; in a graph.

        Args:
            evaluate: Returns losses and gradient of an image.
            state: From `init`; its variables are assigned to.
            image: The variable [1, H, W, 3], mean-subtracted RGB.
            losses: At the image.
            gradient: Of `total` at the image [1, H, W, 3].

        Returns:
            Losses and gradient at the new image.
        """
        raise NotImplementedError

    def stalled(self, state: State) -> tf.Tensor:
        """Return whether no further update can lower the loss, a scalar bool; default: never."""
        return tf.constant(False)

    def average(self, state: State) -> tf.Variable | None:
        """Return an average of the images so far [1, H, W, 3]; default: None, without an average."""
        return None

    def inherit(self, state: State, coarser: State) -> None:
        """Take over what is useful of the state at the next coarser scale; default: nothing."""

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """Forget what was learnt, after a fault, and multiply the learning rate; default: do nothing."""


def make_optimizer(config: Config, agree: Callable[[tf.Tensor], tf.Tensor] = tf.identity) -> Optimizer:
    """Return the optimiser of `--optimizer`, whose fields get the settings of their names.

    `agree` broadcasts a tensor from the chief, so that all workers take the same branches.

    Raises:
        UserError: A class of the user's cannot be imported or made, or is no `Optimizer`.
    """
    name, settings = config.optimization.optimizer, flat(config.optimization)
    # A setting of one optimiser alone has its name before it: `adam_beta1`.
    settings = {setting.removeprefix(f"{name}_"): value for setting, value in settings.items()}
    make = factory_of("optimizer", facts_of(name).path, Optimizer)
    return make(**settings, iterations=config.iterations, agree=agree)
