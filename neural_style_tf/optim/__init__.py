"""Optimisers of an image, as pairs of `init` and `update` over a state that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

Losses = dict[str, tf.Tensor]
"""Name → scalar; `total` is minimised."""
Evaluate = Callable[[tf.Tensor], tuple[Losses, tf.Tensor]]
"""Image [1, H, W, 3] → (losses, gradient of `total`)."""
State = dict[str, Any]
"""Name → `tf.Variable`, or a further state: all that an optimiser remembers."""


class Optimizer(Protocol):
    """What moves the image: static and hashable. All that changes is in its state.

    So one compiled step serves every run whose optimiser has the same `static` settings.
    """

    @property
    def static(self) -> Optimizer:
        """The same optimiser without the settings that are only in its state, such as the learning rate."""

    def init(self, image: tf.Variable) -> State:
        """Return the state with which an image [1, H, W, 3] begins."""

    def update(
        self, evaluate: Evaluate, state: State, image: tf.Variable, losses: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once, given its losses and gradient; return those at the new image.

        `state["steps"]` is raised by 1 together with the image.
        """

    def stalled(self, state: State) -> tf.Tensor:
        """Return whether no further update can lower the loss, a scalar bool."""

    def average(self, state: State) -> tf.Variable | None:
        """Return an average of the images so far [1, H, W, 3]; None if it keeps none."""

    def inherit(self, state: State, coarser: State) -> None:
        """Take over what is of use of the state at the next coarser scale."""

    def reset(self, state: State, rate_factor: tf.Tensor) -> None:
        """Forget what was learnt after a fault, and multiply the learning rate."""
