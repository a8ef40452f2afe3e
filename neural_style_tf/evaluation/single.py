"""Measure one painting."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.errors import UserError, did_you_mean
from neural_style_tf.evaluation.columns import BY_NAME, MEASURES, judge
from neural_style_tf.evaluation.looks import LARGEST, SIZE, SMALLEST, Trial, Viewer, judged_size, read
from neural_style_tf.images import resize

if TYPE_CHECKING:
    from neural_style_tf.weights import Weights

PictureSource = str | os.PathLike[str] | np.ndarray
"""A picture file, or pixels [H, W, 3], RGB 0–255."""
EXTRA = 'pip install "neural-style-tf[evaluate]"'


def evaluate(
    result: PictureSource,
    content: PictureSource,
    style: PictureSource,
    *,
    weights: Weights | None = None,
    size: int = SIZE,
    measures: Sequence[str] = tuple(BY_NAME),
) -> dict[str, float]:
    """Measure a painting, as `neural-style-tf-evaluate` does; return the value of each measure by its name.

    Args:
        result: The painting, by any program: a file, or pixels [H, W, 3], RGB 0–255.
        content: The photo that was painted.
        style: The style picture.
        weights: Weights of the network, from `load_weights`; default: `load_weights()`. Values from different
            networks cannot be compared, so name the network beside each value.
        size: Longest side in pixels, 32 to 2048, to which photo and style picture are resized. The painting
            is resized to the size of the photo.
        measures: Names of the measures; `ssim`, `patches`, `colours` and `strokes` need no network.

    Returns:
        Content: `ssim` (−1 to 1, more is better), `cfsd` (nats), `perceptual` (relative to the photo's
        features). Style: `w2`, `gram`, `moments` (relative to the style's features), `patches` (grey
        levels), `colours` and `strokes` (0 to 1). Neither (no painting should have these): `copied` and
        `foreign` (0 to 1). Less is better for all but `ssim`. `neural_style_tf.evaluation.measures` has
        definitions and sources.

    Raises:
        UserError: A file is not a picture, a measure is unknown, or scikit-image is missing.
    """
    for name in measures:
        if name not in BY_NAME:
            raise UserError(
                f"no measure {name!r}{did_you_mean(name, BY_NAME)}; there are {', '.join(BY_NAME)}"
            )
    check_longest_side(size)
    chosen = [measure for measure in MEASURES if measure.name in measures]
    if "ssim" in measures and not has_scikit_image():
        raise UserError(f"ssim needs scikit-image: {EXTRA}")
    painting, photo, manner = (pixels_of(source) for source in (result, content, style))
    if any(measure.by_network for measure in chosen):
        from neural_style_tf.weights.resolve import load_weights

        viewer = Viewer(weights or load_weights())
    else:
        viewer = Viewer()
    shape = judged_size(photo.shape, size)
    trial = Trial(
        viewer.look(resize(painting, shape)),
        viewer.look(resize(photo, shape)),
        viewer.look(resize(manner, judged_size(manner.shape, size)), maps=False),
    )
    return judge(trial, chosen)


def pixels_of(source: PictureSource) -> np.ndarray:
    """Return `source` as pixels [H, W, 3], RGB 0–255; transparent pixels of a file get colours nearby.

    Raise `UserError` if it is no picture.
    """
    if isinstance(source, str | os.PathLike):
        return read(source)
    pixels = np.asarray(source, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise UserError(f"a picture must be a file, or an array [H, W, 3], not {list(pixels.shape)}")
    if not np.isfinite(pixels).all():
        raise UserError("a picture must have finite pixels, RGB 0–255")
    return pixels


def check_longest_side(size: int) -> None:
    """Raise `UserError` if pictures cannot be measured at a longest side of `size` pixels."""
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"--size must be {SMALLEST} to {LARGEST} pixels, not {size}")


def has_scikit_image() -> bool:
    """Return whether `ssim` can be measured."""
    return importlib.util.find_spec("skimage") is not None
