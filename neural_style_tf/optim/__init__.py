"""Optimisers of an image, behind one small protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from neural_style_tf.config.schema import OptimizerConfig
from neural_style_tf.losses.evaluate import Losses
from neural_style_tf.losses.objective import Objective


class Optimizer(Protocol):
    """What moves the image; its state is in `tf.Variable`s, so that it can be saved and reset.

    Attributes:
        moves_first: Whether `step` moves the image before it evaluates it, and not after.
        average: An average of the images so far, [1, H, W, 3]; None if it keeps none.
    """

    moves_first: bool
    average: tf.Variable | None

    def step(
        self, objective: Objective, image: tf.Variable, terms: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once, given its terms and gradient; return those at the new image."""

    def stalled(self) -> tf.Tensor:
        """Return whether no further step can lower the loss, a scalar bool."""

    def inherit(self, coarser: Optimizer) -> None:
        """Take over what is of use from the optimiser of the next coarser scale."""

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget all state and multiply the learning rate."""


def make_optimizer(
    config: OptimizerConfig,
    image: tf.Variable,
    agree: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
    *,
    iterations: int = 1000,
) -> Optimizer:
    """Return the optimiser that `config` asks for, with its state built for `image`.

    Args:
        config: Which, and its settings.
        image: The variable it will move.
        agree: Tensor → that of the chief, where several workers must do alike.
        iterations: Planned, for a learning rate that shrinks.
    """
    from neural_style_tf.optim.adam import Adam
    from neural_style_tf.optim.lbfgs import LBFGS

    return (
        LBFGS(config, image, agree)
        if config.optimizer == "lbfgs"
        else Adam(config, image, iterations=iterations)
    )
