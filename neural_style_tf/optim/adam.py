"""Adam (Kingma and Ba, arXiv 1412.6980), Keras' own."""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from neural_style_tf.config.schema import OptimizerConfig
from neural_style_tf.losses.evaluate import Losses
from neural_style_tf.optim import Evaluate
from neural_style_tf.optim.projections import Box


class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam for one image, updated in place by the operation that the original repository used.

    Keras' three assignments would each need temporary copies of the image. In float32 the operation rounds
    1 − β to 6e-6 of itself where Keras does not.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Make an update of algorithm 1 of the paper, with its bias corrections in α and ε on √v."""
        [m], [v], dtype = self._momentums, self._velocities, variable.dtype
        power = tf.cast(self.iterations + 1, dtype)
        beta1, beta2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.value.handle,
            v=v.value.handle,
            beta1_power=tf.pow(beta1, power),
            beta2_power=tf.pow(beta2, power),
            lr=tf.cast(learning_rate, dtype),
            beta1=beta1,
            beta2=beta2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=gradient,
        )


class Adam(tf.Module):
    """Keras' Adam on one image.

    Differs from Gatys et al., who use L-BFGS; Adam is the slides' and the original repository's.

    Args:
        config: Learning rate, β, ε, averaging and `clamp`.
        image: The variable it will move.
    """

    moves_first = True

    def __init__(self, config: OptimizerConfig, image: tf.Variable, *, iterations: int) -> None:
        super().__init__(name="adam")
        self.keras = FusedAdam(
            config.learning_rate,
            beta_1=config.adam_beta1,
            beta_2=config.adam_beta2,
            epsilon=config.adam_epsilon,
        )
        # Built now: a checkpoint restored into an optimiser that is not built leaves its state out.
        self.keras.build([image])
        self._box = Box(image.dtype) if config.clamp else None
        self.rate = tf.Variable(config.learning_rate, dtype=tf.float32)
        self.evaluations = tf.Variable(0, dtype=tf.int64)
        self._cosine = config.learning_rate_schedule == "cosine"
        self._iterations = max(iterations, 1)
        self._kept = config.averaging
        self.average = tf.Variable(tf.convert_to_tensor(image)) if self._kept else None
        self.averaged = tf.Variable(0, dtype=tf.int64)

    def step(
        self, objective: Evaluate, image: tf.Variable, terms: Losses, gradient: tf.Tensor
    ) -> tuple[Losses, tf.Tensor]:
        """Update the image with its gradient and evaluate it there; see `optim.Optimizer`."""
        if self._cosine:
            progress = tf.cast(self.evaluations, tf.float32) / self._iterations
            factor = (1 + tf.cos(math.pi * tf.minimum(progress, 1))) / 2
            self.keras.learning_rate.assign(self.rate * factor)
        self.keras.apply_gradients([(gradient, image)])
        if self._box:
            image.assign(self._box.project(tf.convert_to_tensor(image)))
        self.evaluations.assign_add(1)
        if self.average is not None:
            self._update_average(tf.convert_to_tensor(image))
        return objective(tf.convert_to_tensor(image))

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """All state, Keras' included."""
        kept = () if self.average is None else (self.average,)
        own = (self.rate, self.evaluations, self.averaged, *kept)
        return (*own, *self._state)

    @property
    def _state(self) -> tuple[tf.Variable, ...]:
        """Keras' own."""
        return tuple(variable.value for variable in self.keras.variables)

    def _update_average(self, image: tf.Tensor) -> None:
        self.averaged.assign_add(1)
        # A plain mean at first: a decaying one would keep much of the initial image.
        weight = tf.maximum(1 - self._kept, 1 / tf.cast(self.averaged, tf.float32))
        moved = self.average + tf.cast(weight, image.dtype) * (image - self.average)
        # The first image replaces what was there before a fault.
        self.average.assign(tf.where(self.averaged == 1, image, moved))

    def stalled(self) -> tf.Tensor:
        """Return False: a constant rate may always rise before it falls; see `optim.Optimizer`."""
        return tf.constant(False)

    def learnt(self) -> tuple[tf.Tensor, ...]:
        """Return the learning rate, and Keras' state: the moments and the step count."""
        return tuple(tf.identity(value) for value in (self.rate, *self._state))

    def inherit(self, learnt: tuple[tf.Tensor, ...]) -> None:
        """Take over what is `learnt`, the moments resampled."""
        rate, *values = learnt
        for mine, value in zip(self._state, values, strict=True):
            mine.assign(tf.image.resize(value, mine.shape[1:3]) if value.shape.rank == 4 else value)
        self.rate.assign(rate)

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget the moments, the step count and the average, and multiply the learning rate."""
        self.rate.assign(self.rate * rate_factor)
        for variable in self._state:
            variable.assign(tf.zeros_like(variable))
        self.keras.learning_rate.assign(self.rate)
        self.averaged.assign(0)

    def restart(self, image: tf.Variable, config: OptimizerConfig) -> None:
        """Return to the state of a new optimiser; see `optim.Optimizer`."""
        self.rate.assign(config.learning_rate)
        self.reset(tf.constant(1.0))
        self.evaluations.assign(0)
        if self.average is not None:
            self.average.assign(image)
