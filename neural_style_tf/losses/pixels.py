"""Convert pixels to the mean-subtracted image that the network sees, and back; keep images grey."""

from __future__ import annotations

import tensorflow as tf

from neural_style_tf.models.architecture import MEAN_RGB


def preprocess(pixels: tf.Tensor, dtype: str = "float32") -> tf.Tensor:
    """Return the image [1, H, W, 3] for the network: `pixels` [H, W, 3], RGB 0–255, minus `MEAN_RGB`."""
    return (tf.convert_to_tensor(pixels, dtype) - tf.constant(MEAN_RGB, dtype))[tf.newaxis]


def deprocess(image: tf.Tensor) -> tf.Tensor:
    """Return the pixels [H, W, 3], RGB, of `image` [1, H, W, 3]; they are not clipped to 0–255."""
    return image[0] + tf.constant(MEAN_RGB, image.dtype)


def keep_gray(gradient: tf.Tensor, _: object) -> tf.Tensor:
    """Replace the channels of `gradient` by their mean, so that a grey image stays grey.

    Differs from Gatys et al., whose pixels are free: a network trained on colour pictures pulls a grey image
    towards colours, which appear as noise.
    """
    return gray(gradient)


def gray(values: tf.Tensor) -> tf.Tensor:
    """Replace the channels of `values` [..., 3] by their mean."""
    return tf.broadcast_to(tf.reduce_mean(values, -1, keepdims=True), tf.shape(values))
