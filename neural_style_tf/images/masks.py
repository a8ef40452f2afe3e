"""Masks, in which white is inside, black outside and grey in between; and the opacity of pictures."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.images.color_transfer import luma
from neural_style_tf.images.read import Picture, load_image
from neural_style_tf.images.resize import resample

_BLACK, _WHITE = 5.5, 249.5
"""A mask is 0 below the first level and 1 above the second, so that JPEG's noise vanishes."""
_MAX_STRETCH = 0.03
"""A relative difference of aspect ratios above this gets a note."""


def load_mask(path: str | os.PathLike[str], **options: Any) -> tuple[np.ndarray, Picture]:
    """Read a mask from a picture: its opacity if it has transparency, else its brightness.

    Args:
        path: A picture file.
        **options: Options of `load_image`.

    Returns:
        float32 `[H, W]`, 0–1, and the picture without its pixels.

    Raises:
        UserError: As of `load_image`.
    """
    picture = load_image(path, **options)
    return mask_of(picture.pixels, picture.alpha), picture.without_pixels()


def mask_of(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return a picture `[H, W, 3]` with its opacity, uint8 `[H, W]`, as a mask; see `load_mask`."""
    levels = luma(pixels) if alpha is None else alpha.astype(np.float32)
    return np.clip((levels - _BLACK) / (_WHITE - _BLACK), 0.0, 1.0)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask `[H, W]`, 0–1, by averaging areas or interpolating; uniform 0 and 1 stay exact."""
    if mask.shape == tuple(size):
        return mask
    smaller = size[0] <= mask.shape[0] and size[1] <= mask.shape[1]
    kind = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    # To reduce one axis and enlarge the other takes two calls.
    least = (min(size[0], mask.shape[0]), min(size[1], mask.shape[1]))
    if not smaller and least != mask.shape:
        return fit_mask(fit_mask(mask, least), size)
    picture = Image.fromarray(np.ascontiguousarray(mask, np.float32))
    resized = np.asarray(picture.resize(size[::-1], kind), np.float32)
    return np.clip(resized, mask.min(), mask.max())


def with_opacity(mask: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray | None:
    """Return a mask `[h, w]` times the opacity, uint8 `[H, W]`, of its picture; None if there is neither."""
    if alpha is None:
        return mask
    opacity = alpha.astype(np.float32) / 255.0
    return opacity if mask is None else fit_mask(mask, opacity.shape) * opacity


def stretched(shape: tuple[int, ...], like: tuple[int, ...]) -> str:
    """Return a note if the aspect ratio of a mask differs from its picture's, else ""."""
    ratio = (shape[1] * like[0]) / (shape[0] * like[1])
    if abs(ratio - 1) <= _MAX_STRETCH:
        return ""
    return f"is {shape[1]}×{shape[0]}, and is stretched to the shape of its picture, {like[1]}×{like[0]}"


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Replace the colours of fully transparent pixels by those of visible pixels nearby.

    A network sees a little beyond the border of what is visible. The new colours are averages, weighted by
    opacity, over squares of doubling size, up to the first that contains visible pixels.
    """
    hidden = None if alpha is None else alpha == 0
    if hidden is None or not hidden.any() or hidden.all():
        return pixels
    opacity = alpha.astype(np.float32)[..., np.newaxis] / 255.0
    levels = [np.concatenate([pixels * opacity, opacity], -1)]
    while max(levels[-1].shape[:2]) > 1:
        height, width = levels[-1].shape[:2]
        padded = np.pad(levels[-1], [(0, height % 2), (0, width % 2), (0, 0)])
        levels.append(padded.reshape(-(-height // 2), 2, -(-width // 2), 2, 4).mean((1, 3)))
    around = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-12)
    for level in reversed(levels[:-1]):
        around = resample(around, level.shape[:2], smooth=True)
        weight = np.minimum(level[..., 3:], 1.0)
        visible = level[..., :3] / np.maximum(level[..., 3:], 1e-12)
        around = weight * visible + (1.0 - weight) * around
    return np.where(hidden[..., np.newaxis], around, pixels)
