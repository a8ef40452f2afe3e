"""Compute sizes of pictures, and resize them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

_PIXELS_PER_STRIP = 1 << 20


def fit_size(size: tuple[int, int], longest: int | None, *, enlarge: bool = False) -> tuple[int, int]:
    """Return the size a picture has when its longest side is `longest`.

    The longer side becomes exactly `longest`. The shorter one is short · longest / long, rounded to the
    nearest whole number, halves up, and at least 1.

    Args:
        size: (H, W), pixels.
        longest: Pixels; None or 0 keeps the size.
        enlarge: Whether a smaller picture is enlarged; otherwise it keeps its size.

    Returns:
        (H, W), pixels.
    """
    largest = max(size)
    if not longest or largest == longest or (largest < longest and not enlarge):
        return size
    height, width = (max(1, (2 * side * longest + largest) // (2 * largest)) for side in size)
    return height, width


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with an antialiased Lanczos filter (a = 3).

    The filter overshoots at edges; the result is clipped to the range of each channel of the input. An
    input that has the size already is returned as it is.

    Args:
        pixels: float `[H, W]`, `[H, W, C]` or `[1, H, W, C]`, any range.
        size: New (H, W), pixels.

    Returns:
        float32, the shape of the input with its H and W replaced.

    Raises:
        ValueError: Another shape, or a size below 1.
    """
    pixels = np.asarray(pixels, np.float32)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels[0] if pixels.ndim == 4 else pixels
    if planes.ndim != 3 or (pixels.ndim == 4 and len(pixels) != 1) or not planes.size or min(size) < 1:
        raise ValueError(f"cannot resize an array of shape {pixels.shape} to {size}; expected [H, W, C]")
    if planes.shape[:2] == tuple(size):
        return pixels
    resized = resample(planes, size)
    np.clip(resized, planes.min((0, 1)), planes.max((0, 1)), out=resized)
    return resized[..., 0] if pixels.ndim == 2 else resized.reshape(*pixels.shape[:-3], *resized.shape)


def resample(planes: np.ndarray, size: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """Return float32 `[H, W, C]` at `size`, not clipped; `smooth` uses a filter without negative lobes."""
    # Beside an edge Lanczos can give an opacity near or below zero, and a colour divided by that is noise.
    kind = Image.Resampling.HAMMING if smooth else Image.Resampling.LANCZOS
    resampled = np.empty((*size, planes.shape[-1]), np.float32)
    # One channel at a time, so that a large picture exists once, and a channel of it twice.
    for c in range(planes.shape[-1]):
        channel = Image.fromarray(np.ascontiguousarray(planes[..., c]))
        resampled[..., c] = np.asarray(channel.resize(size[::-1], kind))
    return resampled


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield the rows of a picture `[H, W, …]` from top to bottom, about a million pixels at a time."""
    height, width = shape[:2]
    rows = max(1, _PIXELS_PER_STRIP // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
