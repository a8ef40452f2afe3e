"""VGG-19 as a frozen Keras functional model that returns any of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from neural_style_tf import layers
from neural_style_tf.layers import VGG19_LAYERS as VGG19_LAYERS


class FrozenConvolution(keras.layers.Layer):
    """A 3×3 SAME convolution with bias whose weights are given and never trained.

    Keras' own Conv2D adds its bias with a broadcast, which the graph optimiser cannot fuse into the
    convolution; `tf.nn.bias_add` it can, together with the ReLU that follows.

    Args:
        kernel: float [3, 3, N_in, N_out], rows first.
        bias: float [N_out].
        **keywords: Name and dtype, as for any Keras layer.
    """

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, **keywords: object) -> None:
        super().__init__(trainable=False, **keywords)
        self.kernel = self.add_weight(
            shape=kernel.shape, initializer=lambda shape, dtype: tf.cast(kernel, dtype), name="kernel"
        )
        self.bias = self.add_weight(
            shape=bias.shape, initializer=lambda shape, dtype: tf.cast(bias, dtype), name="bias"
        )

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Return [1, H, W, N_out] for `features` [1, H, W, N_in]."""
        kernel = tf.convert_to_tensor(self.kernel)
        bias = tf.convert_to_tensor(self.bias)
        return tf.nn.bias_add(tf.nn.conv2d(features, kernel, strides=1, padding="SAME"), bias)


def vgg19(
    kernels: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray],
    *,
    outputs: Sequence[str],
    pooling: str = "max",
    transpose_kernels: bool = False,
    dtype: str = "float32",
    compute_dtype: str | None = None,
) -> keras.Model:
    """Build VGG-19 up to the deepest of `outputs`.

    Args:
        kernels: `conv1_1` … → [3, 3, N_in, N_out], rows first; conv1_1 takes RGB. The widths may be
            other than VGG-19's, so that tests can run a narrow network.
        biases: The same names → [N_out].
        outputs: Layer names: `conv*` before the ReLU, `relu*` after it, `pool*`.
        pooling: `max`, as the network was trained, or `average`, which Gatys et al. prefer (section 2).
        transpose_kernels: Swap rows and columns of every kernel, as the original repository did.
        dtype: Of the image.
        compute_dtype: What the layers compute in and the features are, `bfloat16` for half the time where
            the hardware has it; default: `dtype`.

    Returns:
        A model from a mean-subtracted RGB image [1, H, W, 3] to {layer: features [1, H_l, W_l, N_l]},
        H_l and W_l rounded up at each pooling (SAME), as MatConvNet and the original repository do.
        Nothing in it is trainable.

    Raises:
        UserError: A layer that VGG-19 does not have.
    """
    image = keras.Input((None, None, 3), batch_size=1, dtype=dtype, name="image")
    compute = compute_dtype or dtype
    features, found = image, {}
    for name in layers.up_to(layers.deepest(tuple(outputs))):
        if name.startswith("conv"):
            kernel = kernels[name].transpose(1, 0, 2, 3) if transpose_kernels else kernels[name]
            features = FrozenConvolution(kernel, biases[name], dtype=compute, name=name)(features)
        elif name.startswith("relu"):
            features = keras.layers.ReLU(dtype=compute, name=name)(features)
        else:
            features = _pooling_layer(pooling)(2, strides=2, padding="same", dtype=compute, name=name)(
                features
            )
        found[name] = features
    model = keras.Model(image, {name: found[name] for name in outputs}, name="vgg19")
    model.trainable = False
    return model


def _pooling_layer(pooling: str) -> type[keras.layers.Layer]:
    return {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[pooling]
