"""How far a result is from its style picture and from its photo, in forms that no loss here minimises.

All take pixels [H, W, 3], RGB 0–255, and return a number ≥ 0 that is 0 for equal pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
"""No preset takes style from them."""
CONTENT_LAYER = "relu3_1"
PATCH = 7
"""Side of the patches whose distributions are compared."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def make_features(weights: object) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    """Return pixels → layer → features [positions, channels] of float64, for the layers of this module."""
    from neural_style_tf.losses.pixels import preprocess
    from neural_style_tf.models.network import build_network

    layers = (*STYLE_LAYERS, CONTENT_LAYER)
    network = build_network(weights.kernels, weights.biases, outputs=layers)

    def features(pixels: np.ndarray) -> dict[str, np.ndarray]:
        found = network(preprocess(np.asarray(pixels, np.float32)))
        maps = [found[name] for name in layers] if isinstance(found, Mapping) else found
        return {
            name: np.asarray(one, np.float64).reshape(-1, one.shape[-1])
            for name, one in zip(layers, maps, strict=True)
        }

    return features


def gaussian_w2(features: np.ndarray, others: np.ndarray) -> float:
    """Return W₂² of two sets of features [positions, channels] as Gaussians, over the second's energy."""
    means, covariances = [], []
    for one in (features, others):
        means.append(one.mean(0))
        covariances.append(np.cov(one, rowvar=False, bias=True))
    root = _root(covariances[1])
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[0] @ root), 0)).sum()
    traces = np.trace(covariances[0]) + np.trace(covariances[1])
    energy = np.trace(covariances[1]) + np.sum(means[1] ** 2)
    return float(max(traces - 2 * common + np.sum((means[0] - means[1]) ** 2), 0) / energy)


def patch_distance(pixels: np.ndarray, other: np.ndarray, *, levels: int = 4, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance of patches of Laplacian pyramids, the mean over levels.

    As in Karras et al. 2018, but in grey levels, so that contrast and colour count. Differences of the means
    of sorted projections are divided by the root of a patch's size: a grey level more everywhere is about 1.
    """
    random, found = np.random.default_rng(seed), []
    # Both have as many levels as the smaller picture can have.
    smallest = min(*pixels.shape[:2], *other.shape[:2])
    levels = max(1, min(levels, 1 + int(np.log2(smallest / (2 * PATCH)))))
    pyramids = (_laplacian(pixels, levels), _laplacian(other, levels))
    for level, counter in zip(*pyramids, strict=True):
        sides = [_patches(one, random) for one in (level, counter)]
        directions = random.standard_normal((sides[0].shape[1], 128))
        directions /= np.linalg.norm(directions, axis=0)
        shares = np.linspace(0, 1, 512)
        one, two = (np.quantile(side @ directions, shares, axis=0) for side in sides)
        found.append(np.abs(one - two).mean())
    return float(np.mean(found))


def colour_distance(pixels: np.ndarray, other: np.ndarray, bins: int = 8) -> float:
    """Return how much of the colour histograms does not overlap, 0 to 1; bins³ cells of RGB."""
    counts = []
    for one in (pixels, other):
        cells = np.minimum(np.asarray(one, np.float64).reshape(-1, 3) * bins / 256, bins - 1)
        histogram, _ = np.histogramdd(cells, bins=bins, range=[(0, bins)] * 3)
        counts.append(histogram / histogram.sum())
    return float(1 - np.minimum(*counts).sum())


def unlike_photo(pixels: np.ndarray, photo: np.ndarray) -> float:
    """Return 1 − SSIM of the luma (Wang et al. 2004), by scikit-image."""
    from skimage.metrics import structural_similarity

    one, two = (np.asarray(picture, np.float32) @ LUMA for picture in (pixels, photo))
    return float(1 - structural_similarity(one, two, data_range=255.0, gaussian_weights=True))


def content_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Return Σ (F−P)² / Σ P² of two sets of features [positions, channels] of equally large pictures."""
    return float(np.sum((features - others) ** 2) / np.sum(others**2))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _laplacian(pixels: np.ndarray, levels: int) -> list[np.ndarray]:
    """Return what each halving loses, finest first, and what is left."""
    from scipy.ndimage import gaussian_filter, zoom

    found, rest = [], np.asarray(pixels, np.float32)
    while len(found) < levels - 1:
        low = gaussian_filter(rest, (1, 1, 0), mode="nearest")
        found.append(rest - low)
        rest = zoom(low, (0.5, 0.5, 1), order=1, mode="nearest", grid_mode=True)
    return [*found, rest]


def _patches(picture: np.ndarray, random: np.random.Generator, most: int = 8192) -> np.ndarray:
    """Return up to `most` patches at random places as rows [patches, PATCH² · 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (PATCH, PATCH), axis=(0, 1))
    rows, columns = windows.shape[:2]
    places = random.choice(rows * columns, size=min(most, rows * columns), replace=False)
    return windows[places // columns, places % columns].reshape(len(places), -1)
