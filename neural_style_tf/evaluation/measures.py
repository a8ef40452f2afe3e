"""Measures of a painting, each a pure function of arrays; no loss here minimises them in these forms.

Pixels are [H, W, 3], RGB 0–255. Features are [H, W, N], as `extract_features` returns them; no measure but
`cfsd` depends on their scale. What a measure says, and what it does not, is in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from neural_style_tf.images.color_transfer import luma

BLOCK = 1 << 22
"""Numbers in a block of a matrix that is too large to be held, such as that of all pairs of positions."""

PATCH, FILTERS, PATCHES = 7, 256, 1 << 13
"""Of `patch_distance`: side of a patch, number of random filters, most patches of a picture."""
BINS, BIN_WIDTH, COLOUR_LIMIT, COLOURS = 64, 0.02, 3.0, 1 << 14
"""Of `colour_distance`: bins on each axis, τ of their kernel, largest |log ratio|, most pixels."""
ROWS = 1 << 11
"""Of `cfsd`: most positions that are compared with all others."""
TENSOR_SCALES = ((0.7, 2.0), (0.7, 4.0), (1.5, 4.0), (1.5, 8.0), (3.0, 8.0))
"""Of `coherence`: (σ of the derivatives, σ of the average), in pixels of a picture of 384."""
UNIT_INPUT = 255 * 0.226
"""How much larger the features of a network for RGB 0–255 are than of one for RGB of unit deviation."""
LEAST_REGION = 6
"""Of `copied_share`: the smallest region that counts, in positions."""


class FeatureStatistics(NamedTuple):
    """Mean [N] and covariance [N, N] of features over positions, float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def energy(self) -> float:
        """Mean squared length of the features."""
        return float(np.trace(self.covariance) + self.mean @ self.mean)

    @property
    def gram(self) -> np.ndarray:
        """Gram matrix [N, N], divided by the number of positions."""
        return self.covariance + np.outer(self.mean, self.mean)


Side = np.ndarray | FeatureStatistics
"""Features [H, W, N] or their statistics."""


def statistics_of(features: Side) -> FeatureStatistics:
    """Return mean and covariance of features [H, W, N]; statistics pass through."""
    if isinstance(features, FeatureStatistics):
        return features
    rows = features.reshape(-1, features.shape[-1])
    mean = rows.mean(0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for block in _blocks(len(rows), len(mean)):
        centred = rows[block] - mean.astype(rows.dtype)
        covariance += centred.T @ centred
    return FeatureStatistics(mean, covariance / len(rows))


# Content: the painting beside its photo.


def ssim(pixels: np.ndarray, photo: np.ndarray) -> float:
    """Return the structural similarity of the luma, by scikit-image, with Gaussian weights.

    Args:
        pixels: Of the painting, at least 11 pixels on each side.
        photo: Of the same shape.

    Returns:
        −1 to 1, which is equal; more is better. No unit.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity" (2004); σ 1.5, K₁ 0.01, K₂ 0.03.
    """
    from skimage.metrics import structural_similarity

    lumas = (luma(picture) for picture in (pixels, photo))
    return float(
        structural_similarity(*lumas, data_range=255.0, gaussian_weights=True, use_sample_covariance=False)
    )


def cfsd(features: np.ndarray, photo: np.ndarray) -> float:
    """Return the content feature structural distance: whether positions are as alike as in the photo.

    With F [M, N] the features over N, P = softmax of each row of F Fᵀ: Σ over rows of KL(P_photo ‖ P_result).
    Of more than 2048 rows, so many are taken, evenly spaced, and stand for the others.

    Args:
        features: relu3_1 of the painting.
        photo: Of the photo, of the same shape.

    Returns:
        From 0, which is equal; less is better. Nats, a sum over positions: compare at one size.

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
    """Return the squared difference of features over the photo's energy, the mean over layers.

    Not LPIPS, which weighs channels by people's answers.

    Args:
        features: relu1_2, relu2_2, relu3_3 and relu4_3 of the painting.
        photo: Of the photo, of the same shapes.

    Returns:
        From 0, which is equal; less is better. A share: about 1 to 2 for unrelated pictures.

    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses" (2016), Eq. 2, over the energy.
    """
    shares = [_relative(*sides) for sides in zip(features, photo, strict=True)]
    return float(np.mean(shares))


# Style: the painting beside the style picture.


def gaussian_w2(features: Sequence[Side], style: Sequence[Side]) -> float:
    """Return the squared 2-Wasserstein distance of features as Gaussians over energy, the mean over layers.

    ‖μ − ν‖² + tr(Σ + T − 2 (T^½ Σ T^½)^½), over tr T + ‖ν‖².

    Args:
        features: relu1_2, relu2_2, relu3_2 and relu4_2 of the painting, of which no preset takes style.
        style: Of the style picture; positions may be others.

    Returns:
        From 0, which is equal; less is better. A share of the style's energy.

    Source: Dowson and Landau (1982), Eq. 4; of features, Heusel et al., "GANs Trained by a Two Time-Scale
    Update Rule" (2017), Eq. 6.
    """
    distances = []
    for ours, theirs in _statistics(features, style):
        root = _root(theirs.covariance)
        common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ ours.covariance @ root), 0)).sum()
        traces = np.trace(ours.covariance) + np.trace(theirs.covariance) - 2 * common
        squared = traces + np.sum((ours.mean - theirs.mean) ** 2)
        distances.append(max(squared, 0.0) / theirs.energy)
    return float(np.mean(distances))


def gram_distance(features: Sequence[Side], style: Sequence[Side]) -> float:
    """Return the squared difference of Gram matrices over the style's, the mean over layers.

    Args:
        features: relu1_1, relu2_1, relu3_1 and relu4_1 of the painting.
        style: Of the style picture; positions may be others.

    Returns:
        From 0, which is equal; less is better. A share. Many methods minimise it: it says little alone.

    Source: Gatys, Ecker and Bethge (2016), Eq. 4, over the style's energy.
    """
    return float(
        np.mean([_relative(ours.gram, theirs.gram) for ours, theirs in _statistics(features, style)])
    )


def moment_distance(features: Sequence[Side], style: Sequence[Side]) -> float:
    """Return the squared difference of channels' means and deviations over the style's, the mean over layers.

    Args:
        features: relu1_1, relu2_1, relu3_1 and relu4_1 of the painting.
        style: Of the style picture; positions may be others.

    Returns:
        From 0, which is equal; less is better. A share. Feed-forward methods minimise it.

    Source: Huang and Belongie, "Arbitrary Style Transfer in Real-time" (2017), Eq. 13, squared, over the
    style's energy.
    """

    def both(side: FeatureStatistics) -> np.ndarray:
        return np.concatenate([side.mean, np.sqrt(np.maximum(np.diag(side.covariance), 0))])

    pairs = _statistics(features, style)
    return float(np.mean([_relative(both(ours), both(theirs)) for ours, theirs in pairs]))


def patch_distance(pixels: np.ndarray, style: np.ndarray, *, seed: int = 0) -> float:
    """Return the sliced Wasserstein distance of 7×7 patches, the mean over the size, its half and quarter.

    Patches are projected on 256 random unit filters, and each filter's values sorted: the mean difference.

    Args:
        pixels: Of the painting.
        style: Of the style picture; its size may be another.
        seed: Of filters and of the places of patches, at most 8192 of a picture.

    Returns:
        From 0, which is equal; less is better. Grey levels: one level more everywhere is about 0.8.

    Source: Elnekave and Weiss, "Generating Natural Images with Direct Patch Distributions Matching" (2022).
    """
    distances: list[float] = []
    sides = [np.asarray(picture, np.float32) for picture in (pixels, style)]
    while len(distances) < 3 and min(min(side.shape[:2]) for side in sides) >= PATCH:
        random = np.random.default_rng([seed, len(distances)])
        filters = random.standard_normal((PATCH * PATCH * 3, FILTERS)).astype(np.float32)
        filters /= np.linalg.norm(filters, axis=0)
        projected = [filters.T @ _patches(side, seed).T for side in sides]
        shares = np.linspace(0, 1, min(values.shape[1] for values in projected))
        ours, theirs = (np.quantile(values, shares, axis=1) for values in projected)
        distances.append(float(np.abs(ours - theirs).mean()))
        sides = [halved(side) for side in sides]
    return float(np.mean(distances))


def colour_distance(pixels: np.ndarray, style: np.ndarray) -> float:
    """Return the Hellinger distance of RGB-uv histograms, in which brightness is a weight.

    Args:
        pixels: Of the painting.
        style: Of the style picture; its size may be another.

    Returns:
        0, equal, to 1, no colour in common; less is better. No unit.

    Source: Afifi, Brubaker and Brown, "HistoGAN" (2021), Eqs. 1–4: 64 bins from −3 to 3, τ 0.02. Of more than
    16,384 pixels, so many are taken, evenly spaced, where the source reduces the picture to 150 × 150.
    """
    roots = [np.sqrt(_colour_histogram(picture)) for picture in (pixels, style)]
    if roots[0].any() != roots[1].any():
        # A black picture has no colour, so none in common with the other.
        return 1.0
    return float(np.linalg.norm(roots[0] - roots[1]) / np.sqrt(2))


def coherence(pixels: np.ndarray) -> float:
    """Return how much neighbouring edges have one direction, as brush strokes have.

    Σ √((Jxx − Jyy)² + 4 Jxy²) / Σ (Jxx + Jyy), with J the structure tensor of the luma, the mean over five
    pairs of scales.

    Args:
        pixels: At 384 pixels, which the scales are for.

    Returns:
        0, no direction, to 1, straight lines. No unit. A photo of cables is coherent, too, so the column
        `strokes` is the distance to the style's own value, 0 to 1; less is better.

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


# Neither: what should be in no painting.


def copied_places(features: np.ndarray, style: np.ndarray, *, least: int = LEAST_REGION) -> np.ndarray:
    """Return where a painting shows pieces of the style picture, bool [H − 2, W − 2].

    Each 3×3 patch of features is matched with the nearest patch of the style by the cosine, after the style's
    mean is subtracted. A position is copied if it lies in a 4-connected region of at least `least` positions
    that all have the same offset (matched position − own position).

    Args:
        features: relu4_1 of the painting at 384 pixels, at least 3 positions on each side.
        style: Likewise of the style picture; its size may be another.
        least: The smallest region that counts.

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
    # Offsets of fewer positions than count form no region.
    for number in np.flatnonzero(np.bincount(numbers.ravel()) >= least):
        regions, _ = label(numbers == number)
        sizes = np.bincount(regions.ravel())
        # 0 is outside all regions.
        copied |= (regions > 0) & (sizes[regions] >= least)
    return copied


def copied_share(copied: np.ndarray) -> float:
    """Return the share of a painting that shows pieces of the style picture.

    Styles with a repeated texture have a high share by nature, even beside the photo itself: compare
    paintings of one pair.

    Args:
        copied: From `copied_places`.

    Returns:
        0 to 1, the style picture itself; less is better. A share of the positions.
    """
    return float(copied.mean())


def foreign_share(copied: np.ndarray, features: np.ndarray, photo: np.ndarray) -> float:
    """Return how much of a painting is copied where the photo shows something else.

    For example, objects of the style picture in empty parts of the photo. Each copied position counts by how
    unlike the photo it is there: 1 − cos of the features, the mean over the 3×3 patch.

    Args:
        copied: From `copied_places` [H − 2, W − 2].
        features: relu4_1 of the painting at 384 pixels [H, W, N], all ≥ 0.
        photo: Likewise of the photo, of the same shape.

    Returns:
        0, as for the photo itself, to 1; less is better. A share of the positions.

    Source: this program.
    """
    lengths = np.linalg.norm(features, axis=-1) * np.linalg.norm(photo, axis=-1)
    cosines = np.sum(features * photo, -1, dtype=np.float64) / np.maximum(lengths, 1e-12)
    unlike = np.maximum(1 - _sum_of_nine(cosines) / 9, 0)
    return float(np.mean(copied * unlike))


# What they are made of.


def halved(pixels: np.ndarray) -> np.ndarray:
    """Return the means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in pixels.shape[:2])
    cells = pixels[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
    return cells.mean((1, 3))


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield slices of rows so that a block of this width has about `BLOCK` numbers."""
    step = max(1, BLOCK // width)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _spaced(count: int, most: int) -> np.ndarray:
    """Return at most `most` of the numbers below `count`, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int)


def _statistics(
    features: Sequence[Side], style: Sequence[Side]
) -> list[tuple[FeatureStatistics, FeatureStatistics]]:
    return [
        (statistics_of(ours), statistics_of(theirs)) for ours, theirs in zip(features, style, strict=True)
    ]


def _relative(values: np.ndarray, target: np.ndarray) -> float:
    """Return the squared difference over the target's square, without the difference as float64 at once."""
    ours, theirs = values.reshape(-1), target.reshape(-1)
    error = energy = 0.0
    for block in _blocks(len(theirs), 1):
        there = theirs[block].astype(np.float64)
        error += float(np.sum((ours[block] - there) ** 2))
        energy += float(there @ there)
    # Of a picture without any feature, such as a black one, the error itself.
    return error / energy if energy else error


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _patches(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Return up to `PATCHES` patches at random places as rows [patches, PATCH² · 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH, PATCH), axis=(0, 1))
    rows, columns = windows.shape[:2]
    random = np.random.default_rng(seed)
    # Pictures of one size are looked at in the same places: equal ones are at no distance.
    places = random.choice(rows * columns, size=min(PATCHES, rows * columns), replace=False)
    return windows[places // columns, places % columns].reshape(len(places), -1)


def _colour_histogram(pixels: np.ndarray) -> np.ndarray:
    """Return the histogram [3, BINS, BINS] of log-chroma, which sums up to 1."""
    rows = np.asarray(pixels, np.float32).reshape(-1, 3) / 255
    rows = rows[_spaced(len(rows), COLOURS)]
    centres = np.linspace(-COLOUR_LIMIT, COLOUR_LIMIT, BINS, dtype=np.float32)
    histogram = np.zeros((3, BINS, BINS))
    for block in _blocks(len(rows), 3 * BINS):
        logs = np.log(rows[block] + 1e-6)
        weights = np.linalg.norm(rows[block], axis=1, keepdims=True)
        for channel, others in enumerate(((1, 2), (0, 2), (0, 1))):
            ratios = [(logs[:, channel] - logs[:, other])[:, np.newaxis] for other in others]
            first, second = (1 / (1 + ((ratio - centres) / BIN_WIDTH) ** 2) for ratio in ratios)
            histogram[channel] += (first * weights).T @ second
    total = histogram.sum()
    return histogram / total if total > 0 else histogram


def _nearest_patches(features: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return the index of the nearest 3×3 patch of the style for each patch of features, [H − 2, W − 2].

    The product of two patches is the sum of nine products of positions, each of which is computed once.
    """
    mean = style.reshape(-1, style.shape[-1]).mean(0)
    ours, theirs = ((side - mean).astype(np.float32) for side in (features, style))
    height, width, channels = ours.shape
    lengths = np.sqrt(np.maximum(_sum_of_nine(np.sum(theirs * theirs, -1)), 1e-24))
    sources = theirs.reshape(-1, channels).T
    best = np.empty((height - 2, width - 2), np.int64)
    rows = max(1, BLOCK // (width * sources.shape[1]))
    for top in range(0, height - 2, rows):
        strip = ours[top : min(top + rows, height - 2) + 2]
        products = (strip.reshape(-1, channels) @ sources).reshape(*strip.shape[:2], *theirs.shape[:2])
        # Diagonal: the same step in both pictures. The length of our patch does not change which is nearest.
        sums = np.zeros((strip.shape[0] - 2, width - 2, *lengths.shape), np.float32)
        for down in range(3):
            for right in range(3):
                sums += products[
                    down : down + sums.shape[0],
                    right : right + sums.shape[1],
                    down : down + sums.shape[2],
                    right : right + sums.shape[3],
                ]
        sums /= lengths
        best[top : top + len(sums)] = sums.reshape(*sums.shape[:2], -1).argmax(-1)
    return best


def _sum_of_nine(values: np.ndarray) -> np.ndarray:
    """Return the sums of 3×3 neighbours, [H − 2, W − 2]."""
    return np.lib.stride_tricks.sliding_window_view(values, (3, 3)).sum((-2, -1))
