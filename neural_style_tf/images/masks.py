"""Masks: pictures that say where, white for here, black for not here, grey for in between."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.images.color_transfer import luma
from neural_style_tf.images.read import Picture, load_image

BLACK, WHITE = 5.5, 249.5
"""Levels up to which a mask is black, and from which it is white: JPEG's noise lies beyond them."""

ANOTHER_SHAPE = 0.03
"""Difference of width by height that is worth a word."""


def load_mask(path: str | os.PathLike[str], **reading: Any) -> tuple[np.ndarray, Picture]:
    """Read a mask from a picture of any kind.

    Args:
        path: A picture. Where it has transparency its opacity is the mask, else its brightness.
        **reading: See `load_image`.

    Returns:
        float32 `[H, W]`, 0–1, and what else is known of the file.

    Raises:
        UserError: As of `load_image`.
    """
    picture = load_image(path, **reading)
    levels = luma(picture.pixels) if picture.alpha is None else picture.alpha.astype(np.float32)
    return mask_of(levels), picture.without_pixels()


def mask_of(levels: np.ndarray) -> np.ndarray:
    """Return the mask `[H, W]`, 0–1, of grey levels, 0–255, likewise."""
    return np.clip((levels - BLACK) / (WHITE - BLACK), 0.0, 1.0)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask `[H, W]`, 0–1, at another size (H, W): averaged over areas, or interpolated.

    What is 0 or 1 everywhere stays so exactly.
    """
    if mask.shape == tuple(size):
        return mask
    smaller = size[0] <= mask.shape[0] and size[1] <= mask.shape[1]
    kind = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    # A reduction along one axis and an enlargement along the other is both, one after the other.
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
    """Return what to say of a mask whose shape is another than its picture's; `""` if it is the same."""
    ratio = (shape[1] * like[0]) / (shape[0] * like[1])
    if abs(ratio - 1) <= ANOTHER_SHAPE:
        return ""
    return f"is {shape[1]}×{shape[0]}, and is stretched to the shape of its picture, {like[1]}×{like[0]}"
