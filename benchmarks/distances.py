"""How far a painting is from its style picture and from its photo, in forms that no loss here minimises.

Distances take pixels [H, W, 3], RGB 0–255, or features, and are ≥ 0, and 0 for equal pictures.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

import neural_style_tf as nst

STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
"""No preset takes style from them."""
CONTENT_LAYER = "relu3_1"
PATCH = 7
"""Side of the patches whose distributions are compared."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Look:
    """A picture as the distances see it: its pixels, and features [positions, channels] of some layers."""

    def __init__(self, picture: Image.Image, weights: nst.Weights) -> None:
        self.pixels = np.asarray(picture.convert("RGB"), np.float32)
        features = nst.extract_features(self.pixels, (*STYLE_LAYERS, CONTENT_LAYER), weights)
        self.features = {
            layer: np.asarray(maps, np.float64).reshape(-1, maps.shape[-1])
            for layer, maps in features.items()
        }


def share_of_style(painting: Look, style: Look, far: Look, near: Look) -> tuple[float, float, float]:
    """Return how far a painting is from a style by Gaussians, patches and colours.

    Each is a share of the distance of `far` from `near`, so that they can be averaged. Of Gaussians the mean
    over the layers is returned.
    """
    shares = _style_distances(painting, style) / _style_distances(far, near)
    return float(np.mean(shares[:-2])), float(shares[-2]), float(shares[-1])


def share_of_photo(painting: Look, photo: Look, far: Look) -> tuple[float, float]:
    """Return how far a painting is from its photo by SSIM and relu3_1, as shares of the distance of `far`."""
    ssim, content = _photo_distances(painting, photo) / _photo_distances(far, photo)
    return float(ssim), float(content)


def _style_distances(painting: Look, style: Look) -> np.ndarray:
    layers = [gaussian_w2(painting.features[layer], style.features[layer]) for layer in STYLE_LAYERS]
    pixels = painting.pixels, style.pixels
    return np.array([*layers, patch_distance(*pixels), colour_distance(*pixels)])


def _photo_distances(painting: Look, photo: Look) -> np.ndarray:
    features, others = painting.features[CONTENT_LAYER], photo.features[CONTENT_LAYER]
    content = np.sum((features - others) ** 2) / np.sum(others**2)
    return np.array([unlike_photo(painting.pixels, photo.pixels), content])


def gaussian_w2(features: np.ndarray, others: np.ndarray) -> float:
    """Return W₂² of two sets of features [positions, channels] as Gaussians, over the second's energy."""
    sides = (features, others)
    means = [side.mean(0) for side in sides]
    covariances = [np.cov(side, rowvar=False, bias=True) for side in sides]
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
    random, distances = np.random.default_rng(seed), []
    # Both have as many levels as the smaller picture can have.
    smallest = min(*pixels.shape[:2], *other.shape[:2])
    levels = max(1, min(levels, 1 + int(np.log2(smallest / (2 * PATCH)))))
    pyramids = (_laplacian(pixels, levels), _laplacian(other, levels))
    for level, counter in zip(*pyramids, strict=True):
        sides = [_patches(picture, random) for picture in (level, counter)]
        directions = random.standard_normal((sides[0].shape[1], 128))
        directions /= np.linalg.norm(directions, axis=0)
        shares = np.linspace(0, 1, 512)
        first, second = (np.quantile(side @ directions, shares, axis=0) for side in sides)
        distances.append(np.abs(first - second).mean())
    return float(np.mean(distances))


def colour_distance(pixels: np.ndarray, other: np.ndarray, bins: int = 8) -> float:
    """Return how much of the colour histograms does not overlap, 0 to 1; bins³ cells of RGB."""
    counts = []
    for picture in (pixels, other):
        cells = np.minimum(np.asarray(picture, np.float64).reshape(-1, 3) * bins / 256, bins - 1)
        histogram, _ = np.histogramdd(cells, bins=bins, range=[(0, bins)] * 3)
        counts.append(histogram / histogram.sum())
    return float(1 - np.minimum(*counts).sum())


def unlike_photo(pixels: np.ndarray, photo: np.ndarray) -> float:
    """Return 1 − SSIM of the luma (Wang et al. 2004), by scikit-image."""
    from skimage.metrics import structural_similarity

    lumas = (np.asarray(picture, np.float32) @ LUMA for picture in (pixels, photo))
    return float(1 - structural_similarity(*lumas, data_range=255.0, gaussian_weights=True))


def copied_share(features: np.ndarray, style: np.ndarray, *, least: int = 6) -> float:
    """Return the share of a painting that is copied from its style picture, 0 to 1.

    Each 3×3 patch of features is matched with the nearest patch of the style by the cosine, after the style's
    mean is subtracted. A position is copied if it lies in a 4-connected region of at least `least` positions
    that all have the same offset (matched position − own position): the region shows one piece of the style
    picture. Styles with a repeated texture have a high share by nature: compare paintings of one pair.

    Args:
        features: Of the painting, [H, W, N]: relu4_1 at 384 pixels.
        style: Of the style picture, likewise [h, w, N].
        least: The smallest region that counts.
    """
    from scipy.ndimage import label

    mean = style.reshape(-1, style.shape[-1]).mean(0)
    patches = _unit_patches(features - mean)
    sources = _unit_patches(style - mean)
    height, width = patches.shape[:2]
    rows = patches.reshape(height * width, -1)
    best = np.concatenate(
        [(part @ sources.reshape(-1, rows.shape[1]).T).argmax(1) for part in np.array_split(rows, 8)]
    )
    down, right = np.divmod(best.reshape(height, width), sources.shape[1])
    offsets = (down - np.arange(height)[:, np.newaxis]) * 10_000 + right - np.arange(width)
    copied = 0
    for offset in np.unique(offsets):
        regions, count = label(offsets == offset)
        sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        copied += int(sizes[sizes >= least].sum())
    return copied / offsets.size


def _unit_patches(features: np.ndarray) -> np.ndarray:
    """Return the 3×3 patches [H − 2, W − 2, 9 N] of features [H, W, N], each of length 1."""
    windows = np.lib.stride_tricks.sliding_window_view(features, (3, 3), axis=(0, 1))
    patches = windows.reshape(*windows.shape[:2], -1).astype(np.float32)
    return patches / np.maximum(np.linalg.norm(patches, axis=-1, keepdims=True), 1e-12)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _laplacian(pixels: np.ndarray, levels: int) -> list[np.ndarray]:
    """Return what each halving loses, finest first, and what is left."""
    from scipy.ndimage import gaussian_filter, zoom

    bands, rest = [], np.asarray(pixels, np.float32)
    while len(bands) < levels - 1:
        low = gaussian_filter(rest, (1, 1, 0), mode="nearest")
        bands.append(rest - low)
        rest = zoom(low, (0.5, 0.5, 1), order=1, mode="nearest", grid_mode=True)
    return [*bands, rest]


def _patches(picture: np.ndarray, random: np.random.Generator, most: int = 8192) -> np.ndarray:
    """Return up to `most` patches at random places as rows [patches, PATCH² · 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, (PATCH, PATCH), axis=(0, 1))
    rows, columns = windows.shape[:2]
    places = random.choice(rows * columns, size=min(most, rows * columns), replace=False)
    return windows[places // columns, places % columns].reshape(len(places), -1)
