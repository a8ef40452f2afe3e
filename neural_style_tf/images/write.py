"""Write pictures: float RGB in, a file in the format that its suffix names out."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images import deep
from neural_style_tf.utils.atomic import atomic_file
from neural_style_tf.utils.text import did_you_mean

_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    # `exact` keeps the colours of fully transparent pixels.
    "WEBP": {"quality": 95, "method": 4, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
_PROFILE_DATE = slice(24, 36)
DEEP_FORMATS = ("PNG", "TIFF")
"""Those that hold 16 bits a channel."""
_PIXELS_PER_BAND = 1 << 18


def check_output(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> None:
    """Find out now, not after hours, whether `save_image` could write to this path.

    Args:
        path: The picture to be written.
        size: (H, W) it will have, pixels, if known.

    Raises:
        UserError: The suffix is unknown, the folder is missing or not writable, something other than a file
            is in the way, or the format cannot hold so large a picture.
    """
    path = Path(path)
    name, folder, suffix = show(path), show(path.parent), path.suffix.lower()
    if suffix not in _SUFFIXES:
        came = f"the suffix {show(path.suffix)}" if path.suffix else "no suffix"
        guess = did_you_mean(suffix, _SUFFIXES)
        raise UserError(f"{name} has {came}{guess}; a picture can be written as {', '.join(_SUFFIXES)}")
    try:
        if "\0" in str(path):
            raise UserError(f"{name} cannot be written: a file name cannot hold a null character")
        if not path.parent.exists():
            raise UserError(f"{name} cannot be written: there is no folder {folder}; create it first")
        if not path.parent.is_dir():
            raise UserError(f"{name} cannot be written: {folder} is not a folder")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UserError(f"{name} cannot be written: permission denied in folder {folder}")
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{name} cannot be written: something that is not a file has this name")
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} cannot be written: {error}") from error
    limit = _LONGEST_SIDE.get(_SUFFIXES[suffix])
    if size and limit and max(size) > limit:
        raise UserError(
            f"{name}: a side of {max(size)} pixels is too long for this format (limit {limit}); use .png"
        )


def save_image(
    path: str | os.PathLike[str],
    pixels: np.ndarray,
    *,
    alpha: np.ndarray | None = None,
    stretch: bool = False,
    text: Mapping[str, str] | None = None,
    bits: int = 8,
    profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> tuple[str, ...]:
    """Write a picture in the format its suffix names; a file of that name is replaced in one step.

    PNG and TIFF are lossless; JPEG has quality 95 and full colour resolution; WebP is lossy at quality 95.
    Nothing is dithered. The same pixels give the same bytes.

    Args:
        path: Ends in .png, .jpg, .jpeg, .webp, .tif or .tiff.
        pixels: `[H, W, 3]` or `[1, H, W, 3]`, RGB, 0–255, an array, or an object with
            `shape` whose slices of rows are arrays; rounded, and clipped outside that range.
        alpha: Opacity, uint8 `[H, W]`, 0–255; JPEG cannot hold it.
        stretch: Scale the smallest value to 0 and the largest to 255, as SciPy's `imsave` did for the
            original implementation of 2017.
        text: Keywords and values to keep in a PNG of 8 bits; other formats leave them out.
        bits: 8, or 16 for PNG and TIFF with the extra `deep`; other formats have 8.
        profile: ICC profile that the pixels are in; None for sRGB.
        dpi: Pixels an inch, across and down; WebP cannot hold them.

    Returns:
        Notes: what the format could not hold.

    Raises:
        UserError: See `check_output`; other `bits`, or 16 without the extra `deep`.
        ValueError: A shape is wrong, or a pixel is not a finite number.
        RunError: Writing failed, as on a full disk.
    """
    if hasattr(pixels, "__array__"):
        pixels = np.asarray(pixels)
        pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if len(pixels.shape) != 3 or pixels.shape[-1] != 3 or not min(pixels.shape):
        raise ValueError(f"expected pixels of shape [H, W, 3], not {tuple(pixels.shape)}")
    check_output(path, size=pixels.shape[:2])
    if bits not in (8, 16):
        raise UserError(f"bits must be 8 or 16, not {bits!r}")
    form, notes = _SUFFIXES[Path(path).suffix.lower()], ()
    if alpha is not None:
        alpha = np.asarray(alpha)
        if alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]:
            raise ValueError(f"expected alpha of uint8 {pixels.shape[:2]}, not {alpha.dtype} {alpha.shape}")
        if form == "JPEG":
            notes, alpha = (f"{show(Path(path).name)}: JPEG cannot hold transparency; it is left out",), None
    profile = profile or _srgb_profile()
    if bits == 16 and form in DEEP_FORMATS:
        deep.check_installed()
        encoded = deep.encode(to_levels(pixels, alpha=alpha, stretch=stretch), form, profile=profile, dpi=dpi)
        _write(path, lambda file: file.write(encoded))
        return notes
    options = dict(_OPTIONS[form])
    if dpi and form != "WEBP":
        options["dpi"] = dpi
    if form == "PNG" and text:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for keyword, value in text.items():
            options["pnginfo"].add_text(keyword, value)
    picture = to_picture(pixels, alpha=alpha, stretch=stretch)
    _write(path, lambda file: picture.save(file, form, icc_profile=profile, **options))
    return notes


def _write(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    try:
        with atomic_file(path) as file:
            write(file)
    except OSError as error:
        raise RunError(f"{show(path)} could not be written: {error.strerror or error}") from error


def to_picture(pixels: np.ndarray, *, alpha: np.ndarray | None = None, stretch: bool = False) -> Image.Image:
    """Round and clip pixels to 8 bits, a band of rows at a time.

    Args:
        pixels: float `[H, W, 3]`, or what gives such an array in bands of rows when it is sliced.
        alpha: Opacity, uint8 `[H, W]`.
        stretch: See `save_image`.

    Returns:
        The picture, RGB or RGBA.

    Raises:
        ValueError: A pixel is not a finite number.
    """
    height, width, _ = pixels.shape
    low, high = _range(pixels)
    picture = Image.new("RGB" if alpha is None else "RGBA", (width, height))
    for top, band in _bands(pixels):
        levels = _round(_stretched(band, low, high) if stretch else band, 1.0, np.uint8)
        if alpha is not None:
            levels = np.dstack([levels, alpha[top : top + len(levels)]])
        picture.paste(Image.fromarray(levels), (0, top))
    return picture


def to_levels(pixels: np.ndarray, *, alpha: np.ndarray | None, stretch: bool) -> np.ndarray:
    """Round and clip pixels to 16 bits; arguments and errors as of `to_picture`.

    Returns:
        uint16 `[H, W, 3 or 4]`.
    """
    height, width, _ = pixels.shape
    low, high = _range(pixels)
    levels = np.empty((height, width, 3 if alpha is None else 4), np.uint16)
    for top, band in _bands(pixels):
        values = _stretched(band, low, high) if stretch else band
        levels[top : top + len(band), :, :3] = _round(values, deep.LEVEL, np.uint16)
    if alpha is not None:
        levels[..., 3] = alpha.astype(np.uint16) * int(deep.LEVEL)
    return levels


def _range(pixels: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest value, all of which must be finite."""
    bad, low, high = 0, np.inf, -np.inf
    for _, band in _bands(pixels):
        bad += band.size - int(np.isfinite(band).sum())
        low, high = min(low, band.min()), max(high, band.max())
    if bad:
        size = pixels.shape[0] * pixels.shape[1] * 3
        raise ValueError(f"{bad} of {size} values are not finite; a NaN is never written to a picture")
    return low, high


def _stretched(band: np.ndarray, low: float, high: float) -> np.ndarray:
    return (band - low) * (255.0 / (float(high - low) or 1.0))


def _round(values: np.ndarray, scale: float, dtype: type) -> np.ndarray:
    return np.floor(np.clip(values, 0.0, 255.0) * values.dtype.type(scale) + 0.5).astype(dtype)


def _bands(pixels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, float rows) of a quarter of a million pixels each."""
    rows = max(1, _PIXELS_PER_BAND // pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        band = pixels[top : top + rows]
        yield top, band if band.dtype == np.float64 else band.astype(np.float32, copy=False)


@functools.cache
def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The moment of creation, by which two runs would differ.
    profile[_PROFILE_DATE] = bytes(12)
    return bytes(profile)
