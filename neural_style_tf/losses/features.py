"""The features of a picture and their Gram matrices, as arrays to look at."""

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
    """A network that is built and traced once, for many pictures; arguments as of `extract_features`."""

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
        # Always a graph: eager calls share kernels, and oneDNN may keep the filters of the first.
        image = tf.TensorSpec((1, None, None, 3), tf.float32)
        self._compute = tf.function(model, autograph=False, input_signature=[image])

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return layer → features of a picture; see `extract_features`."""
        pixels = np.asarray(pixels)
        if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
            raise UserError(f"pixels must be an array [H, W, 3], not {list(pixels.shape)}")
        features = self._compute(preprocess(pixels))
        arrays = {layer: tensor[0].numpy() for layer, tensor in features.items()}
        return {layer: arrays[own] for layer, own in self._stands_for.items()}


def extract_features(
    pixels: np.ndarray, layers: Sequence[str], weights: Weights, network: NetworkConfig | None = None
) -> dict[str, np.ndarray]:
    """Return the features F_l of a picture, which the losses compare, in float32.

    Args:
        pixels: [H, W, 3], RGB 0–255.
        layers: Such as `relu4_2`; see `VGG19_LAYERS`. The last of a block stands for one that VGG-16 lacks.
        weights: Of the network, from `load_weights`.
        network: Pooling and padding, such as `PRESETS["balanced"].network`; default: those of `Config`.
            Its precision and convolution algorithm are not used. On NVIDIA's GPUs TensorFlow's own setting
            says whether float32 may be TF32.

    Returns:
        Layer → float32 [H_l, W_l, N_l]; H_l and W_l are halved, rounded up, at each pooling.

    Raises:
        UserError: Pixels of another shape, no layer, or an unknown one.
    """
    return FeatureExtractor(layers, weights, network)(pixels)


def gram_matrix(features: np.ndarray, normalization: str = "positions") -> np.ndarray:
    """Return the normalised Gram matrix G_l of features (Eq. 3).

    Args:
        features: F_l [H, W, N], from `extract_features`.
        normalization: `positions` divides by M_l; `elements` by M_l N_l.

    Returns:
        float32 [N, N], symmetric.

    Raises:
        UserError: Features of another shape, or another normalisation.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 3 or not features.size:
        raise UserError(f"features must be an array [H, W, N], not {list(features.shape)}")
    if normalization not in NORMALIZATIONS:
        raise UserError(f"normalization must be {' or '.join(NORMALIZATIONS)}, not {normalization!r}")
    height, width, _ = features.shape
    return normalize_gram(gram_sum(features[np.newaxis]), height * width, normalization).numpy()
