"""Read and write pictures of more than 8 bits per channel by libvips, scaled to 16 bits.

libvips comes with the extra `deep`. A picture of 16 bits is an array uint16 `[H, W, channels]`.
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
"""How many 16-bit levels correspond to one 8-bit level."""
_MILLIMETRES_PER_INCH = 25.4
_FORMATS = {"PNG": (".png", {"bitdepth": 16, "compression": 6}), "TIFF": (".tif", {"compression": "deflate"})}
# Pillow's mode for libvips' name of a colour space.
_MODES = {"b-w": "L", "grey16": "L", "srgb": "RGB", "rgb16": "RGB", "scrgb": "RGB", "cmyk": "CMYK"}
_MODES |= {"lab": "LAB", "labs": "LAB"}
_MAX_CHANNELS = 8
# Values of TIFF's ExtraSamples for an opacity channel: colours are multiplied by it, or they are not.
_ASSOCIATED, _UNASSOCIATED = 1, 2
_WHITE_IS_ZERO = 0


def scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Scale values `[H, W, …]` to 16 bits, so that `black` becomes 0 and `white` 65535.

    NaN becomes 0; infinities become 0 or 65535.
    """
    levels = np.empty(values.shape, np.uint16)
    for rows in strips(values.shape):
        share = (values[rows].astype(np.float64) - black) / (white - black)
        levels[rows] = np.rint(np.clip(np.nan_to_num(share), 0.0, 1.0) * 65535.0)
    return levels


def scale_by_guess(
    values: np.ndarray, *, dtype: np.dtype | None = None, negative: bool = False, is_opacity: bool = False
) -> tuple[np.ndarray, str]:
    """Scale values `[H, W, …]` to 16 bits if the file does not say which value is white.

    `dtype` is the type of the values in the file, if it is another than that of `values`. With `negative` the
    smallest values are white, as with TIFF's WhiteIsZero. With `is_opacity` black is at most 0, even if all
    values are larger. Return the 16-bit levels, and a note on the choice of black and white.
    """
    dtype = dtype or values.dtype
    finite = values[np.isfinite(values)] if dtype.kind == "f" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low = min(low, 0.0) if is_opacity else low
    whites = [1.0, 255.0, 65535.0] if dtype.kind == "f" else np.minimum([255.0, 65535.0], np.iinfo(dtype).max)
    # If all values lie below a 16th of a white, the picture would become almost black.
    fitting = [white for white in whites if high <= white and (white == whites[0] or high > white / 16)]
    if low >= 0.0 and fitting:
        black, white = 0.0, fitting[0]
        rule = f"they lie in 0 … {white:.0f}, so {white:.0f} is taken as white"
    else:
        black, white = low, max(high, low + 1.0)
        rule = f"their smallest, {low:g}, is taken as black and their largest, {high:g}, as white"
    if finite.size < values.size:
        rule += "; pixels that are not finite numbers are read as black or white"
    levels = scale(values, white, black) if negative else scale(values, black, white)
    return levels, f"has values for which no white is agreed on; {rule}"


def grey_levels(image: Image.Image, rawmode: str) -> tuple[np.ndarray, str]:
    """Return a grey Pillow image of more than 8 bits as uint16 `[H, W]`, and a note if white was guessed."""
    values, negative = np.asarray(image), getattr(image, "tag_v2", {}).get(262) == _WHITE_IS_ZERO
    if rawmode == "I;32N":
        # Pillow stores unsigned 32-bit integers as signed ones.
        values = values.view(np.uint32)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        black, white = 0.0, 4095.0 if rawmode == "I;12" else 65535.0
        # Pillow applies TIFF's WhiteIsZero only to pictures of up to 8 bits.
        return (scale(values, white, black) if negative else scale(values, black, white)), ""
    dtype = np.dtype(np.int16) if rawmode in ("I;16S", "I;16BS") else None
    return scale_by_guess(values, dtype=dtype, negative=negative)


def is_installed() -> bool:
    """Return whether the extra `deep` is installed."""
    return importlib.util.find_spec("pyvips") is not None


def check_libvips() -> None:
    """Raise `UserError` if the extra `deep` is missing or libvips cannot be loaded."""
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

    # Block libvips' readers that are not hardened against hostile files.
    pyvips.block_untrusted_set(True)
    # libtiff warns of harmless oddities. This package reports damaged files itself.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)
    return pyvips


def load_png(data: bytes, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Decode a PNG with 2 to 4 channels of 16 bits and turn it upright: uint16 `[H, W, channels]`.

    `size` (width, height) of the upright picture and EXIF's `orientation` are as Pillow read them. Raise
    `ValueError` if the file is damaged, or if libvips finds another size or kind of picture.
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
    """Decode one picture (`page`) of a TIFF by libvips.

    Return the upright picture, in which 0 is black; its mode in Pillow's names: L, LA, RGB, RGBA or CMYK; its
    ICC profile or None; its pixels per inch, across and down, or None. Raise `NotImplementedError` if libvips
    does not support this kind of TIFF or reads it wrong, `ValueError` if the file is damaged.
    """
    try:
        image = _open_vips(data, page=page.number, fail_on="none" if allow_truncated else "error")
    except ValueError as error:
        raise NotImplementedError(str(error)) from error
    check_size(image.width, image.height, name, max_pixels)
    mode = _MODES.get(image.interpretation, "")
    colors = len(mode)
    further = image.bands - colors
    # A single extra channel whose meaning is not stated is taken as opacity.
    extra = (_UNASSOCIATED,) if page.extra is None and further == 1 else page.extra or ()
    opacity = extra[0] if extra and further > 0 and mode in ("L", "RGB") else 0
    half = image.format == "float" and image.get("bits-per-sample") == 16
    # libvips misreads planar channels of these kinds and YCbCr. It also divides colours of these formats by
    # an opacity of another range.
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
    # If 0 is white, libvips inverts only unsigned integers.
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
    """Decode a libvips image to an array `[H, W, channels]`; raise `ValueError` if it is damaged."""
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
    """Convert 16-bit colours `[H, W, 3 or 4]` from ICC profile `own` to `target`; None stands for sRGB.

    A fourth channel, opacity, is kept. Raise `ValueError` if libvips cannot use a profile.
    """
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels[..., :3]), interpretation="rgb16").copy()
    if own:
        image.set_type(vips.GValue.blob_type, "icc-profile-data", own)
    options = {"embedded": True, "input_profile": "srgb", "depth": 16, "intent": "relative"}
    options |= {"black_point_compensation": True, "pcs": "xyz"}
    # libvips reads profiles from files. On Windows a file must be closed before another library opens it.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.icc"
        file.write_bytes(target or b"")
        try:
            converted = image.icc_transform(str(file) if target else "srgb", **options).numpy()
        except vips.Error as error:
            raise ValueError(str(error)) from error
    return np.concatenate([converted, levels[..., 3:]], -1)


def encode(levels: np.ndarray, form: str, *, profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Return a picture of 16 bits per channel as the bytes of a file of format `form`, `PNG` or `TIFF`.

    `dpi` is pixels per inch, across and down.
    """
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels), interpretation="rgb16").copy()
    if dpi:
        image = image.copy(xres=dpi[0] / _MILLIMETRES_PER_INCH, yres=dpi[1] / _MILLIMETRES_PER_INCH)
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    suffix, options = _FORMATS[form]
    return image.write_to_buffer(suffix, **options)
