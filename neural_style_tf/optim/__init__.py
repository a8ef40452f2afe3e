"""Optimisers of an image, behind one small protocol."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.objective import Objective, Terms


class Optimizer(Protocol):
    """What moves the image; its state is in `tf.Variable`s, so that it can be saved and reset."""

    def step(self, objective: Objective, image: tf.Variable, gradient: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        """Move `image` once, given its gradient; return the terms and the gradient at the new image."""

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget all state and multiply the learning rate."""


def make_optimizer(config: Config, image: tf.Variable) -> Optimizer:
    """Return the optimiser that `config` asks for, with its state built for `image`."""
    from neural_style_tf.optim.adam import Adam

    return Adam(config, image)
