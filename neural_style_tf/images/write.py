"""Write float RGB pixels to a picture file; its suffix names the format."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from neural_style_tf.errors import RunError, UserError, did_you_mean, show
from neural_style_tf.images import deep, exr
from neural_style_tf.images.color import srgb_profile
from neural_style_tf.images.resize import strips
from neural_style_tf.utils.files import atomic_file

_SUFFIXES = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"},
    ".exr": "EXR",
}
_OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    # `exact` keeps the colours of fully transparent pixels.
    "WEBP": {"quality": 95, "method": 4, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
DEEP_FORMATS = ("PNG", "TIFF")
"""Formats that can hold 16 bits per channel."""


def check_output(path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> None:
    """Raise `UserError` if `save_image` could not write a picture of `size` (H, W) to this path."""
    check_path(Path(path), _SUFFIXES, "a picture")
    form = _SUFFIXES[Path(path).suffix.lower()]
    if form == "EXR":
        exr.check_library(show(path))
    limit = _LONGEST_SIDE.get(form)
    if size and limit and max(size) > limit:
        raise UserError(
            f"{show(path)}: a side of {max(size)} pixels is too long for this format "
            f"(limit {limit}); use .png"
        )


def check_path(path: Path, suffixes: Collection[str], kind: str) -> None:
    """Raise `UserError` if `path` has none of the `suffixes`, or no file can be written there.

    `kind` is what to write, such as "a picture", for the message.
    """
    name, folder, suffix = show(path), show(path.parent), path.suffix.lower()
    if suffix not in suffixes:
        came = f"the suffix {show(path.suffix)}" if path.suffix else "no suffix"
        guess = did_you_mean(suffix, suffixes)
        raise UserError(f"{name} has {came}{guess}; {kind} can be written as {', '.join(suffixes)}")
    try:
        reason = ""
        if "\0" in str(path):
            reason = "a file name cannot hold a null character"
        elif not path.parent.exists():
            reason = f"there is no folder {folder}; create it first"
        elif not path.parent.is_dir():
            reason = f"{folder} is not a folder"
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            reason = f"permission denied in folder {folder}"
        elif path.exists() and not stat.S_ISREG(path.stat().st_mode):
            reason = "something that is not a file has this name"
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        raise UserError(f"{name} cannot be written: {reason}")


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
    original: exr.Original | None = None,
) -> tuple[str, ...]:
    """Write a picture atomically in the format that its suffix names; an existing file is replaced.

    PNG and TIFF are lossless; JPEG has quality 95 and full colour resolution; WebP is lossy at quality 95.
    Nothing is dithered. The same pixels give the same bytes. OpenEXR holds light as floats, see `images.exr`.

    Args:
        path: Ends in .png, .jpg, .jpeg, .webp, .tif, .tiff or .exr.
        pixels: `[H, W, 3]` or `[1, H, W, 3]`, RGB, 0–255: an array, or an object with `shape` whose slices of
            rows are arrays. Values are rounded and clipped.
        alpha: Opacity, uint8 `[H, W]`; JPEG cannot hold it.
        stretch: Scale the smallest value to 0 and the largest to 255, as SciPy's `imsave` did for the
            original implementation of 2017.
        text: Texts to store in an 8-bit PNG, by keyword; other formats leave them out.
        bits: Bits per channel: 8, or 16 for PNG and TIFF with the extra `deep`. Other formats have 8.
        profile: ICC profile of the pixels; None for sRGB.
        dpi: Pixels per inch, across and down; WebP cannot hold them.
        original: For OpenEXR, the file of the photo (`Picture.original`), whose other channels are kept.

    Returns:
        Lines that the user should see: what the format cannot hold.

    Raises:
        UserError: The suffix is unknown, the folder is missing or read-only, the format cannot hold so large
            a picture, or 16 bits lack the extra `deep`.
        ValueError: A shape is wrong, or a pixel is not a finite number.
        RunError: Writing failed, for example because the disk is full.
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
    if form == "EXR":
        if profile:
            raise UserError(f"{show(path)}: {exr.NO_PROFILE}")
        low, high = _range(pixels)
        if stretch:
            pixels = (np.asarray(pixels[:]) - low) * (255.0 / (float(high - low) or 1.0))
        encoded = exr.encode(pixels, alpha=alpha, original=original, dpi=dpi)
        _write(path, lambda file: file.write(encoded))
        return notes
    profile = profile or srgb_profile()
    if bits == 16 and form in DEEP_FORMATS:
        deep.check_libvips()
        levels = _quantize(pixels, np.uint16, alpha=alpha, stretch=stretch)
        encoded = deep.encode(levels, form, profile=profile, dpi=dpi)
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
    """Return pixels as a Pillow image of mode RGB or RGBA, rounded and clipped to 8 bits.

    Args:
        pixels: `[H, W, 3]`, RGB, 0–255.
        alpha: Opacity, uint8 `[H, W]`.
        stretch: See `save_image`.

    Raises:
        ValueError: A pixel is not a finite number.
    """
    return Image.fromarray(_quantize(pixels, np.uint8, alpha=alpha, stretch=stretch))


def _quantize(pixels: np.ndarray, dtype: type, *, alpha: np.ndarray | None, stretch: bool) -> np.ndarray:
    """Round and clip pixels to `dtype`, uint8 or uint16; return `[H, W, 3]`, or `[H, W, 4]` with `alpha`."""
    low, high = _range(pixels)
    level = np.iinfo(dtype).max // 255
    levels = np.empty((*pixels.shape[:2], 3 if alpha is None else 4), dtype)
    for rows in strips(pixels.shape):
        strip = pixels[rows]
        strip = strip if strip.dtype == np.float64 else strip.astype(np.float32, copy=False)
        if stretch:
            strip = (strip - low) * (255.0 / (float(high - low) or 1.0))
        levels[rows, :, :3] = np.floor(np.clip(strip, 0.0, 255.0) * strip.dtype.type(level) + 0.5)
    if alpha is not None:
        levels[..., 3] = alpha.astype(dtype) * level
    return levels


def _range(pixels: np.ndarray) -> tuple[np.floating, np.floating]:
    """Return the smallest and the largest value; raise `ValueError` if a value is not a finite number."""
    bad, low, high = 0, np.inf, -np.inf
    for rows in strips(pixels.shape):
        strip = pixels[rows]
        bad += strip.size - int(np.isfinite(strip).sum())
        low, high = min(low, strip.min()), max(high, strip.max())
    if bad:
        count = pixels.shape[0] * pixels.shape[1] * 3
        raise ValueError(f"{bad} of {count} values are not finite; a NaN is never written to a picture")
    return low, high
