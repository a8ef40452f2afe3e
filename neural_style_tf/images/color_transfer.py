"""Transfer of colours between pictures, before or after painting.

    after     the luma of the painting, and the chroma of the photo            `with_colors_of`
    before    the style picture with the photo's mean and covariance           `match_colors`
    luminance both in grey, the style with the photo's mean and deviation      `match_luma`

All functions compute in floats: conversions in 8 bits shift hues, above all by clipping. Luma is Y' of ITU-R
BT.601, as in JPEG. Sources: Gatys et al., "Preserving Color in Neural Artistic Style Transfer", arXiv
1606.05897; for the optimal map, Pitié and Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping for
Example-Based Colour Transfer", 2007.
"""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FLOOR = 1e-5 * 255.0**2
"""Added to the variances of colours, in squared levels: grey and flat pictures have singular covariances."""


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return Y' `[H, W]` of RGB `[H, W, 3]`, float32, in the range of the input."""
    return np.asarray(pixels, np.float32) @ LUMA


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """Return Y' in all three colours, float32 `[H, W, 3]`."""
    return np.repeat(luma(pixels)[..., np.newaxis], 3, -1)


def with_colors_of(photo: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Combine the luma of `pixels` with the chroma of `photo`, both float RGB `[H, W, 3]`, 0–255.

    Chroma is the difference of R, G and B from Y'. Values may leave 0–255.
    """
    return np.asarray(photo, np.float32) + (luma(pixels) - luma(photo))[..., np.newaxis]


def match_colors(
    style: np.ndarray, photo: np.ndarray, *, where: np.ndarray | None = None, of: np.ndarray | None = None
) -> np.ndarray:
    """Give a style picture `[h, w, 3]` the mean and the covariance of the photo's colours, RGB 0–255.

    x' = A (x − μ_S) + μ_C with A = Σ_S^(−½) (Σ_S^½ Σ_C Σ_S^½)^½ Σ_S^(−½), the symmetric A with A Σ_S A = Σ_C,
    which changes colours least. `FLOOR` is added to both covariances. `where` `[h, w]` and `of` `[H, W]` are
    weights of the pixels of style and photo. The result, float32, may leave 0–255.
    """
    (mean, spread), (target_mean, target) = _moments(style, where), _moments(photo, of)
    root, inverse = _power(spread, 0.5), _power(spread, -0.5)
    matrix = inverse @ _power(root @ target @ root, 0.5) @ inverse
    flat = np.asarray(style, np.float64).reshape(-1, 3)
    return ((flat - mean) @ matrix.T + target_mean).reshape(style.shape).astype(np.float32)


def match_luma(
    style: np.ndarray, photo: np.ndarray, *, where: np.ndarray | None = None, of: np.ndarray | None = None
) -> np.ndarray:
    """Give a grey style picture the mean and the standard deviation of a grey photo; see `match_colors`."""
    (mean, spread), (target_mean, target) = _moments(style, where), _moments(photo, of)
    factor = np.sqrt(target[0, 0] / spread[0, 0])
    return ((np.asarray(style, np.float64) - mean) * factor + target_mean).astype(np.float32)


def clipped_share(pixels: np.ndarray) -> float:
    """Return the share of values more than half a level outside 0–255."""
    return float(np.mean((pixels < -0.5) | (pixels > 255.5)))


def _moments(pixels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance, with `FLOOR`, of the colours in float64; weights of 0 count as 1."""
    flat = np.asarray(pixels, np.float64).reshape(-1, 3)
    weights = None if weights is None or not weights.any() else np.asarray(weights, np.float64).ravel()
    mean = np.average(flat, axis=0, weights=weights)
    return mean, np.cov(flat, rowvar=False, bias=True, aweights=weights) + FLOOR * np.eye(3)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of a symmetric, positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T
