"""Bounds of the pixels: unbounded, or projected to 0–255.

An unbounded image leaves 0–255. What is clipped when it is saved was part of what the network saw: the loss
of the saved picture is higher than that of the image, and may rise while the latter falls. An image that is
kept within bounds from the beginning reaches about the same loss, and nothing is clipped.

Method: Bertsekas, "Projected Newton methods for optimization problems with simple constraints", 1982. A pixel
at a bound that descent would push out is left out of the direction. All others move along it up to the bound.
"""

from __future__ import annotations

import functools
import operator

import tensorflow as tf

from neural_style_tf.models.architecture import MEAN_RGB


class Unbounded:
    """No bounds: every method returns what it is given."""

    def project(self, image: tf.Tensor) -> tf.Tensor:
        """Return the nearest image within bounds."""
        return image

    def projected_step(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return what `project` leaves of a step that led to `image`, which is not yet projected."""
        return step

    def free_part(self, values: tf.Tensor, image: tf.Tensor, *ways: tf.Tensor) -> tf.Tensor:
        """Return values, but 0 for each pixel at a bound that one of the ways leads out of."""
        return values

    def derivative(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the derivative of `project` along a direction: 0 where the image is not strictly inside."""
        return direction

    def moved_part(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return values, but 0 for each pixel that a step did not move."""
        return values


class Box(Unbounded):
    """All mean-subtracted images [1, H, W, 3] whose pixels lie in 0–255.

    Differs from Gatys et al., whose pixels are free.

    Args:
        dtype: Of the image.
    """

    def __init__(self, dtype: tf.DType) -> None:
        mean = tf.constant(MEAN_RGB, dtype)
        # Exactly what preprocessing makes of 0 and 255.
        self._low, self._high = 0 - mean, 255 - mean

    def project(self, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.project`; what is not a number remains so."""
        return tf.clip_by_value(image, self._low, self._high)

    def projected_step(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.projected_step`."""
        return step + (self.project(image) - image)

    def free_part(self, values: tf.Tensor, image: tf.Tensor, *ways: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.free_part`."""
        at_low, at_high = image <= self._low, image >= self._high
        out = [(at_low & (way < 0)) | (at_high & (way > 0)) for way in ways]
        return tf.where(functools.reduce(operator.or_, out), tf.zeros_like(values), values)

    def derivative(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.derivative`."""
        inside = (image > self._low) & (image < self._high)
        return tf.where(inside, direction, tf.zeros_like(direction))

    def moved_part(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.moved_part`."""
        return tf.where(tf.equal(step, 0), tf.zeros_like(values), values)


def make_bounds(dtype: tf.DType, *, clamp: bool) -> Unbounded:
    """Return the bounds of `--clamp`."""
    return Box(dtype) if clamp else Unbounded()
