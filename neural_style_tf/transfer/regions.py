"""Find matching regions of photo and style pictures, as masks: no eyes in the sky.

The features of all pictures are clustered together, after the means and deviations of their channels are
matched. What belongs to one cluster is a region of the photo, painted with that region of each style.
After Zhang et al., "Multimodal Style Transfer via Graph Cuts" (ICCV 2019), who cluster the style's features
and assign the photo's to them. Notation of this file:

    K       number of regions
    N       number of channels, of all layers together
    C       number of principal components that are compared
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from neural_style_tf.images import fit_size, resize
from neural_style_tf.images.masks import fit_mask

SIDE = 384
"""Longest side, in pixels, at which regions are found: the same for each size of the result."""
LEAST_SIDE = 32
"""Shortest side, in pixels, of a narrow picture, which is stretched: 4 positions of relu4_1."""
LAYERS = ("relu3_1", "relu4_1")
"""Texture (relu3_1) and parts of objects (relu4_1); either alone matches more regions wrongly."""
COMPONENTS, MOST, LEAST_SHARE = 16, 5, 0.02
"""C; largest K; least share of the photo, and of all styles together, of a region that is not merged."""
SAMPLES = 1200
"""Positions of which the silhouette is computed: its memory is their square."""
SMOOTH = 1.0
"""Standard deviation of the blur of the features, in positions of relu4_1: borders become smooth."""

Extract = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Picture [H, W, 3], RGB 0–255 → {layer: features [H_l, W_l, N_l]} of `LAYERS`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clusters:
    """Normalisation, projection and centroids that assign a feature to a region; one for a whole clip."""

    mean: np.ndarray  # of the photo's features [N]
    deviation: np.ndarray  # of the photo's features [N], > 0
    directions: np.ndarray  # principal components [N, C]
    centroids: np.ndarray  # [K, C]

    def regions_of(self, photo: np.ndarray, extract: Extract) -> np.ndarray:
        """Return the region of each pixel of a photo, or of a frame, uint8 [H, W], at most `SIDE`."""
        photo = reduced(photo)
        features = (describe(photo, extract) - self.mean) / self.deviation @ self.directions
        return label(features, self.centroids, photo.shape[:2])


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The number of the region of each pixel, 0 to K − 1, at the size at which regions are found."""

    photo: np.ndarray  # uint8 [H, W]
    styles: tuple[np.ndarray, ...]  # uint8 [h, w] of each style picture
    clusters: Clusters  # assign the pixels of further frames
    # (Region, style) of each mask: in each region all styles that have enough of it, at least one.
    pairs: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """K."""
        return len(self.clusters.centroids)

    def content_masks(self, labels: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Return the `--content_mask` of each of `pairs`, float32 [H, W], of the photo or of other labels."""
        labels = self.photo if labels is None else labels
        return tuple((labels == region).astype(np.float32) for region, _ in self.pairs)

    def style_masks(self) -> tuple[np.ndarray, ...]:
        """Return the `--style_mask` of each of `pairs`, float32 [h, w]."""
        return tuple((self.styles[style] == region).astype(np.float32) for region, style in self.pairs)


def find_regions(
    photo: np.ndarray,
    styles: Sequence[np.ndarray],
    extract: Extract,
    visible: Sequence[np.ndarray | None] = (),
) -> Regions:
    """Find the regions of a photo and styles, each [H, W, 3], RGB 0–255; a single one if nothing matches.

    Only what is `visible` is clustered: a mask of the photo and of each style, 0–1; None for all of it.
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
        # A region of a few positions may vanish between its neighbours when distances are enlarged.
        if largest.min() > 0:
            break
        centroids = np.delete(centroids, largest.argmin(), 0)
    clusters = Clusters(*moments[0], directions, centroids)
    return Regions(labels[0], tuple(labels[1:]), clusters, pairs_of(shares))


def shares_of(styles: Sequence[np.ndarray], visible: Sequence[np.ndarray | None], count: int) -> np.ndarray:
    """Return the share of each region in the visible pixels of each style [S, K]; each row sums to 1."""
    shares = []
    for labels, mask in itertools.zip_longest(styles, visible):
        shown = labels[shown_at(mask, labels.shape)]
        shares.append(np.bincount(shown, minlength=count) / len(shown))
    return np.array(shares)


def pairs_of(shares: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return `Regions.pairs` of the shares of regions in styles [S, K]."""
    # A region without a style would stay unpainted.
    enough = (shares >= LEAST_SHARE / len(shares)) | (shares == shares.max(0))
    return tuple((int(region), int(style)) for region, style in np.argwhere(enough.T))


def reduced(picture: np.ndarray) -> np.ndarray:
    """Return a picture at most at the size at which regions are found."""
    height, width = fit_size(picture.shape[:2], SIDE)
    return resize(np.asarray(picture, np.float32), (max(height, LEAST_SIDE), max(width, LEAST_SIDE)))


def describe(picture: np.ndarray, extract: Extract) -> np.ndarray:
    """Return the features of all `LAYERS` at the positions of the last, blurred, [H_l, W_l, N]."""
    # Imported late: mistakes in flags are reported in the first second.
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
    """Return where a mask shows at least half of a position, bool of `size`; everywhere if nowhere."""
    here = np.ones(size, bool) if mask is None else fit_mask(mask, size) >= 0.5
    return here if here.any() else np.ones(size, bool)


def moments_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation [N] of features [M, N]; a channel that hardly varies is not amplified."""
    deviation = features.std(0)
    return features.mean(0), deviation + 1e-3 * deviation.mean() + 1e-9


def principal(points: np.ndarray) -> np.ndarray:
    """Return the first C principal components [N, C] of points [M, N] with mean 0."""
    _, directions = np.linalg.eigh(points.T @ points / len(points))
    return directions[:, ::-1][:, :COMPONENTS]


def cluster(photo: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Return the centroids [K, C] of points [M, C], of K from 2 to `MOST` that of the best silhouette.

    Small clusters are merged first: a cluster that only one picture has would get the best silhouette but
    match nothing.
    """
    # Imported late: mistakes in flags are reported in the first second.
    from scipy.cluster.vq import kmeans2

    points = np.concatenate([photo, style])
    # Flat pictures may have fewer kinds of points than clusters.
    most = min(MOST, len(np.unique(points, axis=0)))
    if most < 2:
        return points[:1]
    drawn = points[np.random.default_rng(0).permutation(len(points))[:SAMPLES]]
    found = [kmeans2(points, count, minit="++", seed=0, missing="warn")[0] for count in range(2, most + 1)]
    merged = [merge(centroids, photo, style) for centroids in found]
    return max(merged, key=lambda centroids: silhouette(drawn, nearest(drawn, centroids)))


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of (b − a) / max(a, b) over points [M, C] (Rousseeuw 1987); −1 for one cluster.

    a is the mean distance to the other points of its own cluster, b that to the points of the nearest other.
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
    """Remove, one by one, the centroids that have less than `LEAST_SHARE` of the points of photo or style."""
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
    """Return the nearest centroid of each pixel, uint8 of `size`, of features [H_l, W_l, C].

    Distances are enlarged before they are compared, so that borders have no steps.
    """
    from scipy import ndimage

    distances = squared_distances(features.reshape(-1, features.shape[-1]), centroids)
    maps = distances.reshape(*features.shape[:2], -1)
    zoom = [side / positions for side, positions in zip(size, features.shape, strict=False)]
    enlarged = ndimage.zoom(maps, (*zoom, 1), order=1, mode="nearest", grid_mode=True)
    return enlarged.argmin(-1).astype(np.uint8)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the nearest centroid of each point."""
    return squared_distances(points, centroids).argmin(1)


def squared_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return ‖p − o‖² [M, K] of points [M, C] and others [K, C]."""
    squares = (points**2).sum(1)[:, np.newaxis] + (others**2).sum(1)
    return np.maximum(squares - 2 * points @ others.T, 0.0)
