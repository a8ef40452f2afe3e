"""Measures of a painting, each a pure function of arrays; no loss here minimises them in these forms.

Pixels are [H, W, 3], RGB 0–255. Features are [H, W, N], as `extract_features` returns them; no measure but
`cfsd` depends on their scale. A measure of content compares with the photo, whose arrays have the shapes of
the painting's; one of style with the style picture, which may have another size. A distance is 0 for equal
pictures, and has no unit unless one is named. "Energy" is the sum of the squares of the reference, that is,
of the photo or of the style picture. Layers are in `looks`. docs/evaluation.md says what each measure can and
cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from neural_style_tf.images.color_transfer import luma

BLOCK = 1 << 22
"""Elements in a block of a matrix that is too large for memory, such as that of all pairs of positions."""

PATCH, FILTERS, PATCHES = 7, 256, 1 << 13
"""For `patch_distance`: side of a patch in pixels, number of random filters, most patches of a picture."""
BINS, BIN_WIDTH, COLOUR_LIMIT, COLOURS = 64, 0.02, 3.0, 1 << 14
"""For `colour_distance`: bins on each axis, τ of their kernel, largest |log ratio|, most pixels."""
ROWS = 1 << 11
"""For `cfsd`: most positions that are compared with all others."""
TENSOR_SCALES = ((0.7, 2.0), (0.7, 4.0), (1.5, 4.0), (1.5, 8.0), (3.0, 8.0))
"""For `coherence`: (σ of the derivatives, σ of the average), in pixels, for a longest side of 384 pixels."""
UNIT_INPUT = 255 * 0.226
"""Ratio of the features of a network for RGB 0–255 to those of a network for RGB of standard deviation 1."""
LEAST_REGION = 6
"""For `copied_places`: the smallest region that counts, in positions."""


class FeatureStatistics(NamedTuple):
    """Mean [N] and covariance [N, N] of N features over all positions, in float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def energy(self) -> float:
        """Mean squared length of the feature vectors, over positions."""
        return float(np.trace(self.covariance) + self.mean @ self.mean)

    @property
    def gram(self) -> np.ndarray:
        """Gram matrix [N, N], divided by the number of positions."""
        return self.covariance + np.outer(self.mean, self.mean)

    @property
    def moments(self) -> np.ndarray:
        """Means and standard deviations of the features [2 N]."""
        return np.concatenate([self.mean, np.sqrt(np.maximum(np.diag(self.covariance), 0))])


Statistics = Sequence[FeatureStatistics]
"""Statistics of several layers."""


def statistics_of(features: np.ndarray) -> FeatureStatistics:
    """Return mean and covariance of features [H, W, N]."""
    rows = features.reshape(-1, features.shape[-1])
    mean = rows.mean(0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for block in _blocks(len(rows), len(mean)):
        centred = rows[block] - mean.astype(rows.dtype)
        covariance += centred.T @ centred
    return FeatureStatistics(mean, covariance / len(rows))


# Content: measures that compare the painting with its photo.


def ssim(pixels: np.ndarray, photo: np.ndarray) -> float:
    """Return the structural similarity of the luma, −1 to 1 (equal), by scikit-image, with Gaussian weights.

    Sides must be at least 11 pixels. Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment:
    From Error Visibility to Structural Similarity" (2004); σ 1.5, K₁ 0.01, K₂ 0.03.
    """
    from skimage.metrics import structural_similarity

    lumas = (luma(picture) for picture in (pixels, photo))
    return float(
        structural_similarity(*lumas, data_range=255.0, gaussian_weights=True, use_sample_covariance=False)
    )


def cfsd(features: np.ndarray, photo: np.ndarray) -> float:
    """Return the content feature structural distance: are positions as similar to each other as in the photo?

    F [M, N] are the features of M positions, divided by N, and P is the softmax of each row of F Fᵀ. The
    distance is the sum of KL(P_photo ‖ P_painting) over rows, in nats. Of more than 2048 rows, 2048 evenly
    spaced ones stand for all. It is a sum over positions: compare pictures of one size.

    Source: Chung, Hyun and Heo, "Style Injection in Diffusion" (2024), whose network takes RGB of unit
    deviation; features are divided by `UNIT_INPUT` so that those of a network for 0–255 are about as large.
    """
    from scipy.special import log_softmax

    count = features.shape[-1]
    sides = [
        side.reshape(-1, count).astype(np.float32) / np.float32(count * UNIT_INPUT)
        for side in (features, photo)
    ]
    total, positions = 0.0, len(sides[0])
    rows = _spaced(positions, ROWS)
    for block in _blocks(len(rows), positions):
        painted, original = (log_softmax(side[rows[block]] @ side.T, axis=1) for side in sides)
        total += float(np.sum(np.exp(original) * (original - painted), dtype=np.float64))
    return max(total, 0.0) * positions / len(rows)


def perceptual_distance(features: Sequence[np.ndarray], photo: Sequence[np.ndarray]) -> float:
    """Return the squared difference of features divided by the photo's energy, averaged over layers.

    About 1 to 2 for unrelated pictures. This is not LPIPS, which weights channels by people's answers.
    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses" (2016), Eq. 2, divided by the energy.
    """
    shares = [_relative(*sides) for sides in zip(features, photo, strict=True)]
    return float(np.mean(shares))


# Style: measures that compare the painting with the style picture.


def gaussian_w2(painting: Statistics, style: Statistics) -> float:
    """Return the squared 2-Wasserstein distance of Gaussian features divided by energy, averaged over layers.

    With mean μ and covariance Σ of the painting's features, and ν and T of the style's:
    (‖μ − ν‖² + tr(Σ + T − 2 (T^½ Σ T^½)^½)) / (tr T + ‖ν‖²).

    Source: Dowson and Landau (1982), Eq. 4; for features, Heusel et al., "GANs Trained by a Two Time-Scale
    Update Rule" (2017), Eq. 6.
    """
    distances = []
    for ours, theirs in zip(painting, style, strict=True):
        root = _root(theirs.covariance)
        common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ ours.covariance @ root), 0)).sum()
        traces = np.trace(ours.covariance) + np.trace(theirs.covariance) - 2 * common
        squared = traces + np.sum((ours.mean - theirs.mean) ** 2)
        distances.append(max(squared, 0.0) / theirs.energy)
    return float(np.mean(distances))


def gram_distance(painting: Statistics, style: Statistics) -> float:
    """Return the squared difference of Gram matrices divided by the style's squares, averaged over layers.

    Many methods minimise this, so by itself it says little. Source: Gatys, Ecker and Bethge (2016), Eq. 4,
    divided by the squares of the style's Gram matrix.
    """
    pairs = zip(painting, style, strict=True)
    return float(np.mean([_relative(ours.gram, theirs.gram) for ours, theirs in pairs]))


def moment_distance(painting: Statistics, style: Statistics) -> float:
    """Return the squared difference of the channels' means and standard deviations, averaged over layers.

    In each layer it is divided by the sum of the squares of the style's means and standard deviations.
    Feed-forward methods minimise this. Source: Huang and Belongie, "Arbitrary Style Transfer in Real-time"
    (2017), Eq. 13, squared and divided.
    """
    pairs = zip(painting, style, strict=True)
    return float(np.mean([_relative(ours.moments, theirs.moments) for ours, theirs in pairs]))


def patch_distance(pixels: np.ndarray, style: np.ndarray, *, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance of 7×7 patches, averaged over full, half and quarter size.

    Patches, at most 8192 of a picture, at places from `seed`, are projected on 256 random filters of length
    1. For each filter the projections of both pictures are sorted; the distance is the mean absolute
    difference of these sorted values, in grey levels: a picture that is brighter by one level is at 0.8.

    Source: Elnekave and Weiss, "Generating Natural Images with Direct Patch Distributions Matching" (2022).
    """
    distances: list[float] = []
    sides = [np.asarray(picture, np.float32) for picture in (pixels, style)]
    while len(distances) < 3 and min(min(side.shape[:2]) for side in sides) >= PATCH:
        random = np.random.default_rng([seed, len(distances)])
        filters = random.standard_normal((PATCH * PATCH * 3, FILTERS)).astype(np.float32)
        filters /= np.linalg.norm(filters, axis=0)
        projected = [np.sort(filters.T @ _patches(side, seed).T, axis=1) for side in sides]
        places = np.linspace(0, 1, min(values.shape[1] for values in projected))
        ours, theirs = (_quantiles(values, places) for values in projected)
        distances.append(float(np.abs(ours - theirs).mean()))
        sides = [halved(side) for side in sides]
    return float(np.mean(distances))


def colour_distance(pixels: np.ndarray, style: np.ndarray) -> float:
    """Return the Hellinger distance of colour histograms (RGB-uv), in which bright pixels weigh more.

    1 if no colour is in common. Source: Afifi, Brubaker and Brown, "HistoGAN" (2021), Eqs. 1–4: 64 bins from
    −3 to 3, τ 0.02. The source reduces each picture to 150 × 150; here at most 16,384 evenly spaced pixels
    are used.
    """
    roots = [np.sqrt(_colour_histogram(picture)) for picture in (pixels, style)]
    if roots[0].any() != roots[1].any():
        # A black picture has an empty histogram, and so no colour in common with the other picture.
        return 1.0
    return float(np.linalg.norm(roots[0] - roots[1]) / np.sqrt(2))


def coherence(pixels: np.ndarray) -> float:
    """Return how much neighbouring edges have the same direction: 0 (none) to 1 (straight lines).

    With the structure tensor J of the luma: Σ √((Jxx − Jyy)² + 4 Jxy²) / Σ (Jxx + Jyy), averaged over five
    pairs of scales, for a longest side of 384 pixels. A photo of cables is coherent, too. So the column
    `strokes` is the absolute difference from the style picture.

    Source: Jähne, "Spatio-Temporal Image Processing" (1993), coherence of the structure tensor.
    """
    from scipy.ndimage import gaussian_filter

    values, gray = [], luma(pixels)
    for fine, coarse in TENSOR_SCALES:
        down, right = (gaussian_filter(gray, fine, order=order) for order in ((1, 0), (0, 1)))
        products = (right * right, down * down, right * down)
        across, along, both = (gaussian_filter(product, coarse) for product in products)
        strength = float(np.sum(across + along, dtype=np.float64))
        directed = float(np.sum(np.hypot(across - along, 2 * both), dtype=np.float64))
        values.append(directed / strength if strength > 0 else 0.0)
    return float(np.mean(values))


# Neither: measures of faults.


def copied_places(features: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return where a painting shows pieces of the style picture, bool [H − 2, W − 2].

    The style's mean is subtracted from all features, relu4_1 at 384 pixels. Then each 3×3 patch of the
    painting is matched with the style's patch that has the highest cosine. A position is copied if it lies in
    a 4-connected region of at least 6 positions that all have the same offset (matched position − own
    position).

    Source: this program; the nearest neighbours of features are those of Li and Wand, "Combining Markov
    Random Fields and Convolutional Neural Networks" (2016), Eq. 3.
    """
    from scipy.ndimage import label

    best = _nearest_patches(features, style)
    height, width = best.shape
    down, right = np.divmod(best, style.shape[1] - 2)
    offsets = (down - np.arange(height)[:, np.newaxis]) * (1 << 20) + right - np.arange(width)
    _, numbers = np.unique(offsets, return_inverse=True)
    numbers = numbers.reshape(offsets.shape)
    copied = np.zeros(offsets.shape, bool)
    # Too few positions of one offset cannot form a region.
    for number in np.flatnonzero(np.bincount(numbers.ravel()) >= LEAST_REGION):
        regions, _ = label(numbers == number)
        sizes = np.bincount(regions.ravel())
        # Label 0 is outside of all regions.
        copied |= (regions > 0) & (sizes[regions] >= LEAST_REGION)
    return copied


def copied_share(copied: np.ndarray) -> float:
    """Return the share of the positions that are copied: 0 to 1 (the style picture itself).

    For a style with a repeated texture the share is always high, even for the photo itself: compare only
    paintings of one pair.
    """
    return float(copied.mean())


def foreign_share(copied: np.ndarray, features: np.ndarray, photo: np.ndarray) -> float:
    """Return the share of a painting, 0 to 1, that is copied where the photo shows something else.

    An example are objects of the style picture in empty parts of the photo. Each copied position is weighted
    by its difference from the photo: 1 − cosine of the features, relu4_1 at 384 pixels, averaged over the 3×3
    patch. Source: this program.
    """
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(photo, axis=-1)
    cosines = np.sum(features * photo, -1, dtype=np.float64) / np.maximum(lengths, 1e-12)
    unlike = np.maximum(1 - _sum_of_nine(cosines) / 9, 0)
    return float(np.mean(copied * unlike))


# Helpers of the measures.


def halved(pixels: np.ndarray) -> np.ndarray:
    """Return a picture of half the size, in means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in pixels.shape[:2])
    cells = pixels[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
    return cells.mean((1, 3))


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of `rows` rows, so that a block with `width` columns has about `BLOCK` elements."""
    step = max(1, BLOCK // width)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _spaced(count: int, most: int) -> np.ndarray:
    """Return at most `most` evenly spaced integers from 0 to `count` − 1."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int)


def _relative(values: np.ndarray, target: np.ndarray) -> float:
    """Return Σ (values − target)² / Σ target² in float64, block by block to save memory."""
    ours, theirs = values.reshape(-1), target.reshape(-1)
    error = energy = 0.0
    for block in _blocks(len(theirs), 1):
        there = theirs[block].astype(np.float64)
        error += float(np.sum((ours[block] - there) ** 2))
        energy += float(there @ there)
    # All features of a black picture may be 0; then the error itself is returned.
    return error / energy if energy else error


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _patches(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return up to `PATCHES` patches at random places as rows [patches, PATCH² · 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH, PATCH), axis=(0, 1))
    rows, columns = windows.shape[:2]
    random = np.random.default_rng(seed)
    # The same seed takes the same places of pictures of one size: equal pictures have a distance of 0.
    places = random.choice(rows * columns, size=min(PATCHES, rows * columns), replace=False)
    return windows[places // columns, places % columns].reshape(len(places), -1)


def _quantiles(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the quantiles at `places`, 0–1, of each row of sorted values; `np.quantile` takes seconds."""
    known = np.linspace(0, 1, values.shape[1])
    return np.array([np.interp(places, known, row) for row in values])


def _colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """Return the histogram [3, BINS, BINS] of log-chroma, whose sum is 1, or 0 for a black picture."""
    rows = np.asarray(pixels, np.float32).reshape(-1, 3) / 255
    rows = rows[_spaced(len(rows), COLOURS)]
    centres = np.linspace(-COLOUR_LIMIT, COLOUR_LIMIT, BINS, dtype=np.float32)
    logs, weights = np.log(rows + 1e-6), np.linalg.norm(rows, axis=1, keepdims=True)
    histogram = np.zeros((3, BINS, BINS))
    for channel, others in enumerate(((1, 2), (0, 2), (0, 1))):
        ratios = [(logs[:, channel] - logs[:, other])[:, np.newaxis] for other in others]
        first, second = (1 / (1 + ((ratio - centres) / BIN_WIDTH) ** 2) for ratio in ratios)
        histogram[channel] = (first * weights).T @ second
    total = histogram.sum()
    return histogram / total if total > 0 else histogram


def _nearest_patches(features: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return the index of the nearest 3×3 patch of the style for each patch of features, [H − 2, W − 2].

    The dot product of two patches is the sum of nine dot products of positions. Each of these is computed
    only once.
    """
    mean = style.reshape(-1, style.shape[-1]).mean(0)
    ours, theirs = ((side - mean).astype(np.float32) for side in (features, style))
    (height, width), (below, beside) = ours.shape[:2], theirs.shape[:2]
    products = np.tensordot(ours, theirs, (2, 2))
    sums = sum(
        products[y : height - 2 + y, x : width - 2 + x, y : below - 2 + y, x : beside - 2 + x]
        for y in range(3)
        for x in range(3)
    )
    # Dividing by the length of the painting's patch, too, would not change which patch is nearest.
    lengths = np.sqrt(np.maximum(_sum_of_nine(np.sum(theirs * theirs, -1)), 1e-24))
    return (sums / lengths).reshape(height - 2, width - 2, -1).argmax(-1)


def _sum_of_nine(values: np.ndarray) -> np.ndarray:
    """Return the sum of each 3×3 window of `values` [H, W], as [H − 2, W − 2]."""
    return np.lib.stride_tricks.sliding_window_view(values, (3, 3)).sum((-2, -1))
