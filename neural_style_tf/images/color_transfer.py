"""Transfer colours between pictures, before or after painting.

All functions compute in floating point, since 8-bit conversions clip and so shift hues. Luma is Y' of ITU-R
BT.601, as in JPEG. Sources: Gatys et al., "Preserving Color in Neural Artistic Style Transfer", arXiv
1606.05897; for the optimal map, Pitié and Kokaram, "The Linear Monge-Kantorovitch Linear Colour Mapping for
Example-Based Colour Transfer", 2007.
"""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FLOOR = 1e-5 * 255.0**2
"""Added to the variances of colours, in squared levels, since covariances of grey pictures are singular."""


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return the luma Y' of RGB `[H, W, 3]`: float32 `[H, W]`, in the range of the input."""
    return np.asarray(pixels, np.float32) @ LUMA


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """Return the luma as a grey picture with three equal channels, float32 `[H, W, 3]`."""
    return np.repeat(luma(pixels)[..., np.newaxis], 3, -1)


def with_colors_of(photo: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Combine the luma of `pixels` with the chroma of `photo`, both float RGB `[H, W, 3]`, 0–255.

    Chroma here means the differences of R, G and B from the luma. The result may lie outside of 0–255.
    """
    return np.asarray(photo, np.float32) + (luma(pixels) - luma(photo))[..., np.newaxis]


def match_colors(
    style: np.ndarray, photo: np.ndarray, *, where: np.ndarray | None = None, of: np.ndarray | None = None
) -> np.ndarray:
    """Return a style picture with the mean and the covariance of the photo's colours.

    μ_S, Σ_S and μ_C, Σ_C are mean and covariance of the colours of style and photo (content), with `FLOOR`
    added to the variances. A colour x becomes A (x − μ_S) + μ_C, where
    A = Σ_S^(−½) (Σ_S^½ Σ_C Σ_S^½)^½ Σ_S^(−½). Of all A with A Σ_S Aᵀ = Σ_C this one changes colours least.

    Args:
        style: `[h, w, 3]`, RGB 0–255.
        photo: `[H, W, 3]`, RGB 0–255.
        where: Weights `[h, w]` of the style's pixels; default: all equal.
        of: Weights `[H, W]` of the photo's pixels; default: all equal.

    Returns:
        float32 `[h, w, 3]`, RGB; values may lie outside of 0–255.
    """
    (mean, spread), (target_mean, target) = _moments(style, where), _moments(photo, of)
    root, inverse = _power(spread, 0.5), _power(spread, -0.5)
    matrix = inverse @ _power(root @ target @ root, 0.5) @ inverse
    flat = np.asarray(style, np.float64).reshape(-1, 3)
    return ((flat - mean) @ matrix.T + target_mean).reshape(style.shape).astype(np.float32)


def match_luma(
    style: np.ndarray, photo: np.ndarray, *, where: np.ndarray | None = None, of: np.ndarray | None = None
) -> np.ndarray:
    """Return a grey style picture with mean and standard deviation of a grey photo; see `match_colors`."""
    (mean, spread), (target_mean, target) = _moments(style, where), _moments(photo, of)
    factor = np.sqrt(target[0, 0] / spread[0, 0])
    return ((np.asarray(style, np.float64) - mean) * factor + target_mean).astype(np.float32)


def clipped_share(pixels: np.ndarray) -> float:
    """Return the share, 0 to 1, of values that lie outside of 0–255 by more than half a level."""
    return float(np.mean((pixels < -0.5) | (pixels > 255.5)))


def _moments(pixels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of colours in float64, with `FLOOR`; weights that are all 0 are ignored."""
    flat = np.asarray(pixels, np.float64).reshape(-1, 3)
    weights = None if weights is None or not weights.any() else np.asarray(weights, np.float64).ravel()
    mean = np.average(flat, axis=0, weights=weights)
    return mean, np.cov(flat, rowvar=False, bias=True, aweights=weights) + FLOOR * np.eye(3)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of a symmetric, positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T
