"""Find matching regions of the photo and the style pictures, such as sky and plain wall, as masks.

The features of each picture are normalised by the mean and deviation of their channels. Then the features of
all pictures are clustered together. Each cluster is a region of the photo and of the style pictures. A region
of the photo is painted with the same region of the styles, so that for example no eyes appear in the sky.

After Zhang et al., "Multimodal Style Transfer via Graph Cuts" (ICCV 2019), who cluster only the style's
features, and assign the photo's features to these clusters. Notation of this file:

    K       number of regions
    N       number of channels of all `LAYERS` together
    C       number of principal components that are used
    M       number of points (positions of a feature map)
    S       number of style pictures
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from neural_style_tf.images import fit_size, resize
from neural_style_tf.images.masks import fit_mask

SIDE = 384
"""Longest side, in pixels, of the reduced pictures in which regions are found, whatever the result's size."""
LEAST_SIDE = 32
"""A shorter side of a narrow picture is stretched to so many pixels: 4 positions of relu4_1."""
LAYERS = ("relu3_1", "relu4_1")
"""relu3_1 represents texture, relu4_1 parts of objects. Either layer alone matches more regions wrongly."""
COMPONENTS, MOST, LEAST_SHARE = 16, 5, 0.02
"""C; largest K; a region with a smaller share of the photo, or of all styles together, is removed."""
SAMPLES = 1200
"""Number of points for which the silhouette is computed. Its memory grows with the square."""
SMOOTH = 1.0
"""Standard deviation of the blur of the features, in positions of relu4_1. It makes borders smooth."""

Extract = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Function that computes features: from a picture [H, W, 3], RGB 0–255, to a dict from the name of each of
`LAYERS` to its features [H_l, W_l, N_l]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """Assigns pixels to regions, by the normalisation, projection and centroids found for one photo.

    For a clip they are those of the first frame, so that a region means the same in all frames.
    """

    mean: np.ndarray  # of the photo's features [N]
    deviation: np.ndarray  # of the photo's features [N], > 0
    directions: np.ndarray  # principal components [N, C]
    centroids: np.ndarray  # [K, C]

    def regions_of(self, photo: np.ndarray, extract: Extract) -> np.ndarray:
        """Return the region of each pixel of `photo`, uint8 [H, W], after it is reduced by `reduced`.

        `extract` computes the features.
        """
        photo = reduced(photo)
        features = (describe(photo, extract) - self.mean) / self.deviation @ self.directions
        return label(features, self.centroids, photo.shape[:2])


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The regions of a photo and its style pictures, as a region number from 0 to K − 1 for each pixel."""

    photo: np.ndarray  # region of each pixel of the reduced photo, uint8 [H, W]
    styles: tuple[np.ndarray, ...]  # the same for each style picture, uint8 [h, w]
    clusters: Clusters  # assigns the pixels of further frames
    # (region, style) for each mask: each region is painted with every style that has enough of it, or with
    # the style that has most of it.
    pairs: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """K, the number of regions."""
        return len(self.clusters.centroids)

    def content_masks(self, labels: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Return the content mask of each of `pairs`, float32 [H, W], 0 or 1.

        `labels` are the regions of the pixels of a frame; default: those of the photo.
        """
        labels = self.photo if labels is None else labels
        return tuple((labels == region).astype(np.float32) for region, _ in self.pairs)

    def style_masks(self) -> tuple[np.ndarray, ...]:
        """Return the style mask of each of `pairs`, float32 [h, w], 0 or 1."""
        return tuple((self.styles[style] == region).astype(np.float32) for region, style in self.pairs)


def find_regions(
    photo: np.ndarray,
    styles: Sequence[np.ndarray],
    extract: Extract,
    visible: Sequence[np.ndarray | None] = (),
) -> Regions:
    """Find the regions of a photo and its style pictures. If nothing matches, there is a single region.

    Only pixels inside the masks `visible` of the photo and of each style are clustered.
    """
    pictures = [reduced(picture) for picture in (photo, *styles)]
    maps = [describe(picture, extract) for picture in pictures]
    shown = [shown_at(mask, features.shape[:2]) for mask, features in itertools.zip_longest(visible, maps)]
    moments = [moments_of(features[here]) for features, here in zip(maps, shown, strict=True)]
    maps = [(features - mean) / deviation for features, (mean, deviation) in zip(maps, moments, strict=True)]
    directions = principal(np.concatenate([m[here] for m, here in zip(maps, shown, strict=True)]))
    maps = [features @ directions for features in maps]
    points = [features[here] for features, here in zip(maps, shown, strict=True)]
    centroids = cluster(points[0], np.concatenate(points[1:]))
    while True:
        labels = [
            label(features, centroids, picture.shape[:2])
            for features, picture in zip(maps, pictures, strict=True)
        ]
        shares = shares_of(labels[1:], visible[1:], len(centroids))
        largest = shares.max(0)
        # A region of a few positions may disappear when `label` interpolates the distances.
        if largest.min() > 0:
            break
        centroids = np.delete(centroids, largest.argmin(), 0)
    clusters = Clusters(*moments[0], directions, centroids)
    return Regions(labels[0], tuple(labels[1:]), clusters, pairs_of(shares))


def shares_of(styles: Sequence[np.ndarray], visible: Sequence[np.ndarray | None], count: int) -> np.ndarray:
    """Return the share of each region in the visible pixels of each style, [S, K]. Each row sums to 1.

    `styles` are the regions of the pixels of each style; `count` is K.
    """
    shares = []
    for labels, mask in itertools.zip_longest(styles, visible):
        shown = labels[shown_at(mask, labels.shape)]
        shares.append(np.bincount(shown, minlength=count) / len(shown))
    return np.array(shares)


def pairs_of(shares: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the pairs (region, style) to paint (`Regions.pairs`), from the result of `shares_of`."""
    # A region without a style would stay unpainted.
    enough = (shares >= LEAST_SHARE / len(shares)) | (shares == shares.max(0))
    return tuple((int(region), int(style)) for region, style in np.argwhere(enough.T))


def reduced(picture: np.ndarray) -> np.ndarray:
    """Return `picture` with its longest side reduced to `SIDE`; shorter sides are at least `LEAST_SIDE`."""
    height, width = fit_size(picture.shape[:2], SIDE)
    return resize(np.asarray(picture, np.float32), (max(height, LEAST_SIDE), max(width, LEAST_SIDE)))


def describe(picture: np.ndarray, extract: Extract) -> np.ndarray:
    """Return the features of all `LAYERS` side by side, [H_l, W_l, N], blurred.

    H_l and W_l are those of the last layer. Features of the other layers are averaged to its positions.
    """
    # Imported here, so that mistakes in flags are reported without waiting for SciPy.
    from scipy import ndimage

    features = extract(picture)
    height, width = features[LAYERS[-1]].shape[:2]
    parts = []
    for layer in LAYERS:
        values = features[layer]
        step = round(values.shape[0] / height)
        rows, columns = height * step - values.shape[0], width * step - values.shape[1]
        values = np.pad(values, [(0, max(rows, 0)), (0, max(columns, 0)), (0, 0)], mode="edge")
        cells = values[: height * step, : width * step].reshape(height, step, width, step, -1)
        parts.append(cells.mean((1, 3)))
    return ndimage.gaussian_filter(np.concatenate(parts, -1), (SMOOTH, SMOOTH, 0), mode="nearest")


def shown_at(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Return where `mask`, resized to `size`, is at least 0.5, as bool of `size`.

    Return True everywhere if it is so nowhere, or if `mask` is None.
    """
    here = np.ones(size, bool) if mask is None else fit_mask(mask, size) >= 0.5
    return here if here.any() else np.ones(size, bool)


def moments_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation [N] of `features` [M, N].

    The deviation is a little enlarged, so that dividing by it does not amplify a channel that hardly varies.
    """
    deviation = features.std(0)
    return features.mean(0), deviation + 1e-3 * deviation.mean() + 1e-9


def principal(points: np.ndarray) -> np.ndarray:
    """Return the first C principal components, [N, C], of `points` [M, N], whose mean is 0."""
    _, directions = np.linalg.eigh(points.T @ points / len(points))
    return directions[:, ::-1][:, :COMPONENTS]


def cluster(photo: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Cluster the points [M, C] of photo and all styles together by k-means; return the centroids [K, C].

    K is the number from 2 to `MOST` with the best silhouette. Small clusters are removed before that. A
    cluster that only the photo or only the styles have would get a good silhouette, but match nothing.
    """
    # Imported here, so that mistakes in flags are reported without waiting for SciPy.
    from scipy.cluster.vq import kmeans2

    points = np.concatenate([photo, style])
    # Flat pictures may have fewer different points than clusters.
    most = min(MOST, len(np.unique(points, axis=0)))
    if most < 2:
        return points[:1]
    drawn = points[np.random.default_rng(0).permutation(len(points))[:SAMPLES]]
    found = [kmeans2(points, count, minit="++", seed=0, missing="warn")[0] for count in range(2, most + 1)]
    merged = [merge(centroids, photo, style) for centroids in found]
    return max(merged, key=lambda centroids: silhouette(drawn, nearest(drawn, centroids)))


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the silhouette of a clustering (Rousseeuw 1987): the mean of (b − a) / max(a, b) over points.

    a is the mean distance of one of `points` [M, C] to the other points of its cluster, which `labels` [M]
    tell; b is the mean distance to the points of the nearest other cluster. With a single cluster it is −1.
    """
    clusters = np.unique(labels)
    if len(clusters) < 2:
        return -1.0
    own = labels[:, np.newaxis] == clusters
    counts = own.sum(0)
    sums = np.sqrt(squared_distances(points, points)) @ own
    inside = (sums * own).sum(1) / np.maximum((counts * own).sum(1) - 1, 1)
    outside = np.where(own, np.inf, sums / counts).min(1)
    return float(np.mean((outside - inside) / np.maximum(np.maximum(inside, outside), 1e-12)))


def merge(centroids: np.ndarray, photo: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return `centroids` without those that have less than `LEAST_SHARE` of the points of photo or style.

    They are removed one by one, the smallest first. After each removal, its points are assigned to others.
    """
    while len(centroids) > 1:
        shares = [
            np.bincount(nearest(points, centroids), minlength=len(centroids)) / len(points)
            for points in (photo, style)
        ]
        least = np.minimum(*shares)
        if least.min() >= LEAST_SHARE:
            break
        centroids = np.delete(centroids, least.argmin(), 0)
    return centroids


def label(features: np.ndarray, centroids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the nearest of `centroids` for each pixel, as uint8 of `size`, from `features` [H_l, W_l, C].

    The distances are interpolated to `size` before they are compared, so that borders are smooth.
    """
    from scipy import ndimage

    distances = squared_distances(features.reshape(-1, features.shape[-1]), centroids)
    maps = distances.reshape(*features.shape[:2], -1)
    zoom = [side / positions for side, positions in zip(size, features.shape, strict=False)]
    enlarged = ndimage.zoom(maps, (*zoom, 1), order=1, mode="nearest", grid_mode=True)
    return enlarged.argmin(-1).astype(np.uint8)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the index of the nearest centroid for each point, [M]."""
    return squared_distances(points, centroids).argmin(1)


def squared_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the squared distance of each of `points` [M, C] to each of `others` [K, C], as [M, K]."""
    squares = (points**2).sum(1)[:, np.newaxis] + (others**2).sum(1)
    return np.maximum(squares - 2 * points @ others.T, 0.0)
