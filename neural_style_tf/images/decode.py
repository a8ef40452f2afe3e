"""Decode an untrusted picture file: any bytes give a decoded picture or a `UserError`.

What Pillow does with hostile bytes (a dozen kinds of exception, warnings, module-wide switches) ends at
`quiet_pillow`; whatever calls Pillow for the pixels of a file runs inside it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile

from neural_style_tf.errors import UserError, show
from neural_style_tf.images import deep
from neural_style_tf.images.color import is_hdr, rgb_profile
from neural_style_tf.images.libtiff import quiet_libtiff
from neural_style_tf.images.tiff import DEVELOP, Form, find_picture
from neural_style_tf.utils.text import did_you_mean

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM")
READABLE = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF, BMP or PPM"
_ADVICE = "give a smaller picture, or raise --max_pixels"

# The largest picture of 8 bytes a pixel (16-bit RGBA, uncompressed) plus room for its metadata.
_BYTES_PER_PIXEL = 8
_BYTES_OF_METADATA = 64 << 20
# A decoder holds a picture twice at most, in 8 bytes a pixel; WebP's holds it four times.
_SHARE_OF_PIXELS = {"WEBP": 0.6}
_NAMES_TO_COMPARE = 2000
_WARNINGS_TO_SHOW = 3
_ORIENTATION_TAG, _IMAGE_LENGTH = 0x0112, 257
# PQ and HLG, and the primaries of colour spaces, by ITU-T H.273.
_HDR_TRANSFERS = (16, 18)
_SPACES, _UNNAMED = {9: "BT.2020", 12: "Display P3"}, (0, 2)
# Values of EXIF's ColorSpace; the first is not of the standard, and cameras write it.
_ADOBE, _UNCALIBRATED = 2, 65535

_RAW = "a camera's raw file"
# What a file is by its first bytes: enough to say what came instead of a picture, or which kind is damaged.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WebP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "HTML, SVG or other markup"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"BM", "BMP"),
    *((0, b"P%c" % letter, "PPM") for letter in b"123456f"),
    *(
        (0, magic, _RAW)
        for magic in (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM")
    ),
    (6, b"HEAPCCDR", _RAW),
)
_KNOWN = ("PNG", "JPEG", "WebP", "AVIF", "HEIC", "TIFF", "GIF", "BMP", "PPM")
# The brands in the first box of an ISO media file; cameras put their own there, too.
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    _RAW: (b"crx ",),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"),
}

# Pillow's switches are module-wide, so one thread at a time turns them.
_pillow_lock = threading.Lock()


@dataclass(frozen=True)
class Decoded:
    """A loaded picture and what Pillow forgets once it is loaded.

    Attributes:
        image: The pixels, in the mode and the row order of the file.
        rawmode: How the file packs a pixel, in Pillow's words ("RGB;16B", "L;4"); empty if unknown.
        orientation: EXIF orientation still to be applied, 1 to 8.
        levels: All bits of the pixels, uint16 `[H, W, channels]`, where Pillow does not hold them.
    """

    image: Image.Image
    rawmode: str
    orientation: int
    levels: np.ndarray | None = None


def read_bounded(path: str | os.PathLike[str], *, max_pixels: int) -> bytes:
    """Read a regular file once, whole, without ever blocking and without reading more than a picture needs.

    Args:
        path: The file.
        max_pixels: Limit of the picture's pixels, from which the limit of bytes follows.

    Returns:
        The bytes of the file.

    Raises:
        UserError: The path is not a readable, non-empty regular file within the limit.
    """
    name = show(path)
    if not os.fspath(path):
        raise UserError("the name of the picture is empty; expected the path of a file")
    limit = _BYTES_PER_PIXEL * max_pixels + _BYTES_OF_METADATA
    try:
        # Looked at before it is opened: opening a device or a pipe can itself block or have effects.
        _check_regular(Path(os.fsdecode(path)).stat().st_mode, name)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            _check_regular(status.st_mode, name)
            # What a growing file gains meanwhile is left out; the floor is for files that claim 0 bytes.
            data = file.read(max(status.st_size, 1 << 20) + 1) if status.st_size <= limit else b""
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    except NotADirectoryError:
        raise UserError(f"{name} does not exist: a part of its path is a file, not a folder") from None
    except PermissionError:
        raise UserError(f"{name} cannot be read: permission denied; change its permissions") from None
    except OSError as error:
        loops = error.errno == errno.ELOOP
        reason = "it is a link that leads back to itself" if loops else error.strerror or type(error).__name__
        raise UserError(f"{name} cannot be read: {reason}") from error
    except ValueError as error:
        raise UserError(f"{name} is not a valid file name: {error}") from None
    if max(len(data), status.st_size) > limit:
        raise UserError(
            f"{name} holds more than {limit:,} bytes, too many for {max_pixels:,} pixels; {_ADVICE}"
        )
    if not data:
        raise UserError(f"{name} is empty (0 bytes); expected a {READABLE} picture")
    return data


def _check_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise UserError(f"{name} is a folder; expected a picture file")
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise UserError(f"{name} is {kind}; expected a picture in a regular file")


def _missing(path: str | os.PathLike[str]) -> str:
    whole = Path(os.fsdecode(path))
    if whole.is_symlink():
        return f"{show(path)} is a symbolic link to a file that does not exist"
    if not whole.parent.is_dir():
        return f"{show(path)} does not exist: there is no folder {show(whole.parent)}"
    try:
        with os.scandir(whole.parent) as entries:
            names = [entry.name for entry in islice(entries, _NAMES_TO_COMPARE)]
    except OSError:
        names = []
    return f"{show(path)} does not exist{did_you_mean(whole.name, names)}"


@contextlib.contextmanager
def quiet_pillow(name: str, notes: list[str], *, max_pixels: int) -> Iterator[None]:
    """Run Pillow inside: its exceptions become `UserError`, its warnings notes, its limit of pixels ours.

    Args:
        name: The file, as messages show it.
        notes: Gets the warnings worth showing.
        max_pixels: Pillow refuses by itself, before it allocates, what is above twice this.

    Yields:
        Nothing.

    Raises:
        UserError: Instead of any `Exception` from the body.
    """
    with _pillow_lock, _pillow_switched(max_pixels), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except UserError:
            raise
        except Image.DecompressionBombError as error:
            count = re.search(r"\((\d+) pixels\)", str(error))
            came = f"{int(count[1]):,} pixels" if count else "too many pixels"
            raise UserError(f"{name} has {came}, over the limit of {max_pixels:,}; {_ADVICE}") from error
        except MemoryError as error:
            raise UserError(f"{name} needs more memory than there is; shrink the picture") from error
        except Exception as error:
            raise UserError(f"{name} cannot be decoded: {_reason(error)}") from error
    # A programmer's warning (a deprecation) and Pillow's own limit say nothing about this picture.
    shown = [w for w in caught if issubclass(w.category, UserWarning)]
    shown = [w for w in shown if not issubclass(w.category, Image.DecompressionBombWarning)]
    lines = dict.fromkeys(f"{name}: {_one_line(str(w.message))}" for w in shown)
    notes.extend(islice(lines, _WARNINGS_TO_SHOW))


@contextlib.contextmanager
def _pillow_switched(max_pixels: int) -> Iterator[None]:
    """Give Pillow our limit of pixels and keep its log to itself, for as long as this lasts."""
    limit, log = Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL")
    propagate, silent = log.propagate, logging.NullHandler()
    # Pillow raises above twice this number, before WebP's decoder or a TIFF's tile takes its memory. Our own
    # check is the exact one, and names width and height; the floor leaves room for the padding of TIFF tiles.
    Image.MAX_IMAGE_PIXELS = max(max_pixels, 1 << 20)
    log.propagate = False
    log.addHandler(silent)
    try:
        with quiet_libtiff():
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        log.propagate = propagate
        log.removeHandler(silent)


def decode(
    data: bytes, name: str, notes: list[str], *, max_pixels: int, allow_truncated: bool = False
) -> Decoded:
    """Decode the first frame of a picture; call it inside `quiet_pillow`.

    Args:
        data: The bytes of the file.
        name: The file, as messages show it.
        notes: Gets what the user should know.
        max_pixels: Pictures with more pixels by their header are refused before they are decoded.
        allow_truncated: Keep what can be decoded of a damaged file.

    Returns:
        The loaded picture.

    Raises:
        UserError: Not a picture, too large, or damaged.
    """
    try:
        return _load(data, name, notes, max_pixels)
    except (UserError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        if not allow_truncated:
            raise UserError(_damaged(data, name, error)) from error
        return _load_leniently(data, name, notes, max_pixels)


def _load(data: bytes, name: str, notes: list[str], max_pixels: int) -> Decoded:
    formats = _formats(data, name)
    form = find_picture(data, name, notes) if _kind(data) == "TIFF" else None
    image = None
    if form is None or form.is_right_in_pillow:
        try:
            image = Image.open(io.BytesIO(data), formats=formats)
        except Image.UnidentifiedImageError:
            if form is None:
                raise
    if form is not None and (image is None or (form.bits > 8 and form.samples > 1)):
        try:
            loaded = _load_deep_tiff(data, form, name, notes, max_pixels)
        except UserError:
            raise
        except ValueError:
            # Pillow may take what libvips finds damaged.
            if image is None:
                raise
            loaded = None
        if loaded is not None:
            _read_exif(data, loaded.image, image or loaded.image, name, notes)
            return loaded
        if image is None:
            raise UserError(_unreadable(form, name))
    if form is not None:
        image.seek(form.page)
    elif skip_still(image):
        image.seek(1)
    _check_size(image.size, name, int(max_pixels * _SHARE_OF_PIXELS.get(image.format, 1)))
    tile = image.tile[0] if image.tile else ()
    arguments = tile[3] if len(tile) > 3 else ""
    rawmode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    end = max((tile[1][3] for tile in image.tile), default=image.height)
    # As they are stored: of a picture that is to be turned, `height` is what it will have then.
    rows = image.tag_v2.get(_IMAGE_LENGTH, image.height) if image.format == "TIFF" else 0
    if end < rows and not ImageFile.LOAD_TRUNCATED_IMAGES:
        # Pillow silently leaves rows black that are in no strip.
        raise EOFError("rows are missing")
    if (
        image.format == "TIFF"
        and image.tag_v2.get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
        and "dpi" in image.info
    ):
        # Pillow turns the pixels as it loads them, and leaves this.
        image.info["dpi"] = image.info["dpi"][::-1]
    image.load()
    # Looking for a second frame moves a reader's place in the file, so another reader looks; its failure
    # harms nothing. A phone's JPEG that carries a preview or a depth map (MPO) counts as one picture.
    with contextlib.suppress(Exception):
        if image.format not in ("MPO", "TIFF") and Image.open(io.BytesIO(data), formats=formats).is_animated:
            album = image.format == "HEIF"
            said = "holds several pictures; the main picture" if album else "is animated; the first frame"
            notes.append(f"{name} {said} is used")
    # After loading: Pillow itself turns a TIFF upright as it loads it, and then takes the tag away.
    orientation = _read_exif(data, image, image, name, notes)
    rawmode = rawmode if isinstance(rawmode, str) else ""
    if rawmode.startswith("LA;16"):
        # Grey with opacity, which Pillow makes colours of.
        image, form = image.convert("LA"), image.format
        image.format = form
    return Decoded(image, rawmode, orientation)


def _read_exif(data: bytes, image: Image.Image, opened: Image.Image, name: str, notes: list[str]) -> int:
    """Return the orientation of a picture, and see to the colours that its file names; `opened` has EXIF."""
    orientation = 1
    try:
        exif = opened.getexif()
        orientation = int(exif.get(_ORIENTATION_TAG, 1))
        _name_colors(data, image, exif, name, notes)
    except Exception:
        notes.append(f"{name}: its EXIF data is damaged and ignored")
    return orientation if 1 <= orientation <= 8 else 1


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UserError(
            f"{name} is {width} × {height} = {width * height:,} pixels,"
            f" over the limit of {max_pixels:,}; {_ADVICE}"
        )


def _load_deep_tiff(data: bytes, form: Form, name: str, notes: list[str], max_pixels: int) -> Decoded | None:
    """Return a TIFF of more than 8 bits, or of a kind that Pillow does not read right, if libvips does."""
    if not form.samples or not deep.is_installed():
        return None
    try:
        loaded = deep.load_tiff(
            data,
            form,
            lambda *size: _check_size(size, name, max_pixels),
            allow_truncated=ImageFile.LOAD_TRUNCATED_IMAGES,
        )
    except NotImplementedError:
        return None
    notes += [f"{name} {note}" for note in loaded.notes]
    channels = [
        Image.fromarray((channel // 257).astype(np.uint8)) for channel in np.moveaxis(loaded.levels, -1, 0)
    ]
    image = Image.merge(loaded.mode, channels) if len(channels) > 1 else channels[0]
    image.format = "TIFF"
    image.info |= {"icc_profile": loaded.profile, "dpi": loaded.dpi}
    return Decoded(image, "", loaded.orientation, None if loaded.mode == "CMYK" else loaded.levels)


def _unreadable(form: Form, name: str) -> str:
    """Return what to say of a TIFF that is whole and cannot be read."""
    if deep.is_installed():
        return f"{name} is a TIFF of {form}, which cannot be read right; save it as RGB of 8 or 16 bits"
    return (
        f"{name} is a TIFF of {form}, which cannot be read right; save it as RGB of 8 bits, or install the "
        'extra deep, which reads more kinds: pip install "neural-style-tf[deep]"'
    )


def _name_colors(data: bytes, image: Image.Image, exif: Image.Exif, name: str, notes: list[str]) -> None:
    """Give a picture the profile of the colour space that its file only names; note high dynamic range."""
    primaries, transfer = _code_points(data, image)
    profile = image.info.get("icc_profile")
    if transfer in _HDR_TRANSFERS or (profile and is_hdr(profile)):
        notes.append(
            f"{name} is in high dynamic range, and is read as if it were not: its colours will be pale; "
            "export it in standard range"
        )
    elif not profile and image.mode not in ("CMYK", "LAB"):
        space = _SPACES.get(primaries, "")
        if primaries in _UNNAMED:
            camera = exif.get_ifd(ExifTags.IFD.Exif)
            said = camera.get(ExifTags.Base.ColorSpace)
            rules = exif.get_ifd(ExifTags.IFD.Interop) if ExifTags.IFD.Interop in camera else {}
            if said == _ADOBE or str(rules.get(ExifTags.Interop.InteropIndex, "")).startswith("R03"):
                space = "Adobe RGB"
            elif said == _UNCALIBRATED:
                notes.append(
                    f"{name}: its EXIF data says that its colours are not sRGB, and no profile says which; "
                    "they are read as sRGB"
                )
        if space:
            image.info["icc_profile"] = rgb_profile(space)


def _code_points(data: bytes, image: Image.Image) -> tuple[int, int]:
    """Return colour primaries and transfer characteristics by ITU-T H.273; 0, 0 if a file has none."""
    if image.format == "HEIF":
        said = image.info.get("nclx_profile") or {}
        return said.get("color_primaries", 0), said.get("transfer_characteristics", 0)
    if image.format == "PNG":
        found = re.search(rb"\0\0\0\x04cICP(.)(.)", data[: data.find(b"IDAT")], re.DOTALL)
    elif image.format == "AVIF":
        # The first is that of the picture itself; others belong to a gain map.
        found = re.search(rb"colr(?:nclx\0(.)\0(.)|prof|rICC)", data, re.DOTALL)
    else:
        found = None
    return (ord(found[1]), ord(found[2])) if found and found[1] else (0, 0)


@contextlib.contextmanager
def open_frames(path: str | os.PathLike[str], formats: Iterable[str]) -> Iterator[tuple[Image.Image, int]]:
    """Open a picture that may move; call it inside `quiet_pillow`.

    Args:
        path: The file.
        formats: In which Pillow may read it.

    Yields:
        The picture, and the index of its first frame.
    """
    Image.init()
    with Image.open(path, formats=[form for form in formats if form in Image.OPEN]) as picture:
        yield picture, skip_still(picture)


def skip_still(picture: Image.Image) -> int:
    """Return the index of the first frame: a PNG may have a still picture before it, which is none."""
    if not getattr(picture, "default_image", False):
        return 0
    picture.load()
    # Pillow would lay the first frame over it.
    picture.paste(0, (0, 0, *picture.size))
    return 1


def _formats(data: bytes, name: str) -> tuple[str, ...]:
    """Return the formats in which Pillow may read this file, with HEIC's reader loaded where it is needed."""
    kind = _kind(data)
    if kind == _RAW:
        raise UserError(f"{name} is {_RAW}; {DEVELOP}")
    if kind == "HEIC":
        try:
            import pillow_heif
        except ImportError:
            raise UserError(
                f"{name} is a HEIC picture, as phones take them; to read such files, "
                'pip install "neural-style-tf[heic]", or convert it to JPEG'
            ) from None
        pillow_heif.register_heif_opener()
        return ("HEIF",)
    Image.init()
    formats = tuple(form for form in FORMATS if form in Image.OPEN)
    if kind == "AVIF" and "AVIF" not in formats:
        raise UserError(
            f"{name} is an AVIF picture, which this Pillow cannot read; install Pillow 11.3 or newer, "
            "or convert it to PNG"
        )
    return formats


def _kind(data: bytes) -> str:
    """Return what a file is by its first bytes, in words; empty if that is unknown."""
    if data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        named = {brands[at : at + 4] for at in range(0, len(brands), 4)}
        return next((kind for kind, known in _BRANDS.items() if named & set(known)), "a video or other media")
    return next((kind for at, magic, kind in _SIGNATURES if data[at : at + len(magic)] == magic), "")


def _load_leniently(data: bytes, name: str, notes: list[str], max_pixels: int) -> Decoded:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        loaded = _load(data, name, notes, max_pixels)
    except (UserError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        raise UserError(_damaged(data, name, error, curable=False)) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    notes.append(f"{name} is cut short or damaged; what could be decoded is used")
    return loaded


def _damaged(data: bytes, name: str, error: Exception, *, curable: bool = True) -> str:
    kind = _kind(data)
    if kind in _KNOWN:
        # Without a header there is nothing that could be used.
        curable = curable and not isinstance(error, Image.UnidentifiedImageError)
        cure = ", or pass --allow_truncated to use what is there" if curable else ""
        reason = _reason(error)
        article = "an" if kind == "AVIF" else "a"
        return f"{name} is {article} {kind} file that is cut short or damaged ({reason}); copy it again{cure}"
    what = f"it looks like {kind}" if kind else f"it starts with {data[:8]!r}"
    return f"{name} is not a picture that can be read: expected {READABLE}, but {what}; convert it to PNG"


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "its header cannot be read"
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:120].strip()
