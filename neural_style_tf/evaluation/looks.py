"""Prepare pictures for the measures: resize them, and extract the features of one network."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.evaluation.measures import FeatureStatistics, coherence, copied_places, statistics_of
from neural_style_tf.images import fill_hidden, fit_size, load_image, resize
from neural_style_tf.utils.runtime import use_tensorflow_backend

if TYPE_CHECKING:
    from neural_style_tf.weights import Weights

SIZE, SMALL = 512, 384
"""Longest side, in pixels, at which pictures are measured; for `copied_places` and `coherence` the second."""
SMALLEST, LARGEST = 32, 2048
"""Limits of the size in pixels: scikit-image's window is 11 pixels wide, and features take memory."""
W2_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2")
"""Layers of `w2`. No preset takes style from them, so no preset minimises `w2` directly."""
GRAM_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
PERCEPTUAL_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
STRUCTURE_LAYER, COPY_LAYER = "relu3_1", "relu4_1"
_MAPS = (*PERCEPTUAL_LAYERS, STRUCTURE_LAYER)
_STATISTICS = (*W2_LAYERS, *GRAM_LAYERS)


@dataclasses.dataclass(frozen=True, eq=False)
class Appearance:
    """A picture, and the features that measures need of it; without a network there are none."""

    pixels: np.ndarray  # float32 [H, W, 3], RGB 0–255
    small: np.ndarray  # the same picture with a longest side of at most 384 pixels
    statistics: Mapping[str, FeatureStatistics] = dataclasses.field(default_factory=dict)  # by layer
    # Features [H, W, N], by layer; empty for a style picture.
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    copied: np.ndarray | None = None  # features relu4_1 of `small`, for `copied_places`

    @functools.cached_property
    def coherence(self) -> float:
        """How much neighbouring edges of the picture have one direction, 0 to 1."""
        return coherence(self.small)


class Viewer:
    """Extracts features with one network, which is built and traced once; without weights, no features."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._extract = None
        if weights is not None:
            use_tensorflow_backend()
            from neural_style_tf.losses.features import FeatureExtractor

            self._extract = FeatureExtractor(tuple(dict.fromkeys((*_STATISTICS, *_MAPS))), weights)

    def look(self, pixels: np.ndarray, *, maps: bool = True) -> Appearance:
        """Return the `Appearance` of pixels [H, W, 3], RGB 0–255; a style picture needs no `maps`."""
        pixels = np.asarray(pixels, np.float32)
        height, width = fit_size(pixels.shape[:2], SMALL)
        # A narrow picture keeps enough rows for 3×3 patches at relu4_1.
        small = resize(pixels, (max(height, SMALLEST), max(width, SMALLEST)))
        if self._extract is None:
            return Appearance(pixels, small)
        features = self._extract(pixels)
        return Appearance(
            pixels,
            small,
            {layer: statistics_of(features[layer]) for layer in _STATISTICS},
            {layer: features[layer] for layer in _MAPS} if maps else {},
            # At 384 pixels or below, `small` is the same picture.
            (features if small.shape == pixels.shape else self._extract(small))[COPY_LAYER],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """A painting, and the photo and the style picture that it is compared with."""

    painting: Appearance
    photo: Appearance
    style: Appearance

    @functools.cached_property
    def copied(self) -> np.ndarray:
        """Where the painting shows pieces of the style picture, bool [H − 2, W − 2]; see `copied_places`."""
        return copied_places(self.painting.copied, self.style.copied)


def read(path: str | os.PathLike[str], longest: int | None = None) -> np.ndarray:
    """Return the pixels [H, W, 3] of a file, RGB 0–255, its longest side reduced to `longest` pixels.

    Transparent pixels get the colours of visible pixels nearby.
    """
    picture = load_image(path, longest=longest)
    return fill_hidden(picture.pixels, picture.alpha)


def judged_size(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return (H, W) to which a picture of this shape is resized: its longest side becomes `size` pixels."""
    height, width = fit_size((shape[0], shape[1]), size, enlarge=True)
    return max(height, SMALLEST), max(width, SMALLEST)


def cropped(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop the middle of a picture to the aspect ratio of `size` (H, W), and resize it to `size`."""
    height, width = pixels.shape[:2]
    share = min(height / size[0], width / size[1])
    tall, wide = (max(1, round(side * share)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    return resize(pixels[top : top + tall, left : left + wide], size)
