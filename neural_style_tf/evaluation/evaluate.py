"""Measure one painting."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.errors import UserError, did_you_mean
from neural_style_tf.evaluation.catalogue import BY_NAME, MEASURES, judge
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
    """Return name → value of the measures of a painting, as `neural-style-tf-evaluate` does.

    Args:
        result: The painting, of any program: a file, or pixels [H, W, 3], RGB 0–255.
        content: Its photo.
        style: Its style picture.
        weights: Of the network, from `load_weights`; default: `load_weights()`. A figure is of one network:
            name it beside the figure.
        size: Longest side in pixels, 32 to 2048, to which photo and style picture are brought. The painting
            is brought to the photo's.
        measures: Names of the measures; `ssim`, `patches`, `colours` and `strokes` need no network.

    Returns:
        Content: `ssim` (−1 to 1, more is better), `cfsd` (nats), `perceptual` (share of the photo's energy).
        Style: `w2`, `gram`, `moments` (shares of the style's energy), `patches` (grey levels), `colours` and
        `strokes` (0 to 1). Neither: `copied` and `foreign` (0 to 1). Less is better for all but
        `ssim`. The functions of `neural_style_tf.evaluation.measures` say more, with their sources.

    Raises:
        UserError: A file that is no picture, an unknown measure, or scikit-image is missing.
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
        if weights is None:
            from neural_style_tf.weights.resolve import load_weights

            weights = load_weights()
        viewer = Viewer(weights)
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
    """Return pixels [H, W, 3] of a file, in which what is transparent is filled, or of an array."""
    if isinstance(source, str | os.PathLike):
        return read(source)
    pixels = np.asarray(source, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise UserError(f"a picture must be a file, or an array [H, W, 3], not {list(pixels.shape)}")
    if not np.isfinite(pixels).all():
        raise UserError("a picture must have finite pixels, RGB 0–255")
    return pixels


def check_longest_side(size: int) -> None:
    """Refuse a size that pictures cannot be judged at."""
    if not SMALLEST <= size <= LARGEST:
        raise UserError(f"--size must be {SMALLEST} to {LARGEST} pixels, not {size}")


def has_scikit_image() -> bool:
    """Return whether scikit-image is installed."""
    return importlib.util.find_spec("skimage") is not None
