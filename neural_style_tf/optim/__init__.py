"""Optimisers of an image: `init` makes a state, `update` advances image and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

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
