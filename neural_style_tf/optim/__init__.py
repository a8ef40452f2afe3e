"""Optimisers of an image: `init` makes a state, and `update` moves the image and changes the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from neural_style_tf.config.fields import flat
from neural_style_tf.config.optimizers import facts_of
from neural_style_tf.config.parsing import factory_of
from neural_style_tf.config.schema import Config

Losses = dict[str, tf.Tensor]
"""Dict from the name of a loss to a scalar; `total` is minimised."""
Evaluate = Callable[[tf.Tensor], tuple[Losses, tf.Tensor]]
"""Function from an image [1, H, W, 3] to its losses and the gradient of `total`."""
State = dict[str, Any]
"""All that an optimiser remembers: a dict from names to variables or nested states."""


class Optimizer:
    """Base class of optimisers: frozen dataclasses of settings. Whatever changes is in their state.

    So one compiled step serves all runs whose optimisers have the same `static` settings. A subclass defines
    `init` and `update`, and overrides other methods where the defaults do not fit.

    From the command line, each field gets the setting of the same name, such as `learning_rate`, `clamp` or
    `iterations`. A field `agree` gets a function that broadcasts a tensor from the chief of several workers.
    """

    @property
    def static(self) -> Optimizer:
        """This optimiser, with defaults for settings that only `init` uses, such as the learning rate."""
        return self

    def init(self, image: tf.Variable) -> State:
        """Return the initial state for `image` [1, H, W, 3]. It must have an int64 variable `steps`, 0."""
        raise NotImplementedError

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once and add 1 to `state["steps"]`; called in a graph.

        Args:
            evaluate: Function from an image to its losses and gradient.
            state: From `init`; its variables are assigned to.
            image: The variable [1, H, W, 3], mean-subtracted RGB.
            losses: Losses of the image before the update.
            gradient: Gradient of `total` at the image before the update, [1, H, W, 3].

        Returns:
            The losses and the gradient of the image after the update.
        """
        raise NotImplementedError

    def stalled(self, state: State) -> tf.Tensor:
        """Return whether no further update can lower the loss, a scalar bool; by default False."""
        return tf.constant(False)

    def average(self, state: State) -> tf.Variable | None:
        """Return an average of the images so far [1, H, W, 3], or by default None."""
        return None

    def inherit(self, state: State, coarser: State) -> None:
        """Take over what is useful from the state at the next coarser scale; by default nothing."""

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """Forget what was learnt and multiply the learning rate by `rate_factor`; by default do nothing.

        This is called after a fault: a loss that is not finite.
        """


def make_optimizer(config: Config, agree: Callable[[tf.Tensor], tf.Tensor] = tf.identity) -> Optimizer:
    """Return the optimiser of `--optimizer`. Each of its fields gets the setting of the same name.

    `agree` broadcasts a tensor from the chief, so that all workers take the same branches.

    Raises:
        UserError: A user's class cannot be imported or created, or is not an `Optimizer`.
    """
    name, settings = config.optimization.optimizer, flat(config.optimization)
    # A setting that only one optimiser has begins with the optimiser's name: `adam_beta1`.
    settings = {setting.removeprefix(f"{name}_"): value for setting, value in settings.items()}
    make = factory_of("optimizer", facts_of(name).path, Optimizer)
    return make(**settings, iterations=config.iterations, agree=agree)
