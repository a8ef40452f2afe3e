"""Adam (Kingma and Ba, arXiv 1412.6980), Keras' own."""

from __future__ import annotations

import keras
import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.objective import Objective, Terms


class Adam(tf.Module):
    """Keras' Adam on one image.

    Differs from Gatys et al., who use L-BFGS; Adam is the slides' and the original repository's.

    Args:
        config: Learning rate, β and ε.
        image: The variable it will move.
    """

    def __init__(self, config: Config, image: tf.Variable) -> None:
        super().__init__(name="adam")
        self.keras = keras.optimizers.Adam(
            config.learning_rate,
            beta_1=config.adam_beta1,
            beta_2=config.adam_beta2,
            epsilon=config.adam_epsilon,
        )
        # Built now: a checkpoint restored into an optimiser that is not built leaves its state out.
        self.keras.build([image])

    def step(
        self, objective: Objective, image: tf.Variable, terms: Terms, gradient: tf.Tensor
    ) -> tuple[Terms, tf.Tensor]:
        """Update the image with its gradient and evaluate it there; see `optim.Optimizer`."""
        self.keras.apply_gradients([(gradient, image)])
        return objective(tf.convert_to_tensor(image))

    def reset(self, rate_factor: tf.Tensor) -> None:
        """Forget the moments and the step count and multiply the learning rate."""
        rate = self.keras.learning_rate * rate_factor
        for variable in self.keras.variables:
            variable.assign(tf.zeros_like(variable.value))
        self.keras.learning_rate.assign(rate)
