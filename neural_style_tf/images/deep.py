"""Pictures of more than 8 bits a channel: scaled to 16 bits, read and written by libvips.

libvips is the extra `deep`. A picture of 16 bits is uint16 `[H, W, channels]`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.errors import UserError
from neural_style_tf.images.files import check_size
from neural_style_tf.images.resize import strips

if TYPE_CHECKING:
    from PIL import Image

    from neural_style_tf.images.tiff import TiffPage

LEVEL = 257.0
"""Levels of 16 bits per level of 8 bits."""
_MILLIMETRES_PER_INCH = 25.4
_FORMATS = {"PNG": (".png", {"bitdepth": 16, "compression": 6}), "TIFF": (".tif", {"compression": "deflate"})}
# libvips' name of the first channels → Pillow's.
_MODES = {"b-w": "L", "grey16": "L", "srgb": "RGB", "rgb16": "RGB", "scrgb": "RGB", "cmyk": "CMYK"}
_MODES |= {"lab": "LAB", "labs": "LAB"}
_MAX_CHANNELS = 8
# TIFF's ExtraSamples: opacity, with colours that are multiplied by it or not.
_ASSOCIATED, _UNASSOCIATED = 1, 2
_WHITE_IS_ZERO = 0


def guess_range(low: float, high: float, dtype: np.dtype) -> tuple[float, float, str]:
    """Return black, white and a note on the choice, for values of a type from `low` to `high`."""
    if low > high:
        return 0.0, 1.0, "none is a finite number"
    whites = [1.0, 255.0, 65535.0] if dtype.kind == "f" else np.minimum([255.0, 65535.0], np.iinfo(dtype).max)
    for white in whites if low >= 0.0 else ():
        # A picture that used only a 16th of the range would become black.
        if high <= white and (white == whites[0] or high > white / 16):
            return 0.0, white, f"they lie in 0 … {white:.0f}, so {white:.0f} is taken as white"
    rule = f"their smallest, {low:g}, is taken as black and their largest, {high:g}, as white"
    return low, max(high, low + 1.0), rule


def scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Scale values of any type `[H, W, …]` to 16 bits; NaN becomes 0, infinities black or white."""
    levels = np.empty(values.shape, np.uint16)
    for rows in strips(values.shape):
        share = (values[rows].astype(np.float64) - black) / (white - black)
        levels[rows] = np.rint(np.clip(np.nan_to_num(share), 0.0, 1.0) * 65535.0)
    return levels


def scale_by_guess(
    values: np.ndarray, *, dtype: np.dtype | None = None, negative: bool = False, is_opacity: bool = False
) -> tuple[np.ndarray, str]:
    """Scale values without a standard white to 16 bits; return them and a note on the choice of white.

    Args:
        values: Numbers of any type `[H, W, …]`.
        dtype: The type of the values in the file; None: that of `values`.
        negative: Whether the least values are white, as TIFF's WhiteIsZero says.
        is_opacity: Whether black is at most 0, even if all values are larger.
    """
    low, high, is_finite = values.min(), values.max(), True
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
        is_finite = finite.all()
    low, high = min(float(low), 0.0) if is_opacity else float(low), float(high)
    black, white, rule = guess_range(low, high, dtype or values.dtype)
    if not is_finite:
        rule += "; pixels that are not finite numbers are read as black or white"
    levels = scale(values, white, black) if negative else scale(values, black, white)
    return levels, f"has values for which no white is agreed on; {rule}"


def grey_levels(image: Image.Image, rawmode: str) -> tuple[np.ndarray, str]:
    """Return Pillow's grey of more than 8 bits as uint16 `[H, W]`, and a note if white was guessed."""
    values, negative = np.asarray(image), getattr(image, "tag_v2", {}).get(262) == _WHITE_IS_ZERO
    if rawmode == "I;32N":
        # Pillow stores unsigned 32 bits as signed ones.
        values = values.view(np.uint32)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        black, white = 0.0, 4095.0 if rawmode == "I;12" else 65535.0
        # Pillow applies TIFF's "white is zero" only up to 8 bits.
        return (scale(values, white, black) if negative else scale(values, black, white)), ""
    dtype = np.dtype(np.int16) if rawmode in ("I;16S", "I;16BS") else None
    return scale_by_guess(values, dtype=dtype, negative=negative)


def is_installed() -> bool:
    """Return whether the extra `deep` is installed."""
    return importlib.util.find_spec("pyvips") is not None


def check_libvips() -> None:
    """Refuse 16 bits if the extra `deep` is missing or libvips cannot be loaded."""
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

    # Block readers that are not hardened against hostile files.
    pyvips.block_untrusted_set(True)
    # libtiff warns of harmless oddities; messages about damaged files are this package's.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    return pyvips


def load_png(data: bytes, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Decode a PNG of 2 to 4 channels of 16 bits, upright; raise ValueError if libvips finds another kind.

    Pillow supplies `size`, (width, height) of the upright picture, and EXIF's `orientation`.
    """
    image = _open_vips(data).copy()
    image.set_type(_vips().GValue.gint_type, "orientation", orientation)
    image = image.autorot()
    if image.format != "ushort" or image.bands not in (2, 3, 4) or (image.width, image.height) != size:
        raise ValueError("no colours of 16 bits")
    return _levels_of(image)


def load_tiff(
    data: bytes, page: TiffPage, name: str, notes: list[str], *, max_pixels: int, allow_truncated: bool
) -> tuple[np.ndarray, str, bytes | None, tuple[float, float] | None]:
    """Decode a picture of a TIFF by libvips.

    Returns:
        The upright picture, with 0 as black; Pillow's mode L, LA, RGB, RGBA or CMYK; its ICC profile or None;
        its pixels per inch, across and down, or None.

    Raises:
        NotImplementedError: libvips does not support this kind, or reads it wrong.
        ValueError: The file is damaged.
    """
    try:
        image = _open_vips(data, page=page.number, fail_on="none" if allow_truncated else "error")
    except ValueError as error:
        raise NotImplementedError(str(error)) from error
    check_size(image.width, image.height, name, max_pixels)
    mode = _MODES.get(image.interpretation, "")
    colors = len(mode)
    further = image.bands - colors
    # A single further channel without a meaning is opacity.
    extra = (_UNASSOCIATED,) if page.extra is None and further == 1 else page.extra or ()
    opacity = extra[0] if extra and further > 0 and mode in ("L", "RGB") else 0
    half = image.format == "float" and image.get("bits-per-sample") == 16
    # libvips misreads such channels and YCbCr, and divides by opacity of another range.
    is_garbled = page.is_planar and (half or (mode == "L" and image.bands > 1))
    odd = image.format not in ("uchar", "ushort") and (image.interpretation != "scrgb" or half)
    if not mode or image.bands > _MAX_CHANNELS or page.is_ycbcr or is_garbled:
        raise NotImplementedError(f"its channels are {image.interpretation}")
    if opacity == _ASSOCIATED and odd:
        raise NotImplementedError("its colours are multiplied by their opacity")
    turned = image.get_typeof("orientation") and image.get("orientation") > 4
    dpi = (image.xres * _MILLIMETRES_PER_INCH, image.yres * _MILLIMETRES_PER_INCH)
    dpi = (dpi[::-1] if turned else dpi) if image.get_typeof("resolution-unit") else None
    image = image.autorot()
    if mode == "LAB":
        levels = _levels_of(image.icc_export(pcs="lab", output_profile="srgb", depth=16))
        return levels[..., :3], "RGB", None, dpi
    mode += "A" if opacity in (_ASSOCIATED, _UNASSOCIATED) else ""
    # Of grey whose 0 is white, libvips inverts only unsigned integers.
    negative = page.photometric == _WHITE_IS_ZERO and image.format not in ("uchar", "ushort", "uint")
    levels, note = _leveled(_levels_of(image[: len(mode)]), colors, negative=negative)
    notes += [f"{name} {note}"] if note else []
    if image.bands > len(mode):
        read = "only the first is read" if len(mode) == 1 else f"only the first {len(mode)} are read"
        notes.append(f"{name} has {image.bands} channels; {read}")
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else None
    return levels, mode, profile, dpi


def _open_vips(data: bytes, **options: Any) -> Any:
    try:
        return _vips().Image.new_from_buffer(data, "", **({"fail_on": "error"} | options))
    except _vips().Error as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error


def _levels_of(image: Any) -> np.ndarray:
    """Decode a picture; return its channels `[H, W, channels]`."""
    try:
        return image.numpy().reshape(image.height, image.width, image.bands)
    except _vips().Error as error:
        reason = str(error).strip().splitlines()[-1]
        raise (NotImplementedError if "not supported" in reason else ValueError)(reason) from error


def _leveled(pixels: np.ndarray, colors: int, *, negative: bool) -> tuple[np.ndarray, str]:
    """Scale channels of any type to 16 bits; return them, and a note if white was guessed."""
    if pixels.dtype == np.uint16:
        return pixels, ""
    if pixels.dtype == np.uint8:
        return pixels * np.uint16(LEVEL), ""
    levels, note = scale_by_guess(pixels[..., :colors], negative=negative)
    if pixels.shape[-1] > colors:
        opacity, _ = scale_by_guess(pixels[..., colors:], is_opacity=True)
        levels = np.concatenate([levels, opacity], -1)
    return levels, note


def convert(levels: np.ndarray, own: bytes | None, target: bytes | None) -> np.ndarray:
    """Convert colours `[H, W, 3 or 4]` from one ICC profile to another, None for sRGB; keep alpha."""
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels[..., :3]), interpretation="rgb16").copy()
    if own:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", own)
    options = {"embedded": True, "input_profile": "srgb", "depth": 16, "intent": "relative"}
    options |= {"black_point_compensation": True, "pcs": "xyz"}
    # libvips reads profiles from files, which must be closed first on Windows.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.icc"
        file.write_bytes(target or b"")
        try:
            converted = image.icc_transform(str(file) if target else "srgb", **options).numpy()
        except vips.Error as error:
            raise ValueError(str(error)) from error
    return np.concatenate([converted, levels[..., 3:]], -1)


def encode(levels: np.ndarray, form: str, *, profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Return the bytes of a `PNG` or `TIFF` of 16 bits a channel; `dpi` is (across, down)."""
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels), interpretation="rgb16").copy()
    if dpi:
        image = image.copy(xres=dpi[0] / _MILLIMETRES_PER_INCH, yres=dpi[1] / _MILLIMETRES_PER_INCH)
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    suffix, options = _FORMATS[form]
    return image.write_to_buffer(suffix, **options)
