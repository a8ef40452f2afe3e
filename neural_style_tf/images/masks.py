"""Masks, in which white is inside, black is outside and grey is in between, and the opacity of pictures."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.images.color_transfer import luma
from neural_style_tf.images.exr import to_light
from neural_style_tf.images.read import Picture, load_image

_BLACK, _WHITE = 5.5, 249.5
"""In a mask, levels below the first become 0, and levels above the second 1, which removes JPEG's noise."""
_MAX_STRETCH = 0.03
"""If the aspect ratios of mask and picture differ by more than this share, a note says so."""


def load_mask(path: str | os.PathLike[str], **options: Any) -> tuple[np.ndarray, Picture]:
    """Read a mask from a picture file: its opacity if it has transparency, otherwise its brightness.

    Args:
        path: A picture file.
        **options: Options of `load_image`.

    Returns:
        The mask, float32 `[H, W]`, 0–1, and the `Picture` with its notes and hash, but without pixels.

    Raises:
        UserError: `load_image` cannot read the file.
    """
    picture = load_image(path, **options)
    is_light = picture.original is not None
    return mask_of(picture.pixels, picture.alpha, is_light=is_light), picture.without_pixels()


def mask_of(pixels: np.ndarray, alpha: np.ndarray | None, *, is_light: bool = False) -> np.ndarray:
    """Return the mask, float32 `[H, W]`, 0–1, of a picture; see `load_mask`.

    With `is_light` the pixels are from an OpenEXR file, whose values themselves are the mask.
    """
    if is_light and alpha is None:
        return np.clip(luma(to_light(pixels).astype(np.float32)), 0.0, 1.0)
    levels = luma(pixels) if alpha is None else alpha.astype(np.float32)
    return np.clip((levels - _BLACK) / (_WHITE - _BLACK), 0.0, 1.0)


def fit_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask `[H, W]`, 0–1, to `size` (H, W); areas of 0 or of 1 stay exactly 0 or 1.

    Reducing averages areas; enlarging interpolates linearly.
    """
    if mask.shape == tuple(size):
        return mask
    least = (min(size[1], mask.shape[1]), min(size[0], mask.shape[0]))
    picture = Image.fromarray(np.ascontiguousarray(mask, np.float32)).resize(least, Image.Resampling.BOX)
    resized = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR), np.float32)
    return np.clip(resized, mask.min(), mask.max())


def with_opacity(mask: np.ndarray | None, alpha: np.ndarray | None) -> np.ndarray | None:
    """Return a mask `[h, w]`, resized to its picture, times the picture's opacity `alpha`, uint8 `[H, W]`.

    If one of the two is None, return the other, as a mask 0–1; if both are None, return None.
    """
    if alpha is None:
        return mask
    opacity = alpha.astype(np.float32) / 255.0
    return opacity if mask is None else fit_mask(mask, opacity.shape) * opacity


def stretched(shape: tuple[int, ...], like: tuple[int, ...]) -> str:
    """Return a note if a mask of this shape and a picture of shape `like` differ in aspect ratio, else ""."""
    ratio = (shape[1] * like[0]) / (shape[0] * like[1])
    if abs(ratio - 1) <= _MAX_STRETCH:
        return ""
    return f"is {shape[1]}×{shape[0]}, and is stretched to the shape of its picture, {like[1]}×{like[0]}"


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Replace the colours of fully transparent pixels by that of the nearest visible pixel.

    This is needed because features near the border of the visible part also depend on pixels beyond it. Of
    the pixels at the border, those of less than half the largest opacity are passed over: their colours are
    the least precise. `pixels`, `[H, W, 3]`, are returned themselves if none or all are fully transparent;
    `alpha` is the opacity, uint8 `[H, W]`, or None.
    """
    if alpha is None or alpha.all() or not alpha.any():
        return pixels
    # Its import takes as long as all else until a mistake is told.
    from scipy import ndimage

    faint = alpha < alpha.max() / 2
    nearest = ndimage.distance_transform_edt(faint, return_distances=False, return_indices=True)
    return np.where(alpha[..., np.newaxis] > 0, pixels, pixels[tuple(nearest)])
