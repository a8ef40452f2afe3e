"""Build a network as a frozen Keras functional model that returns any of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from neural_style_tf.models import winograd
from neural_style_tf.models.architecture import VGG16, VGG19, Architecture


@tf.custom_gradient
def repeat_edges(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Add a copy of the outermost positions on every side: [1, H, W, N] → [1, H + 2, W + 2, N].

    The result is that of `tf.pad` with mode SYMMETRIC, in less than half the time. The gradient is that of
    `tf.pad`.

    Differs from Gatys et al., whose convolutions see zeros beyond the picture.
    """
    rows = tf.concat([features[:, :1], features, features[:, -1:]], 1)
    return tf.concat([rows[:, :, :1], rows, rows[:, :, -1:]], 2), winograd.fold_edges


class FrozenConvolution(keras.layers.Layer):
    """A 3×3 convolution with bias and fixed weights, whose output is as large as its input.

    Keras' own Conv2D adds its bias by broadcasting, which TensorFlow's graph optimiser cannot fuse into the
    convolution. It can fuse `tf.nn.bias_add`, together with the ReLU that follows.

    Args:
        kernel: [3, 3, N_in, N_out], rows first.
        bias: [N_out].
        padding: `zero`, or `edge`, which repeats the outermost positions.
        keywords: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self, kernel: np.ndarray, bias: np.ndarray, *, padding: str = "zero", **keywords: object
    ) -> None:
        super().__init__(trainable=False, **keywords)
        self._padding = padding
        self.kernel, self.bias = self._frozen("kernel", kernel), self._frozen("bias", bias)

    def _frozen(self, name: str, values: np.ndarray) -> tf.Variable:
        return self.add_weight(
            shape=values.shape, initializer=lambda shape, dtype: tf.cast(values, dtype), name=name
        )

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Return [1, H, W, N_out] for `features` [1, H, W, N_in]."""
        kernel = tf.convert_to_tensor(self.kernel)
        bias = tf.convert_to_tensor(self.bias)
        edge = self._padding == "edge"
        if edge:
            features = repeat_edges(features)
        padding = "VALID" if edge else "SAME"
        return tf.nn.bias_add(tf.nn.conv2d(features, kernel, strides=1, padding=padding), bias)


class WinogradConvolution(FrozenConvolution):
    """`FrozenConvolution` by Winograd's method; its `kernel` is the transformed one [36, N_in, N_out]."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, **keywords: object) -> None:
        super().__init__(winograd.transform_kernel(kernel), bias, **keywords)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Return [1, H, W, N_out] for `features` [1, H, W, N_in]."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        return winograd.convolve(features, kernel, bias, padding=self._padding)

    def compute_output_shape(self, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the output. Keras cannot infer it: the graph of `call` has no static shape."""
        return (*shape[:-1], self.bias.shape[0])


def build_network(
    kernels: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray],
    *,
    outputs: Sequence[str],
    architecture: Architecture | None = None,
    pooling: str = "max",
    padding: str = "zero",
    transpose_kernels: bool = False,
    convolution: str = "direct",
    dtype: str = "float32",
    compute_dtype: str | None = None,
) -> keras.Model:
    """Build a network up to the deepest of `outputs`.

    Args:
        kernels: Dict from the name of each convolution (`conv1_1` …) to its kernel [3, 3, N_in, N_out], rows
            first; conv1_1 takes RGB. Numbers of channels may differ from the architecture's, so that tests
            can run a narrow network.
        biases: Dict from the same names to [N_out].
        outputs: Names of layers: `conv*` before the ReLU, `relu*` after it, `pool*`.
        architecture: The layers; default: VGG-19, or VGG-16 if there is no kernel of `conv3_4`.
        pooling: `max`, as the network was trained, or `average`, which Gatys et al. prefer (section 2).
        padding: Padding of convolutions: `zero`, as the network was trained, or `edge`, which repeats the
            outermost positions and so leaves no frame around the result.
        transpose_kernels: Whether to swap rows and columns of every kernel, as the original repository did.
        convolution: `direct`; or `winograd`, which computes the convolutions of `architecture.winograd` with
            a quarter of the multiplications, and rounds several times as much.
        dtype: Type of the image.
        compute_dtype: Type of the layers and features; default: `dtype`. `bfloat16` takes half the time on
            hardware that has it.

    Returns:
        A model from a mean-subtracted RGB image [1, H, W, 3] to a dict from each of `outputs` to its features
        [1, H_l, W_l, N_l]. Each pooling halves H_l and W_l, rounded up (SAME), as in MatConvNet and the
        original repository. The attribute `architecture` describes the layers. Nothing in the model is
        trainable.

    Raises:
        UserError: The network does not have one of `outputs`.
    """
    if architecture is None:
        architecture = VGG19 if "conv3_4" in kernels else VGG16
    image = keras.Input((None, None, 3), batch_size=1, dtype=dtype, name="image")
    compute = compute_dtype or dtype
    # Differs from Gatys et al., who prefer the average: presets take the maximum, as the network was trained.
    pool = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[pooling]
    features, by_name = image, {}
    for name in architecture.up_to(architecture.deepest(tuple(outputs))):
        if name.startswith("conv"):
            kernel = kernels[name].transpose(1, 0, 2, 3) if transpose_kernels else kernels[name]
            fast = convolution == "winograd" and name in architecture.winograd
            layer = WinogradConvolution if fast else FrozenConvolution
            features = layer(kernel, biases[name], padding=padding, dtype=compute, name=name)(features)
        elif name.startswith("relu"):
            features = keras.layers.ReLU(dtype=compute, name=name)(features)
        else:
            # Set it here, because the user's keras.json may contain another order of the dimensions.
            order = {"data_format": "channels_last", "padding": "same"}
            features = pool(2, strides=2, dtype=compute, name=name, **order)(features)
        by_name[name] = features
    model = keras.Model(image, {name: by_name[name] for name in outputs}, name="network")
    model.trainable = False
    model.architecture = architecture
    return model
