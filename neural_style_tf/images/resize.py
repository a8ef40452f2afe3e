"""Compute the sizes of pictures, and resize pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

_PIXELS_PER_STRIP = 2**17


def fit_size(size: tuple[int, int], longest: int | None, *, enlarge: bool = False) -> tuple[int, int]:
    """Return `size` (H, W) scaled so that the longest side is `longest` pixels.

    The shorter side is rounded to the nearest integer, halves up, and is at least 1. The size is kept if
    `longest` is None or 0, or if the picture is smaller and `enlarge` is not set.
    """
    largest = max(size)
    if not longest or largest == longest or (largest < longest and not enlarge):
        return size
    height, width = (max(1, (2 * side * longest + largest) // (2 * largest)) for side in size)
    return height, width


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize `[H, W]`, `[H, W, C]` or `[1, H, W, C]` to (H, W) by an antialiased Lanczos filter (a = 3).

    The filter overshoots at edges, so each channel is clipped to its range in the input. The result is
    float32. If the size does not change, the result is not a copy.

    Raises:
        ValueError: The shape of `pixels` is another one, or a size is below 1.
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
    """Resize float32 `[H, W, C]` to `size` (H, W) without clipping, by a Lanczos filter.

    With `smooth` the filter has no negative lobes, so the result stays in the range of the input.
    """
    # Lanczos can make opacities near edges almost 0, and colours are divided by opacity.
    kind = Image.Resampling.HAMMING if smooth else Image.Resampling.LANCZOS
    resampled = np.empty((*size, planes.shape[-1]), np.float32)
    # Channels are resized one by one, so that only one is copied at a time.
    for c in range(planes.shape[-1]):
        channel = Image.fromarray(np.ascontiguousarray(planes[..., c]))
        resampled[..., c] = np.asarray(channel.resize(size[::-1], kind))
    return resampled


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of rows of a picture `[H, W, …]`, top to bottom, of about 130,000 pixels each."""
    height, width = shape[:2]
    rows = max(1, _PIXELS_PER_STRIP // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
