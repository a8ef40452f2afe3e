"""Decode an untrusted picture file: the result is a decoded picture or a `UserError`, whatever the bytes are.

Hostile bytes make Pillow raise a dozen kinds of exception, warn, and print. `quiet_pillow` turns exceptions
into `UserError` and warnings into notes. All code that gives a file's bytes to Pillow runs inside it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from neural_style_tf.errors import UserError, one_line
from neural_style_tf.images import deep, tiff
from neural_style_tf.images.color import find_profile
from neural_style_tf.images.files import ADVICE, check_size

READ_BY_PILLOW = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM")
# Stated resolutions outside of these limits are ignored: Pillow returns 1 for a TIFF without a resolution.
_MIN_DPI, _MAX_DPI = 1.0, 30_000.0

# Factor of `max_pixels` by format, since WebP's decoder takes more memory: it holds a picture four times, and
# other decoders at most twice, with 8 bytes per pixel.
_SHARE_OF_PIXELS = {"WEBP": 0.6}
_MAX_WARNINGS = 3
_LONGEST_CAUSE = 120
_IMAGE_LENGTH = 257
_RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf "  # noqa: SIM905
    ".rw2 .rwl .sr2 .srf .srw .x3f".split()
)
# (offset, bytes, kind) by which messages recognise files: pictures, and what users may take for pictures.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WebP"),
    *((0, magic, "TIFF") for magic in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),
    (0, b"GIF8", "GIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "HTML, SVG or other markup"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"BM", "BMP"),
    *((0, b"P%c" % letter, "PPM") for letter in b"123456f"),
)
_READABLE = ("PNG", "JPEG", "WebP", "AVIF", "HEIC", "TIFF", "OpenEXR", "GIF", "BMP", "PPM")
# Brands in the first box of an ISO media file.
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
}

# Pillow's switches are global, so only one thread at a time may change them.
_pillow_lock = threading.Lock()
# This module reports damaged files itself.
logging.getLogger("PIL").setLevel(logging.CRITICAL)


Decoded = tuple[Image.Image | np.ndarray, bytes | None, tuple[float, float] | None]
"""What `decode` returns: pixels, profile, dpi."""


@contextlib.contextmanager
def quiet_pillow(name: str, notes: list[str], *, max_pixels: int) -> Iterator[None]:
    """Context that turns Pillow's exceptions into `UserError` and its warnings into `notes`.

    `name` is the file in messages; a picture of clearly more than `max_pixels` is refused.
    """
    with _pillow_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limit = Image.MAX_IMAGE_PIXELS
        # Above twice this number Pillow raises, before WebP's decoder or a TIFF tile allocates memory. The
        # exact check is `check_size`. The lower bound leaves room for the padding of TIFF tiles.
        Image.MAX_IMAGE_PIXELS = max(max_pixels, 1 << 20)
        try:
            yield
        except UserError:
            raise
        except Image.DecompressionBombError as error:
            count = re.search(r"\((\d+) pixels\)", str(error))
            came = f"{int(count[1]):,} pixels" if count else "too many pixels"
            raise UserError(f"{name} has {came}, over the limit of {max_pixels:,}; {ADVICE}") from error
        except MemoryError as error:
            raise UserError(f"{name} needs more memory than there is; shrink the picture") from error
        except Exception as error:
            raise UserError(f"{name} cannot be decoded: {_cause(error)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    # The user need not see deprecation warnings, nor warnings about Pillow's own limit of pixels.
    shown = [w for w in caught if issubclass(w.category, UserWarning)]
    shown = [w for w in shown if not issubclass(w.category, Image.DecompressionBombWarning)]
    lines = dict.fromkeys(f"{name}: {one_line(str(w.message), _LONGEST_CAUSE)}" for w in shown)
    notes.extend(islice(lines, _MAX_WARNINGS))


def decode(
    data: bytes, name: str, notes: list[str], *, max_pixels: int, allow_truncated: bool = False
) -> Decoded:
    """Decode the first frame of a picture and turn it upright, inside `quiet_pillow`.

    Lines for the user are added to `notes`. With `allow_truncated` the undamaged part of a damaged file is
    used. Raise `UserError` if the file is not a picture, damaged or too large.

    Returns:
        The pixels, a Pillow image (L, LA, RGB, RGBA, CMYK, LAB) of 8 bits per channel or uint16
        `[H, W, 1 to 4]`; the ICC profile in the file, or of the colour space that the file names, or None for
        sRGB; pixels per inch, across and down, or None if the file does not say.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    for truncated in (False, True) if allow_truncated else (False,):
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        try:
            decoded = _load(data, name, notes, max_pixels)
        except (UserError, MemoryError, Image.DecompressionBombError):
            raise
        except Exception as error:
            failure = error
        else:
            if truncated:
                notes.append(f"{name} is cut short or damaged; what could be decoded is used")
            return decoded
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
    raise UserError(_damaged(data, name, failure, curable=not allow_truncated)) from failure


def _load(data: bytes, name: str, notes: list[str], max_pixels: int) -> Decoded:
    formats = _formats(data, name)
    page = tiff.find_picture(data, name, notes) if _kind(data) == "TIFF" else None
    image = None
    if page is None or page.is_right_in_pillow:
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except Image.UnidentifiedImageError:
            # Pillow cannot open this kind of TIFF.
            if page is None:
                raise
    if page and (image is None or (page.bits > 8 and page.samples > 1)):
        decoded = _load_by_libvips(data, page, image, name, notes, max_pixels)
        if decoded:
            return decoded
        if image is None:
            raise tiff.unreadable(page, name)
    if page:
        image.seek(page.number)
    elif skip_still(image):
        image.seek(1)
    rawmode = _load_by_pillow(image, name, max_pixels)
    # Looking for further frames moves the position in the file, so it is done on a second copy; it may fail.
    # A phone's JPEG with a preview or a depth map (MPO) counts as one picture.
    with contextlib.suppress(Exception):
        if image.format not in ("MPO", "TIFF") and Image.open(io.BytesIO(data), formats=formats).is_animated:
            album = image.format == "HEIF"
            what = "holds several pictures; the main picture" if album else "is animated; the first frame"
            notes.append(f"{name} {what} is used")
    profile = find_profile(data, image, image.info.get("icc_profile"), name, notes)
    orientation = 1
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if orientation > 4 and "dpi" in image.info:
            image.info["dpi"] = image.info["dpi"][::-1]
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":
        levels, note = deep.grey_levels(image, rawmode)
        notes += [f"{name} {note}"] if note else []
        channels = [levels]
        if (key := image.info.get("transparency")) is not None:
            channels.append(np.where(np.asarray(image) == key, 0, 65535).astype(np.uint16))
        pixels = np.stack(channels, -1)
    else:
        pixels = _with_plain_mode(image, rawmode)
        if "16" in rawmode and pixels.mode in ("LA", "RGB", "RGBA"):
            pixels = _all_bits(data, pixels, orientation, name, notes)
    return pixels, profile, _dpi(image.info.get("dpi"))


def _load_by_pillow(image: Image.Image, name: str, max_pixels: int) -> str:
    """Decode an opened picture in place; return Pillow's raw mode, such as "RGB;16B" or "L;4".

    The raw mode names the channels and bits of a pixel in the file. Pictures that are too large are refused.
    """
    check_size(*image.size, name, int(max_pixels * _SHARE_OF_PIXELS.get(image.format, 1)))
    arguments = image.tile[0][3] if image.tile else ""
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    if is_tiff := image.format == "TIFF":
        # `image.height` is already the height of the upright picture, before the picture is turned.
        rows = image.tag_v2.get(_IMAGE_LENGTH, image.height)
        present = max((tile[1][3] for tile in image.tile), default=rows)
        if present < rows and not ImageFile.LOAD_TRUNCATED_IMAGES:
            # If strips are missing, Pillow leaves their rows black without an error.
            raise EOFError("rows are missing")
        if image.tag_v2.get(ExifTags.Base.Orientation, 1) > 4 and "dpi" in image.info:
            # Pillow itself turns the pixels of a TIFF upright, but does not swap its two resolutions.
            image.info["dpi"] = image.info["dpi"][::-1]
    with without_stderr() if is_tiff else contextlib.nullcontext():
        image.load()
    return rawmode if isinstance(rawmode, str) else ""


@contextlib.contextmanager
def without_stderr() -> Iterator[None]:
    """Context that drops what libtiff prints about a damaged file; Pillow raises an error for it anyway."""
    with contextlib.ExitStack() as undo:
        # The process may have no standard error.
        with contextlib.suppress(OSError):
            before = os.dup(2)
            undo.callback(os.close, before)
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                os.dup2(nowhere.fileno(), 2)
            undo.callback(os.dup2, before, 2)
        yield


def _load_by_libvips(
    data: bytes, page: tiff.TiffPage, opened: Image.Image | None, name: str, notes: list[str], max_pixels: int
) -> Decoded | None:
    """Decode a TIFF that Pillow reads wrong or only at 8 bits; return None if libvips cannot decode it."""
    if not deep.is_installed():
        return None
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        levels, mode, profile, dpi = deep.load_tiff(
            data, page, name, notes, max_pixels=max_pixels, allow_truncated=truncated
        )
    except UserError:
        raise
    except NotImplementedError:
        return None
    except ValueError:
        # Pillow may read a file that libvips calls damaged.
        if opened is None:
            raise
        return None
    pixels = levels
    if mode == "CMYK":
        channels = np.moveaxis((levels // 257).astype(np.uint8), -1, 0)
        pixels = Image.merge(mode, [Image.fromarray(channel) for channel in channels])
    profile = find_profile(data, opened, profile, name, notes)
    return pixels, profile, _dpi(dpi)


def _all_bits(
    data: bytes, pixels: Image.Image, orientation: int, name: str, notes: list[str]
) -> Image.Image | np.ndarray:
    """Return all 16 bits of a picture if libvips can read them, else `pixels` of 8 bits."""
    if not deep.is_installed():
        notes.append(
            f"{name} has 16 bits a colour, of which 8 are read; all are with the extra deep: "
            'pip install "neural-style-tf[deep]"'
        )
        return pixels
    try:
        if data.startswith(b"\x89PNG"):
            return deep.load_png(data, pixels.size, orientation)
    except ValueError:
        pass
    notes.append(f"{name} has 16 bits a colour, of which only 8 could be read")
    return pixels


def _with_plain_mode(image: Image.Image, rawmode: str) -> Image.Image:
    """Return a picture of 8 bits in mode L, LA, RGB, RGBA, CMYK or LAB."""
    key = image.info.get("transparency")
    if key is not None and rawmode in ("L;2", "L;4"):
        # The transparent level is stated in the bits of the file, but Pillow has scaled pixels to 0 … 255.
        image.info["transparency"] = key * (255 // (2 ** int(rawmode[2]) - 1))
    elif key is not None and image.mode == "1":
        # Pillow before version 12 gives the transparent level as 0 or 1.
        image.info["transparency"] = 255 if key else 0
    elif key is not None and "16" in rawmode:
        image.info["transparency"] = tuple(level >> 8 for level in key)
    # Pillow reads 16-bit grey with opacity as colours.
    is_grey = image.mode in ("1", "L", "LA", "La") or rawmode.startswith("LA;16")
    if image.has_transparency_data:
        return image.convert("LA" if is_grey else "RGBA")
    if is_grey:
        return image.convert("L")
    return image if image.mode in ("CMYK", "LAB") else image.convert("RGB")


def _dpi(stated: object) -> tuple[float, float] | None:
    """Return the pixels per inch, across and down, that a file states; None if they make no sense."""
    try:
        across, down = (float(value) for value in stated)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if all(_MIN_DPI < value <= _MAX_DPI for value in (across, down)) else None


@contextlib.contextmanager
def open_frames(path: str | os.PathLike[str], formats: Iterable[str]) -> Iterator[tuple[Image.Image, int]]:
    """Open an animation or a picture; yield it and the index of its first frame. Use it in `quiet_pillow`."""
    with Image.open(path, formats=tuple(formats)) as picture:
        yield picture, skip_still(picture)


def skip_still(picture: Image.Image) -> int:
    """Return the index of the first frame: 0, or 1 if an animated PNG begins with a picture that is no frame.

    Such a picture is cleared, since Pillow would draw the first frame over it.
    """
    if not getattr(picture, "default_image", False):
        return 0
    picture.load()
    picture.paste(0, (0, 0, *picture.size))
    return 1


def _formats(data: bytes, name: str) -> tuple[str, ...]:
    """Return the formats that Pillow may try; register the plugin if the file is a HEIC.

    Raise `UserError` for a name of a camera's raw file, or if the plugin is missing.
    """
    if Path(name.strip("'\"")).suffix.lower() in _RAW_SUFFIXES:
        raise UserError(f"{name} is a camera's raw file; {tiff.DEVELOP}")
    if _kind(data) != "HEIC":
        return READ_BY_PILLOW
    try:
        import pillow_heif
    except ImportError:
        raise UserError(
            f"{name} is a HEIC picture, as phones take them; to read such files, "
            'pip install "neural-style-tf[heic]", or convert it to JPEG'
        ) from None
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def _kind(data: bytes) -> str:
    """Return the kind of a file by its first bytes, for messages, or "" if it is unknown."""
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        named = {brands[at : at + 4] for at in range(0, len(brands), 4)}
        return next((kind for kind, known in _BRANDS.items() if named & set(known)), "a video or other media")
    return next((kind for at, magic, kind in _SIGNATURES if data[at : at + len(magic)] == magic), "")


def _damaged(data: bytes, name: str, error: Exception, *, curable: bool) -> str:
    kind = _kind(data)
    if kind in _READABLE:
        # If the header is damaged, --allow_truncated does not help.
        curable = curable and not isinstance(error, Image.UnidentifiedImageError)
        cure = ", or pass --allow_truncated to use what is there" if curable else ""
        reason = _cause(error)
        article = "an" if kind == "AVIF" else "a"
        return f"{name} is {article} {kind} file that is cut short or damaged ({reason}); copy it again{cure}"
    what = f"it looks like {kind}" if kind else f"it starts with {data[:8]!r}"
    expected = f"{', '.join(_READABLE[:-1])} or {_READABLE[-1]}"
    return f"{name} is not a picture that can be read: expected {expected}, but {what}; convert it to PNG"


def _cause(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "its header cannot be read"
    return one_line(str(error), _LONGEST_CAUSE) or type(error).__name__
