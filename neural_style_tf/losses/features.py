"""Compute the features of a picture and their Gram matrices as NumPy arrays, outside of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import NetworkConfig
from neural_style_tf.errors import UserError
from neural_style_tf.losses.functional import gram_sum, normalize_gram
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.models.network import build_network
from neural_style_tf.weights import Weights

NORMALIZATIONS = ("positions", "elements")


class FeatureExtractor:
    """Computes features of many pictures with a network that is built and traced once.

    Its arguments are those of `extract_features`, without the picture.
    """

    def __init__(self, layers: Sequence[str], weights: Weights, network: NetworkConfig | None = None) -> None:
        settings = network or NetworkConfig()
        if isinstance(layers, str) or not layers:
            raise UserError(
                f"layers must be a list of at least one layer, such as ['relu4_2'], not {layers!r}"
            )
        self._stands_for = {layer: weights.architecture.resolve(layer) for layer in layers}
        model = build_network(
            weights.kernels,
            weights.biases,
            outputs=tuple(dict.fromkeys(self._stands_for.values())),
            architecture=weights.architecture,
            pooling=settings.pooling,
            padding=settings.padding,
            transpose_kernels=settings.transpose_kernels,
        )
        # Always a graph: eager calls share kernels, and oneDNN may go on using the filters of the first call.
        image = tf.TensorSpec((1, None, None, 3), tf.float32)
        self._compute = tf.function(model, autograph=False, input_signature=[image])

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return a dict from each layer to its features of the picture `pixels`; see `extract_features`."""
        pixels = np.asarray(pixels)
        if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
            raise UserError(f"pixels must be an array [H, W, 3], not {list(pixels.shape)}")
        features = self._compute(preprocess(pixels))
        arrays = {layer: tensor[0].numpy() for layer, tensor in features.items()}
        return {layer: arrays[own] for layer, own in self._stands_for.items()}


def extract_features(
    pixels: np.ndarray, layers: Sequence[str], weights: Weights, network: NetworkConfig | None = None
) -> dict[str, np.ndarray]:
    """Return the features F_l of a picture, in float32. These are what the losses compare.

    Args:
        pixels: [H, W, 3], RGB 0–255.
        layers: Names such as `relu4_2`; see `VGG19_LAYERS`. If VGG-16 lacks a layer, the last of the same
            block is used.
        weights: Those of the network, from `load_weights`.
        network: Pooling and padding, such as `PRESETS["balanced"].network`; default: those of `Config`. Its
            precision and its convolution algorithm are not used. On NVIDIA GPUs, TensorFlow's own setting
            decides whether float32 may be TF32.

    Returns:
        A dict from each layer to float32 [H_l, W_l, N_l]. Each pooling halves H_l and W_l, rounded up.

    Raises:
        UserError: `pixels` has another shape, `layers` is empty, or a layer is unknown.
    """
    return FeatureExtractor(layers, weights, network)(pixels)


def gram_matrix(features: np.ndarray, normalization: str = "positions") -> np.ndarray:
    """Return the normalised Gram matrix G_l of features (Eq. 3).

    Args:
        features: F_l [H, W, N], from `extract_features`.
        normalization: `positions` divides by M_l = H W; `elements` by M_l N_l = H W N.

    Returns:
        float32 [N, N], symmetric.

    Raises:
        UserError: `features` has another shape, or `normalization` is unknown.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 3 or not features.size:
        raise UserError(f"features must be an array [H, W, N], not {list(features.shape)}")
    if normalization not in NORMALIZATIONS:
        raise UserError(f"normalization must be {' or '.join(NORMALIZATIONS)}, not {normalization!r}")
    height, width, _ = features.shape
    return normalize_gram(gram_sum(features[np.newaxis]), height * width, normalization).numpy()
