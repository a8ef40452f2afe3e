"""Optimisers of an image, as pairs of `init` and `update` over a state that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Losses = dict[str, tf.Tensor]
"""Name → scalar; `total` is minimised."""
Evaluate = Callable[[tf.Tensor], tuple[Losses, tf.Tensor]]
"""Image [1, H, W, 3] → (losses, gradient of `total`)."""
State = dict[str, Any]
"""Name → `tf.Variable`, or a further state: all that an optimiser remembers."""


class Optimizer:
    """What moves the image: a frozen dataclass of settings; all that changes is in its state.

    So one compiled step serves every run whose optimiser has the same `static` settings. Write a subclass
    with `init` and `update`, and the others where the defaults do not fit.
    """

    @property
    def static(self) -> Optimizer:
        """The same optimiser without the settings that are only in its state, such as the learning rate."""
        return self

    def init(self, image: tf.Variable) -> State:
        """Return the state with which an image [1, H, W, 3] begins; it has an int64 `steps`, 0."""
        raise NotImplementedError

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once and raise `state["steps"]` by 1; in a graph.

        Args:
            evaluate: Gives losses and gradient of an image.
            state: From `init`; its variables are assigned to.
            image: The variable [1, H, W, 3], mean-subtracted RGB.
            losses: Of the image as it is.
            gradient: Of `total` there [1, H, W, 3].

        Returns:
            Losses and gradient at the new image.
        """
        raise NotImplementedError

    def stalled(self, state: State) -> tf.Tensor:
        """Return whether no further update can lower the loss, a scalar bool; default: never."""
        return tf.constant(False)

    def average(self, state: State) -> tf.Variable | None:
        """Return an average of the images so far [1, H, W, 3]; None, and the default, if it keeps none."""
        return None

    def inherit(self, state: State, coarser: State) -> None:
        """Take over what is of use of the state at the next coarser scale; default: nothing."""

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """Forget what was learnt after a fault, and multiply the learning rate; default: nothing."""
