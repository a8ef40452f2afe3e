"""Optimisers of an image, behind one small protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Protocol

import tensorflow as tf

from neural_style_tf.config.schema import OptimizerConfig
from neural_style_tf.losses.evaluate import Losses

Evaluate = Callable[[tf.Tensor], tuple[Losses, tf.Tensor]]
"""Image [1, H, W, 3] → (losses, gradient of `total`)."""


class Optimizer(Protocol):
    """What moves the image; its state is in `tf.Variable`s, so that it can be saved and reset.

    Attributes:
        moves_first: Whether `step` moves the image before it evaluates it, and not after.
        average: An average of the images so far, [1, H, W, 3]; None if it keeps none.
    """

    moves_first: bool
    average: tf.Variable | None

    def step(
        self, objective: Evaluate, image: tf.Variable, terms: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Move `image` once, given its terms and gradient; return those at the new image."""

    def stalled(self) -> tf.Tensor:
        """Return whether no further step can lower the loss, a scalar bool."""

    def learnt(self) -> tuple[tf.Tensor, ...]:
        """Return what is of use at the next finer scale; it stays as it is when the optimiser goes on."""

    def inherit(self, learnt: tuple[tf.Tensor, ...]) -> None:
        """Take over what the optimiser of the next coarser scale has `learnt`."""

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget all state and multiply the learning rate."""

    def restart(self, image: tf.Variable, config: OptimizerConfig) -> None:
        """Return to the state of a new optimiser of `image`, whose `static_settings` are the same.

        The image may be of another size if its variable is of any.
        """


def serves_all_sizes(config: OptimizerConfig) -> bool:
    """Return whether one optimiser can move images of one size after those of another.

    Keras builds its own for variables of one shape.
    """
    return config.optimizer == "lbfgs"


def static_settings(config: OptimizerConfig, iterations: int) -> Hashable:
    """Return what of an optimiser is compiled into a step; all else `restart` can change.

    Args:
        config: Of the optimiser.
        iterations: Planned.
    """
    scheduled = config.learning_rate_schedule != "constant"
    return dataclasses.replace(config, learning_rate=1.0), iterations if scheduled else 0


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
