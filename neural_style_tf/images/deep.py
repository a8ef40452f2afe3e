"""Pictures of more than 8 bits a channel, which Pillow cuts or cannot read: libvips does (extra `deep`)."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neural_style_tf.errors import UserError
from neural_style_tf.images.color import guess_range
from neural_style_tf.images.tiff import YCBCR, Form

LEVEL = 257.0
"""A level of 8 bits, in those of 16."""
MILLIMETRES = 25.4
_FORMATS = {"PNG": (".png", {"bitdepth": 16, "compression": 6}), "TIFF": (".tif", {"compression": "deflate"})}
_PIXELS_PER_STRIP = 1 << 20
# Of libvips: what the first channels are, in Pillow's words.
_MODES = {"b-w": "L", "grey16": "L", "srgb": "RGB", "rgb16": "RGB", "scrgb": "RGB", "cmyk": "CMYK"}
_MODES |= {"lab": "LAB", "labs": "LAB"}
_MOST_CHANNELS = 8
# Of TIFF's ExtraSamples: opacity by which the colours are multiplied, and by which they are not.
_ASSOCIATED, _UNASSOCIATED = 1, 2


def is_installed() -> bool:
    """Return whether the extra `deep` is installed."""
    return importlib.util.find_spec("pyvips") is not None


def check_installed() -> None:
    """Refuse 16 bits without the extra `deep`.

    Raises:
        UserError: It is not installed, or libvips cannot be loaded.
    """
    with contextlib.suppress(ImportError, OSError):
        if is_installed():
            _vips()
            return
    raise UserError(
        '--bits=16 needs libvips: pip install "neural-style-tf[deep]", or leave it out for 8 bits'
    )


@functools.cache
def _vips() -> Any:
    import pyvips

    # Readers of formats that nobody tests with hostile files.
    pyvips.block_untrusted_set(True)
    # libtiff warns of whatever is odd in a file; what is damaged is refused with a line of our own.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    return pyvips


class Strip(NamedTuple):
    """Rows of a picture, uint16 `[h, W, channels]`."""

    pixels: np.ndarray

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.pixels)


def load_png(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return the levels of a PNG of 16 bits a channel.

    Args:
        data: The bytes of the file.
        size: (width, height) that Pillow found.

    Returns:
        uint16 `[H, W, 2, 3 or 4]`.

    Raises:
        ValueError: libvips reads something else in it, or nothing.
    """
    if not data.startswith(b"\x89PNG"):
        raise ValueError("no PNG")
    image = _open(data)
    if image.format != "ushort" or image.bands not in (2, 3, 4) or (image.width, image.height) != size:
        raise ValueError("no colours of 16 bits")
    return _pixels(image)


class Loaded(NamedTuple):
    """A decoded TIFF.

    Attributes:
        levels: uint16 `[H, W, channels]`, as stored, but with grey whose 0 is black.
        mode: What the channels are, in Pillow's words: L, LA, RGB, RGBA or CMYK.
        profile: ICC profile of the colours, if the file has one.
        dpi: Pixels an inch, across and down, if the file says so.
        orientation: As EXIF has it.
        notes: What was guessed or left out.
    """

    levels: np.ndarray
    mode: str
    profile: bytes | None
    dpi: tuple[float, float] | None
    orientation: int
    notes: tuple[str, ...]


def load_tiff(
    data: bytes, form: Form, check_size: Callable[[int, int], None], *, allow_truncated: bool
) -> Loaded:
    """Decode a picture of a TIFF, of any kind that libvips reads right.

    Args:
        data: The bytes of the file.
        form: Which picture.
        check_size: Takes width and height before anything is decoded, and raises an error.
        allow_truncated: Keep what can be decoded of a damaged file.

    Raises:
        NotImplementedError: libvips does not read this kind, or not right.
        ValueError: The file is damaged.
    """
    try:
        image = _open(data, page=form.page, fail_on="none" if allow_truncated else "error")
    except ValueError as error:
        raise NotImplementedError(str(error)) from error
    check_size(image.width, image.height)
    mode = _MODES.get(image.interpretation, "")
    colors = len(mode)
    further = image.bands - colors
    # Files that do not say what one further channel is mean opacity.
    extra = (_UNASSOCIATED,) if form.extra is None and further == 1 else form.extra or ()
    opacity = extra[0] if extra and further > 0 and mode in ("L", "RGB") else 0
    half = image.format == "float" and image.get("bits-per-sample") == 16
    # libvips takes such channels, and YCbCr, for others, and divides by opacity of another range.
    is_garbled = form.is_planar and (half or (mode == "L" and image.bands > 1))
    odd = image.format not in ("uchar", "ushort") and (image.interpretation != "scrgb" or half)
    if not mode or image.bands > _MOST_CHANNELS or form.photometric == YCBCR or is_garbled:
        raise NotImplementedError(f"its channels are {image.interpretation}")
    if opacity == _ASSOCIATED and odd:
        raise NotImplementedError("its colours are multiplied by their opacity")
    if mode == "LAB":
        levels = _pixels(image.icc_export(pcs="lab", output_profile="srgb", depth=16))
        return Loaded(levels[..., :3], "RGB", None, _dpi(image), _orientation(image), ())
    mode += "A" if opacity in (_ASSOCIATED, _UNASSOCIATED) else ""
    # libvips turns over unsigned grey whose 0 is white, and no other.
    negative = form.photometric == 0 and image.format not in ("uchar", "ushort", "uint")
    levels, rule = _leveled(_pixels(image[: len(mode)]), colors, negative=negative)
    notes = [f"has values for which no white is agreed on; {rule}"] if rule else []
    if image.bands > len(mode):
        read = "only the first is read" if len(mode) == 1 else f"only the first {len(mode)} are read"
        notes.append(f"has {image.bands} channels; {read}")
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
    return Loaded(levels, mode, profile, _dpi(image), _orientation(image), tuple(notes))


def _open(data: bytes, **options: Any) -> Any:
    try:
        return _vips().Image.new_from_buffer(data, "", **({"fail_on": "error"} | options))
    except _vips().Error as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error


def _pixels(image: Any) -> np.ndarray:
    """Decode a picture; return its channels `[H, W, channels]`."""
    try:
        return image.numpy().reshape(image.height, image.width, image.bands)
    except _vips().Error as error:
        reason = str(error).strip().splitlines()[-1]
        raise (NotImplementedError if "not supported" in reason else ValueError)(reason) from error


def _dpi(image: Any) -> tuple[float, float] | None:
    if not image.get_typeof("resolution-unit"):
        return None
    return image.xres * MILLIMETRES, image.yres * MILLIMETRES


def _orientation(image: Any) -> int:
    return image.get("orientation") if image.get_typeof("orientation") else 1


def _leveled(pixels: np.ndarray, colors: int, *, negative: bool) -> tuple[np.ndarray, str]:
    """Return channels of any type in 16 bits, and what was decided where no white is agreed on."""
    if pixels.dtype == np.uint16:
        return pixels, ""
    if pixels.dtype == np.uint8:
        return pixels * np.uint16(LEVEL), ""
    levels = np.empty(pixels.shape, np.uint16)
    rule = _scale(pixels[..., :colors], levels[..., :colors], negative=negative)
    if pixels.shape[-1] > colors:
        _scale(pixels[..., colors:], levels[..., colors:], is_opacity=True)
    return levels, rule


def _scale(
    pixels: np.ndarray, levels: np.ndarray, *, negative: bool = False, is_opacity: bool = False
) -> str:
    """Fill `levels` with channels whose white is guessed, in 16 bits; return what was decided."""
    finite = pixels[np.isfinite(pixels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 0.0)
    black, white, rule = guess_range(min(low, 0.0) if is_opacity else low, high, pixels.dtype)
    black, white = (white, black) if negative else (black, white)
    for row, values in zip(levels, pixels, strict=True):
        share = (values.astype(np.float64) - black) / (white - black)
        edge = float(negative)
        share = np.nan_to_num(share, nan=edge, posinf=1.0 - edge, neginf=edge)
        row[:] = np.rint(np.clip(share, 0.0, 1.0) * 65535.0)
    return rule


class DeepReader:
    """Reads strips of a picture of 16 bits a channel; the interface of `color.PixelReader`.

    Args:
        levels: uint16 `[H, W, 1 to 4]`: grey or colours, and perhaps opacity.
        own: Their ICC profile, if they are to be converted; None for sRGB.
        target: The ICC profile that they shall be in; None for sRGB.
        convert: Whether they are in another one.

    Raises:
        ValueError: They cannot be converted.
    """

    def __init__(self, levels: np.ndarray, own: bytes | None, target: bytes | None, *, convert: bool) -> None:
        self.has_alpha = levels.shape[-1] in (2, 4)
        self._levels = _converted(levels, own, target) if convert else levels

    def strips(self) -> Iterator[tuple[int, Strip]]:
        """Yield the picture from top to bottom as (first row, strip)."""
        height, width = self._levels.shape[:2]
        rows = max(1, _PIXELS_PER_STRIP // width)
        for top in range(0, height, rows):
            yield top, Strip(self._levels[top : top + rows])

    def colors(self, strip: Strip) -> np.ndarray:
        """Return the strip's colours, float32 `[h, W, 3]`, 0–255, not multiplied by alpha."""
        colors = strip.pixels[..., : -1 if self.has_alpha else None].astype(np.float32) / np.float32(LEVEL)
        return np.broadcast_to(colors, (*colors.shape[:2], 3))

    def alpha(self, strip: Strip) -> np.ndarray:
        """Return the strip's opacity, uint8 `[h, W]`."""
        return np.rint(strip.pixels[..., -1] / LEVEL).astype(np.uint8)


def _converted(levels: np.ndarray, own: bytes | None, target: bytes | None) -> np.ndarray:
    """Return a picture in another profile, from its own, or from sRGB if it has none; alpha as it is."""
    vips = _vips()
    colors = levels[..., : (levels.shape[-1] - 1) // 2 * 2 + 1]
    if colors.shape[-1] == 1 and not (own and own[16:20] == b"GRAY"):
        colors = np.repeat(colors, 3, -1)
    kind = "grey16" if colors.shape[-1] == 1 else "rgb16"
    image = vips.Image.new_from_array(np.ascontiguousarray(colors), interpretation=kind).copy()
    if own:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", own)
    options = {"embedded": True, "input_profile": "srgb", "depth": 16, "intent": "relative"}
    options |= {"black_point_compensation": True, "pcs": "xyz"}
    # libvips takes a profile by its file, which must be closed before on Windows.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.icc"
        file.write_bytes(target or b"")
        try:
            converted = image.icc_transform(str(file) if target else "srgb", **options).numpy()
        except vips.Error as error:
            raise ValueError(str(error)) from error
    return np.concatenate([converted, levels[..., -1:]], -1) if levels.shape[-1] in (2, 4) else converted


def encode(levels: np.ndarray, form: str, *, profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Return a file of 16 bits a channel.

    Args:
        levels: uint16 `[H, W, 3 or 4]`.
        form: `PNG` or `TIFF`.
        profile: ICC profile of the colours.
        dpi: Pixels an inch, across and down; None to leave it out.
    """
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels), interpretation="rgb16")
    if dpi:
        image = image.copy(xres=dpi[0] / MILLIMETRES, yres=dpi[1] / MILLIMETRES)
    else:
        image = image.copy()
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    suffix, options = _FORMATS[form]
    return image.write_to_buffer(suffix, **options)
