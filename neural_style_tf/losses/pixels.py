"""Pixels ↔ the mean-subtracted image that the network sees; projection to grey."""

from __future__ import annotations

import tensorflow as tf

from neural_style_tf.models.architecture import MEAN_RGB


def preprocess(pixels: tf.Tensor, dtype: str = "float32") -> tf.Tensor:
    """Turn pixels [H, W, 3], RGB 0–255, into the network's image [1, H, W, 3] by subtracting its mean."""
    return (tf.convert_to_tensor(pixels, dtype) - tf.constant(MEAN_RGB, dtype))[tf.newaxis]


def deprocess(image: tf.Tensor) -> tf.Tensor:
    """Turn an image [1, H, W, 3] back into pixels [H, W, 3], RGB, not clipped to 0–255."""
    return image[0] + tf.constant(MEAN_RGB, image.dtype)


def keep_gray(gradient: tf.Tensor, _: object) -> tf.Tensor:
    """Project a gradient to one that keeps a grey image grey.

    Differs from Gatys et al., whose pixels are free: a network trained on colour pictures pulls a grey image
    towards colours, which appear as noise.
    """
    return gray(gradient)


def gray(values: tf.Tensor) -> tf.Tensor:
    """Replace each channel of [..., 3] by the mean of the channels."""
    return tf.broadcast_to(tf.reduce_mean(values, -1, keepdims=True), tf.shape(values))
