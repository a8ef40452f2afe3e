"""Turn ComfyUI's pictures and masks into files of the program, and its results into ComfyUI's pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

LONGEST_PREVIEW = 512
"""Longest side of a preview, in pixels."""


def to_pixels(name: str, image: torch.Tensor) -> np.ndarray:
    """Return an IMAGE, float [B, H, W, C], 0–1, as uint8 [B, H, W, 3], or [B, H, W, 4] with its opacity.

    Raises:
        ValueError: The input `name` has another shape, or values that are no numbers.
    """
    values = _values(name, image)
    if values.ndim == 3:
        values = values[np.newaxis]
    if values.ndim != 4 or not values.size or values.shape[3] not in (1, 3, 4):
        raise ValueError(f"{name} is {_shape(image)}: expected a picture, batch × height × width × 3")
    pixels = _levels(values)
    return pixels if pixels.shape[3] > 1 else np.repeat(pixels, 3, axis=3)


def to_masks(name: str, mask: torch.Tensor) -> np.ndarray:
    """Return a MASK, float [B, H, W] or [H, W], 0–1, as uint8 [B, H, W].

    Raises:
        ValueError: The input `name` has another shape, or values that are no numbers.
    """
    values = _values(name, mask)
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values.squeeze(1 if values.shape[1] == 1 else 3)
    if values.ndim == 2:
        values = values[np.newaxis]
    if values.ndim != 3 or not values.size:
        raise ValueError(f"{name} is {_shape(mask)}: expected a mask, batch × height × width")
    return _levels(values)


def fill_regions(masks: Mapping[int, np.ndarray | None], size: tuple[int, int]) -> list[np.ndarray]:
    """Return the region of each style, uint8 [h, w]; a style without a mask gets what the others leave.

    Args:
        masks: Number of each style → its mask, uint8 [h, w] of any size, or None.
        size: (H, W) of the photo.

    Returns:
        The regions; empty if there is no mask: all styles go everywhere.

    Raises:
        ValueError: A mask is empty, or the others leave nothing to a style.
    """
    drawn = {number: mask for number, mask in masks.items() if mask is not None}
    for number, mask in drawn.items():
        if not mask.any():
            raise ValueError(
                f"mask_{number} is 0 everywhere: draw where style_{number} goes, or disconnect it (Load "
                "Image gives such a mask with a picture that has none)"
            )
    missing = [number for number in masks if number not in drawn]
    if not drawn or not missing:
        return list(drawn.values())
    # All of one size, or the program would leave a seam between them.
    sized = {number: np.asarray(Image.fromarray(mask).resize(size[::-1])) for number, mask in drawn.items()}
    rest = 255 - np.max(list(sized.values()), axis=0)
    if not rest.any():
        raise ValueError(
            f"the masks give the whole photo to other styles than style_{missing[0]}: leave it some of the "
            f"photo, or connect mask_{missing[0]}"
        )
    return [sized.get(number, rest) for number in masks]


def save(pixels: np.ndarray, path: Path) -> str:
    """Write uint8 pixels or a mask as a PNG, and return its name."""
    Image.fromarray(pixels).save(path, compress_level=1)
    return path.name


def load(path: Path, *, channels: int) -> np.ndarray:
    """Read a picture as float32 [H, W, channels], 0–1; `channels` is 3, or 4 for its opacity, too."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGBA" if channels == 4 else "RGB"), np.float32) / 255.0


def to_preview(path: Path) -> tuple[str, Image.Image, int] | None:
    """Return the picture in a file as ComfyUI takes previews; None if it cannot be read."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except OSError:
        return None
    small.thumbnail((LONGEST_PREVIEW, LONGEST_PREVIEW))
    return "JPEG", small, LONGEST_PREVIEW


def _values(name: str, tensor: torch.Tensor) -> np.ndarray:
    # NumPy has no bfloat16.
    values = tensor.cpu().float().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are no numbers (NaN or infinite): look at what made it")
    return values


def _levels(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def _shape(tensor: torch.Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"
