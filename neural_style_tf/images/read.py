"""Read pictures: decode, turn upright (EXIF), convert to sRGB; any file in, float RGB out.

A file is decoded once. Everything else (colour profile, grey levels, palette, alpha, resizing) is done strip
by strip, so that a large file that is reduced while reading never exists as floats.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from neural_style_tf.errors import UserError, show
from neural_style_tf.images import deep
from neural_style_tf.images.color import PixelReader
from neural_style_tf.images.decode import Decoded, decode, quiet_pillow, read_bounded
from neural_style_tf.images.resize import fit_size, resample, resize, upright

LEAST_DPI, MOST_DPI = 1.0, 30_000.0
MAX_PIXELS = 100_000_000
"""Default limit of `load_image`: 10 000 × 10 000, about 0.4 GB while being decoded."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture from a file.

    Attributes:
        pixels: float32 `[H, W, 3]`, RGB, sRGB, 0–255; not multiplied by alpha.
        alpha: Opacity, uint8 `[H, W]`; None if the file has none or is opaque everywhere.
        notes: Lines a run should show: what was converted, guessed or ignored.
        sha256: Of exactly the bytes that were decoded.
        path: Where they came from.
        profile: ICC profile that the pixels are in; None for sRGB.
        dpi: Pixels an inch, across and down, if the file says so.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    notes: tuple[str, ...]
    sha256: str
    path: Path
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None

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
    profile: bytes | None = None,
    keep_profile: bool = False,
) -> Picture:
    """Read a PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP or PPM file, upright and in sRGB.

    EXIF orientation and colour profile are applied. Grey, palette, CMYK, YCbCr and Lab become RGB; 16-bit
    grey keeps its 16 bits, and so do 16-bit colours of PNG and TIFF with the extra `deep`, else they are
    read at 8. Of several frames the first is used. HEIC needs the extra `heic`.

    Args:
        path: A regular file.
        max_pixels: Pictures with more pixels (WebP: with more than six tenths of it) are refused before they
            are decoded.
        longest: Shrink so that the longest side has this many pixels, see `fit_size`; None or 0 keeps the
            size. Colours are averaged in proportion to their opacity.
        enlarge: Enlarge a smaller picture to `longest`, too, within `max_pixels`.
        allow_truncated: Use what can be decoded of a damaged file, and say so in the notes.
        profile: ICC profile that the pixels shall be in instead of sRGB.
        keep_profile: Leave pixels of RGB in the file's own profile, which `Picture.profile` then is.

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
        reader = PixelReader(decoded.image, decoded.rawmode, name, notes, target=profile, keep=keep_profile)
        own = reader.profile
        if _has_deep_colors(decoded):
            reader = _deep_reader(data, decoded, reader, profile, name, notes)
        dpi = _dpi(decoded.image)
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
    if decoded.orientation > 4 and dpi:
        dpi = dpi[::-1]
    sha256 = hashlib.sha256(data).hexdigest()
    return Picture(pixels, alpha, tuple(dict.fromkeys(notes)), sha256, Path(path), own or profile, dpi)


def _deep_reader(
    data: bytes, decoded: Decoded, reader: PixelReader, profile: bytes | None, name: str, notes: list[str]
) -> PixelReader | deep.DeepReader:
    """Return what reads all bits of a file of 16 bits a colour, or, with a note, what reads 8 of them."""
    if decoded.levels is None and not deep.is_installed():
        notes.append(
            f"{name} has 16 bits a colour, of which 8 are read; all are with the extra deep: "
            'pip install "neural-style-tf[deep]"'
        )
        return reader
    try:
        levels = decoded.levels
        if levels is None:
            levels = deep.load_png(data, decoded.image.size)
        own = decoded.image.info.get("icc_profile")
        return deep.DeepReader(levels, own, profile, convert=reader.converts)
    except ValueError:
        notes.append(f"{name} has 16 bits a colour, of which only 8 could be read")
        return reader


def _has_deep_colors(decoded: Decoded) -> bool:
    """Return whether a file has grey with opacity, or colours, of 16 bits a channel."""
    return decoded.levels is not None or (
        decoded.image.mode in ("LA", "RGB", "RGBA") and "16" in decoded.rawmode
    )


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the pixels an inch that a file states, if they can be."""
    try:
        across, down = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(LEAST_DPI <= value <= MOST_DPI for value in (across, down)) else None


def fill_hidden(pixels: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return a picture with colours under full transparency replaced by those of what is visible around.

    What a program left there is not part of the picture, and a network would see it beside the border. The
    colours are averaged by opacity over ever larger squares, until one has any.

    Args:
        pixels: float32 `[H, W, 3]`.
        alpha: Opacity, uint8 `[H, W]`; None for opaque.
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
        seen = level[..., :3] / np.maximum(level[..., 3:], 1e-12)
        around = weight * seen + (1.0 - weight) * around
    return np.where(hidden[..., np.newaxis], around, pixels)


def _read_resized(
    reader: PixelReader | deep.DeepReader, size: tuple[int, int], new_size: tuple[int, int]
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
