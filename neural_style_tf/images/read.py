"""Read a picture file as float RGB in sRGB, turned upright.

A file is decoded once. Then its colours are converted, and the picture is reduced, strip by strip. So a large
picture that is reduced is never in memory as floats at full size.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from neural_style_tf.errors import UserError, show
from neural_style_tf.images.color import ColorReader
from neural_style_tf.images.decode import decode, quiet_pillow
from neural_style_tf.images.exr import ExrPicture, Original, Window, is_exr
from neural_style_tf.images.files import read_bounded
from neural_style_tf.images.resize import fit_size, resample, resize

MAX_PIXELS = 100_000_000
"""Default limit of `load_image`: 10 000 × 10 000, about 0.4 GB while being decoded."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture from a file.

    Attributes:
        pixels: float32 `[H, W, 3]`, RGB, sRGB, 0–255; not multiplied by alpha.
        alpha: Opacity, uint8 `[H, W]`; None for an opaque picture.
        notes: Lines that the user should see: what was converted, guessed or ignored.
        sha256: Hash of the bytes that were decoded.
        path: Path of the file.
        profile: ICC profile of the pixels; None for sRGB.
        dpi: Pixels per inch, across and down; None if the file has none.
        original: The file, if it is an OpenEXR file; else None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    notes: tuple[str, ...]
    sha256: str
    path: Path
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    original: Original | None = None

    def without_pixels(self) -> Picture:
        """Return a copy with an empty array of pixels, which takes hardly any memory."""
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
    window: Window | None = None,
) -> Picture:
    """Read a PNG, JPEG, WebP, AVIF, HEIC, TIFF, OpenEXR, GIF, BMP or PPM file, upright and in sRGB.

    EXIF orientation and colour profile are applied. Grey, palette, CMYK, YCbCr and Lab become RGB. 16-bit
    grey keeps all its bits; so do 16-bit colours of PNG and TIFF with the extra `deep`. Without `deep`, these
    colours are read with 8 bits. The first of several frames is used. HEIC needs the extra `heic`, OpenEXR
    the extra `exr`; `images.exr` says how scene-linear colours become 0–255.

    Args:
        path: A regular file.
        max_pixels: Pictures with more pixels than this, or WebP pictures with more than 0.6 times this, are
            refused before they are decoded.
        longest: Reduce the longest side to this many pixels, see `fit_size`; None or 0 keeps the size.
            Colours are averaged in proportion to their opacity.
        enlarge: Whether to enlarge a smaller picture to `longest`, within `max_pixels`.
        allow_truncated: Whether to use the undamaged part of a damaged file, with a note.
        profile: ICC profile of the result instead of sRGB.
        keep_profile: Whether RGB pixels stay in the file's own profile, which becomes `Picture.profile`.
        window: Area of an OpenEXR file (left, top, right, bottom, all inside); default: its data window.

    Returns:
        The picture.

    Raises:
        UserError: The file is missing, unreadable, damaged, too large or not a picture.
    """
    if max_pixels < 1:
        raise UserError(f"max_pixels must be at least 1, not {max_pixels}")
    if longest is not None and longest < 0:
        raise UserError(f"the longest side must be at least 1, or 0 for the size of the file, not {longest}")
    data = read_bounded(path, max_pixels=max_pixels)
    name, notes = show(path), []
    with quiet_pillow(name, notes, max_pixels=max_pixels):
        dpi = None
        if is_exr(data):
            if profile:
                raise UserError(f"{name} is OpenEXR, which is read as sRGB: leave out --profile=content")
            reader = ExrPicture(data, Path(path), notes, max_pixels=max_pixels, window=window)
        else:
            reading = {"max_pixels": max_pixels, "allow_truncated": allow_truncated}
            decoded, own, dpi = decode(data, name, notes, **reading)
            reader = ColorReader(decoded, own, name, notes, target=profile, keep=keep_profile)
        pixels, alpha = _read_resized(reader, fit_size(reader.shape, longest))
    size = fit_size(pixels.shape[:2], longest, enlarge=enlarge)
    if size != pixels.shape[:2]:
        if size[0] * size[1] > max_pixels:
            raise UserError(
                f"{name} enlarged would have {size[0] * size[1]:,} pixels, over the limit of {max_pixels:,}; "
                "take a smaller --image_size, or raise --max_pixels"
            )
        pixels = resize(pixels, size)
        alpha = None if alpha is None else np.rint(resize(alpha, size)).astype(np.uint8)
    return Picture(
        pixels,
        alpha,
        notes=tuple(dict.fromkeys(notes)),
        sha256=hashlib.sha256(data).hexdigest(),
        path=Path(path),
        profile=reader.profile or profile,
        dpi=dpi,
        original=reader.original,
    )


def _read_resized(
    reader: ColorReader | ExrPicture, new_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return colours and opacity of a picture, read strip by strip and reduced to `new_size` (H, W)."""
    size, has_alpha = reader.shape, reader.has_alpha
    if size == new_size:
        pixels, alpha = np.empty((*size, 3), np.float32), np.empty(size, np.uint8) if has_alpha else None
        for rows, colors, opacity in reader.strips():
            pixels[rows] = colors
            if has_alpha:
                alpha[rows] = opacity
        return pixels, alpha
    # The filter is separable: first the width is reduced strip by strip, then the height at once.
    short_rows = np.empty((size[0], new_size[1], 7 if has_alpha else 3), np.float32)
    for rows, colors, opacity in reader.strips():
        planes = colors
        if has_alpha:
            weight = opacity[..., np.newaxis].astype(np.float32)
            planes = np.concatenate([colors, colors * weight, weight], -1)
        short_rows[rows] = resample(planes, (len(planes), new_size[1]), smooth=has_alpha)
    planes = resample(short_rows, new_size, smooth=has_alpha)
    if not has_alpha:
        return np.clip(planes, 0.0, 255.0, out=planes), None
    plain, premultiplied, weight = planes[..., :3], planes[..., 3:6], planes[..., 6:]
    # Where all pixels are transparent, the plain average of their colours is used.
    colors = np.where(weight > 0.0, premultiplied / np.maximum(weight, 1e-6), plain)
    return np.clip(colors, 0.0, 255.0), np.rint(weight[..., 0]).astype(np.uint8)
