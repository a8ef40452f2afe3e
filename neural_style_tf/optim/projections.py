"""Bounds of the pixels: unbounded, or projected to 0–255.

An image that is free to leave 0–255 does so, and what is cut off when it is saved was part of what the
network saw: the saved picture's loss is higher than that of the image, and may rise while that falls. Held
inside from the beginning it comes about as low, and nothing is cut off.

The way of holding it is the projection of Bertsekas ("Projected Newton methods for optimization problems
with simple constraints", 1982): a pixel at a bound that descent would push out is left out of the
direction, and all others go along it as far as the bound.
"""

from __future__ import annotations

import functools
import operator

import tensorflow as tf

from neural_style_tf.models.architecture import MEAN_RGB


class Unbounded:
    """No bounds: what `Box` does, left undone."""

    def clip(self, image: tf.Tensor) -> tf.Tensor:
        """Return the nearest image within bounds."""
        return image

    def shorten(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return what `clip` leaves of a step that led to an image, which is not clipped yet."""
        return step

    def hold(self, values: tf.Tensor, image: tf.Tensor, *ways: tf.Tensor) -> tf.Tensor:
        """Return values, but 0 for each pixel at a bound that one of the ways leads out of it."""
        return values

    def moving(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Return the derivative of `clip`: the direction, but 0 where the image is not strictly inside."""
        return direction

    def moved(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
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

    def clip(self, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.clip`; what is not a number remains so."""
        return tf.clip_by_value(image, self._low, self._high)

    def shorten(self, step: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.shorten`."""
        return step + (self.clip(image) - image)

    def hold(self, values: tf.Tensor, image: tf.Tensor, *ways: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.hold`."""
        at_low, at_high = image <= self._low, image >= self._high
        out = [(at_low & (way < 0)) | (at_high & (way > 0)) for way in ways]
        return tf.where(functools.reduce(operator.or_, out), tf.zeros_like(values), values)

    def moving(self, direction: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.moving`."""
        inside = (image > self._low) & (image < self._high)
        return tf.where(inside, direction, tf.zeros_like(direction))

    def moved(self, values: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """See `Unbounded.moved`."""
        return tf.where(tf.equal(step, 0), tf.zeros_like(values), values)


def make_bounds(dtype: tf.DType, *, clamp: bool) -> Unbounded:
    """Return the bounds of `--clamp`."""
    return Box(dtype) if clamp else Unbounded()
