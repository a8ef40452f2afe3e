"""Bounds of the pixels: none, or 0–255 by projection.

Without bounds, pixels leave 0–255. Saving clips them, so the saved picture has a higher loss than the image,
which may even rise while the loss of the image falls. With bounds from the beginning, the image reaches about
the same loss, and nothing is clipped.

Method: Bertsekas, "Projected Newton methods for optimization problems with simple constraints", 1982. A pixel
at a bound that the descent would push outwards is left out of the direction. All other pixels move along the
direction until they reach a bound.
"""

from __future__ import annotations

import functools
import operator

import tensorflow as tf

from neural_style_tf.models.architecture import MEAN_RGB


class Unbounded:
    """No bounds: every method returns its first argument.

    The methods are described for bounds in general.
    """

    def project(self, image: tf.Tensor) -> tf.Tensor:
        """Return the nearest image within bounds; NaN stays NaN."""
        return image

    def projected_step(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the step to `project(image)`, where `image` is the point that `step` leads to."""
        return step

    def free_part(self, values: tf.Tensor, image: tf.Tensor, *directions: tf.Tensor) -> tf.Tensor:
        """Return `values`, but 0 for pixels at a bound that one of `directions` would push outwards."""
        return values

    def derivative(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the derivative of `project` at `image` along `direction`, 0 unless strictly inside."""
        return direction

    def moved_part(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return `values`, but 0 for pixels that `step` did not move."""
        return values


class Box(Unbounded):
    """All mean-subtracted images [1, H, W, 3] with pixels in 0–255.

    Differs from Gatys et al., whose pixels are free.
    """

    def __init__(self, dtype: tf.DType) -> None:
        mean = tf.constant(MEAN_RGB, dtype)
        # The same bits as `preprocess` gives for 0 and 255.
        self._low, self._high = 0 - mean, 255 - mean

    def project(self, image: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.clip_by_value(image, self._low, self._high)

    def projected_step(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return step + (self.project(image) - image)

    def free_part(self, values: tf.Tensor, image: tf.Tensor, *directions: tf.Tensor) -> tf.Tensor:  # noqa: D102
        at_low, at_high = image <= self._low, image >= self._high
        crossing = [(at_low & (direction < 0)) | (at_high & (direction > 0)) for direction in directions]
        return tf.where(functools.reduce(operator.or_, crossing), tf.zeros_like(values), values)

    def derivative(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:  # noqa: D102
        inside = (image > self._low) & (image < self._high)
        return tf.where(inside, direction, tf.zeros_like(direction))

    def moved_part(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.where(tf.equal(step, 0), tf.zeros_like(values), values)


def make_bounds(dtype: tf.DType, *, clamp: bool) -> Unbounded:
    """Return bounds of 0–255 if `clamp`, else no bounds."""
    return Box(dtype) if clamp else Unbounded()
