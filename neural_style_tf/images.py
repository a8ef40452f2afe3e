"""Read and write pictures: files in, float RGB out, and back.

A picture is `[H, W, 3]`, red first, sRGB, 0–255. A file is decoded once; everything else (colour profile,
grey levels, palette, alpha, resizing) happens on strips of it, so that a large file shrunk on loading never
exists as floats. The parts: `picture_io` opens, `picture_color` converts, `picture_resize` resizes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from neural_style_tf.atomic import atomic_file
from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.picture_color import PixelReader
from neural_style_tf.picture_io import decode, quiet_pillow, read_bounded
from neural_style_tf.picture_resize import fit_size, resample, resize, upright
from neural_style_tf.suggest import did_you_mean

__all__ = ["MAX_PIXELS", "Picture", "check_output", "fit_size", "load_image", "resize", "save_image"]

MAX_PIXELS = 100_000_000
"""Default limit of `load_image`: 10 000 × 10 000, about 0.4 GB while being decoded."""

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
_PIXELS_PER_BAND = 1 << 18


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture from a file.

    Attributes:
        pixels: float32 `[H, W, 3]`, RGB, sRGB, 0–255; not multiplied by alpha.
        alpha: Opacity, uint8 `[H, W]`; None if the file has none or is opaque everywhere.
        notes: Lines a run should show: what was converted, guessed or ignored.
        sha256: Of exactly the bytes that were decoded.
        path: Where they came from.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    notes: tuple[str, ...]
    sha256: str
    path: Path

    def without_pixels(self) -> Picture:
        """Return all that is known of the picture, in no memory to speak of."""
        return dataclasses.replace(self, pixels=np.empty((0, 0, 3), np.float32))


def load_image(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = MAX_PIXELS,
    longest: int | None = None,
    enlarge: bool = False,
    allow_truncated: bool = False,
) -> Picture:
    """Read a PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP or PPM file, upright and in sRGB.

    EXIF orientation and colour profile are applied. Grey, palette, CMYK, YCbCr and Lab become RGB; 16-bit
    grey keeps its 16 bits, colours are read at 8 bits a channel. Of several frames the first is used. HEIC
    needs the extra `heic`.

    Args:
        path: A regular file.
        max_pixels: Pictures with more pixels (WebP: with more than six tenths of it) are refused before they
            are decoded.
        longest: Shrink so that the longest side has this many pixels, see `fit_size`; None or 0 keeps the
            size. Colours are averaged in proportion to their opacity.
        enlarge: Enlarge a smaller picture to `longest`, too, within `max_pixels`.
        allow_truncated: Use what can be decoded of a damaged file, and say so in the notes.

    Returns:
        The picture.

    Raises:
        UserError: The file is missing, unreadable, no picture, damaged or too large.
    """
    if max_pixels < 1:
        raise UserError(f"max_pixels must be at least 1, not {max_pixels}")
    if longest is not None and longest < 0:
        raise UserError(f"the longest side must be at least 1, or 0 for the size of the file, not {longest}")
    data = read_bounded(path, max_pixels=max_pixels)
    name, notes = show(path), []
    with quiet_pillow(name, notes, max_pixels=max_pixels):
        decoded = decode(data, name, notes, max_pixels=max_pixels, allow_truncated=allow_truncated)
        reader = PixelReader(decoded.image, decoded.rawmode, name, notes)
        width, height = decoded.image.size
        pixels, alpha = _read_resized(reader, (height, width), fit_size((height, width), longest))
    pixels = upright(pixels, decoded.orientation)
    alpha = None if alpha is None else upright(alpha, decoded.orientation)
    size = fit_size(pixels.shape[:2], longest, enlarge=enlarge)
    if size != pixels.shape[:2]:
        if size[0] * size[1] > max_pixels:
            raise UserError(
                f"{name} enlarged would have {size[0] * size[1]:,} pixels, over the limit of {max_pixels:,}; "
                "take a smaller --image_size, or raise --max_pixels"
            )
        pixels = resize(pixels, size)
        alpha = None if alpha is None else np.rint(resize(alpha, size)).astype(np.uint8)
    return Picture(pixels, alpha, tuple(notes), hashlib.sha256(data).hexdigest(), Path(path))


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
) -> tuple[str, ...]:
    """Write a picture in the format its suffix names; a file of that name is replaced in one step.

    PNG and TIFF are lossless; JPEG has quality 95 and full colour resolution; WebP is lossy at quality 95.
    All are tagged as sRGB. The same pixels give the same bytes.

    Args:
        path: Ends in .png, .jpg, .jpeg, .webp, .tif or .tiff.
        pixels: `[H, W, 3]` or `[1, H, W, 3]`, RGB, 0–255, an array or `events.Rows`; rounded, and
            clipped outside that range.
        alpha: Opacity, uint8 `[H, W]`, 0–255; JPEG cannot hold it.
        stretch: Scale the smallest value to 0 and the largest to 255, as SciPy's `imsave` did for the
            original implementation of 2017.
        text: Keywords and values to keep in a PNG; other formats leave them out.

    Returns:
        Notes: what the format could not hold.

    Raises:
        UserError: See `check_output`.
        ValueError: A shape is wrong, or a pixel is not a finite number.
        RunError: Writing failed, as on a full disk.
    """
    if not hasattr(pixels, "rows"):
        pixels = np.asarray(pixels)
        pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if len(pixels.shape) != 3 or pixels.shape[-1] != 3 or not min(pixels.shape):
        raise ValueError(f"expected pixels of shape [H, W, 3], not {tuple(pixels.shape)}")
    check_output(path, size=pixels.shape[:2])
    form, notes = _SUFFIXES[Path(path).suffix.lower()], ()
    if alpha is not None:
        alpha = np.asarray(alpha)
        if alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]:
            raise ValueError(f"expected alpha of uint8 {pixels.shape[:2]}, not {alpha.dtype} {alpha.shape}")
        if form == "JPEG":
            notes, alpha = (f"{show(Path(path).name)}: JPEG cannot hold transparency; it is left out",), None
    options = dict(_OPTIONS[form])
    if form == "PNG" and text:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for keyword, value in text.items():
            options["pnginfo"].add_text(keyword, value)
    picture = to_picture(pixels, alpha=alpha, stretch=stretch)
    try:
        with atomic_file(path) as file:
            picture.save(file, form, icc_profile=_srgb_profile(), **options)
    except OSError as error:
        raise RunError(f"{show(path)} could not be written: {error.strerror or error}") from error
    return notes


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
    bad, low, high = 0, np.inf, -np.inf
    for _, band in _bands(pixels):
        bad += band.size - int(np.isfinite(band).sum())
        low, high = min(low, band.min()), max(high, band.max())
    if bad:
        size = height * width * 3
        raise ValueError(f"{bad} of {size} values are not finite; a NaN is never written to a picture")
    picture = Image.new("RGB" if alpha is None else "RGBA", (width, height))
    for top, band in _bands(pixels):
        if stretch:
            band = (band - low) * (255.0 / (float(high - low) or 1.0))
        levels = np.floor(np.clip(band, 0.0, 255.0) + 0.5).astype(np.uint8)
        if alpha is not None:
            levels = np.dstack([levels, alpha[top : top + len(levels)]])
        picture.paste(Image.fromarray(levels), (0, top))
    return picture


def _bands(pixels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, float rows) of a quarter of a million pixels each."""
    rows = max(1, _PIXELS_PER_BAND // pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        band = pixels[top : top + rows]
        yield top, band if band.dtype == np.float64 else band.astype(np.float32, copy=False)


def _read_resized(
    reader: PixelReader, size: tuple[int, int], new_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture at a size no larger than its own, holding no more than a strip of it as floats.

    Args:
        reader: Gives the strips.
        size: (H, W) of the picture, pixels.
        new_size: (h, w) wanted, pixels.

    Returns:
        Colours float32 `[h, w, 3]`, 0–255, and alpha uint8 `[h, w]`, None if it is opaque everywhere.
    """
    alpha = None
    if reader.has_alpha:
        alpha = np.empty(size, np.uint8)
        for top, strip in reader.strips():
            alpha[top : top + strip.height] = reader.alpha(strip)
        alpha = None if alpha.min() == 255 else alpha
    if size == new_size:
        pixels = np.empty((*size, 3), np.float32)
        for top, strip in reader.strips():
            pixels[top : top + strip.height] = reader.colors(strip)
        return pixels, alpha
    # The filter is separable: rows are shortened strip by strip, then columns at once.
    short_rows = np.empty((size[0], new_size[1], 3 if alpha is None else 7), np.float32)
    for top, strip in reader.strips():
        rows = slice(top, top + strip.height)
        planes = reader.colors(strip)
        if alpha is not None:
            opacity = alpha[rows, :, None].astype(np.float32)
            planes = np.concatenate([planes, planes * opacity, opacity], -1)
        short_rows[rows] = resample(planes, (strip.height, new_size[1]), smooth=alpha is not None)
    planes = resample(short_rows, new_size, smooth=alpha is not None)
    if alpha is None:
        return np.clip(planes, 0.0, 255.0, out=planes), None
    plain, premultiplied, opacity = planes[..., :3], planes[..., 3:6], planes[..., 6:]
    # Where nothing is opaque the colours have no weights; they count alike.
    colors = np.where(opacity > 0.0, premultiplied / np.maximum(opacity, 1e-6), plain)
    return np.clip(colors, 0.0, 255.0), np.rint(opacity[..., 0]).astype(np.uint8)


@functools.cache
def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The moment of creation, by which two runs would differ.
    profile[_PROFILE_DATE] = bytes(12)
    return bytes(profile)
