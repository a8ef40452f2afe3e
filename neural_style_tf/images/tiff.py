"""What a TIFF holds: which of its pictures is the picture, and the form of its pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import TiffImagePlugin

from neural_style_tf.errors import UserError

DEVELOP = "develop it, as with darktable or RawTherapee, and give the JPEG or TIFF"
"""What to do with a camera's raw file."""
_MOST_PICTURES = 1000
_RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .nef .nrw .pef .rwl .sr2 .srf .srw".split()  # noqa: SIM905
)
# Of the TIFF 6.0 specification, but for the last, which is DNG's.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _SUB_PICTURES, _EXTRA, _FORMAT, _DNG_VERSION = 277, 284, 330, 338, 339, 50706
_SPACES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
YCBCR, _SENSOR = 6, (32803, 34892)
# Where the pixels are: in strips, in tiles, or in a JPEG.
_PLACES = (273, 324, 513)
_UNCOMPRESSED, _WEBP = 1, 50001
_UNSIGNED = 1
_NUMBERS = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}


class Form(NamedTuple):
    """How one picture of a TIFF stores its pixels; values of tags as the TIFF 6.0 specification has them.

    Attributes:
        page: Its number among the pictures of the file, from 0; None for one inside of another.
        area: Its pixels; 0 if the file does not say where they are.
        is_full: Whether it is neither a reduced copy of another picture nor a mask.
        bits: Of a sample.
        numbers: 1 for unsigned integers, 2 for signed ones, 3 for floating point.
        samples: Channels; 0 if nothing is known of the form.
        extra: Meaning of those beyond the colours: 1 and 2 are opacity; None if the file does not say.
        photometric: The colour space; 0 is grey whose 0 is white.
        is_planar: Whether each channel is stored by itself.
        compression: The method; 1 is none.
        is_big_endian: Whether the first byte of a number is the highest.
    """

    page: int | None
    area: int
    is_full: bool
    bits: int
    numbers: int
    samples: int
    extra: tuple[int, ...] | None
    photometric: int
    is_planar: bool
    compression: int
    is_big_endian: bool

    @property
    def is_right_in_pillow(self) -> bool:
        """Whether Pillow reads such a picture right, if it opens it at all."""
        whole = self.bits <= 16 and self.numbers == _UNSIGNED
        planar = self.is_planar and self.samples > 1
        if self.compression == _UNCOMPRESSED:
            # It takes the samples of such pictures for others.
            garbled = (planar and (self.bits > 8 or self.extra is not None)) or self.photometric == YCBCR
        elif planar and self.photometric <= 1:
            garbled = True
        else:
            # libtiff has swapped the bytes already, and Pillow swaps them back; Pillow's has no WebP.
            garbled = (self.is_big_endian and not whole) or self.compression == _WEBP
        # It takes signed bytes for unsigned ones.
        return not garbled and (whole or self.bits > 8)

    def __str__(self) -> str:
        if not self.samples:
            return "big-endian numbers in a BigTIFF"
        channels = "1 channel" if self.samples == 1 else f"{self.samples} channels"
        space = _SPACES.get(self.photometric, f"colour space {self.photometric}")
        numbers = _NUMBERS.get(self.numbers, "numbers of an unknown kind")
        planes = ", in separate planes" if self.is_planar and self.samples > 1 else ""
        method = f", compressed by method {self.compression}" if self.compression != _UNCOMPRESSED else ""
        return f"{channels} ({space}) of {self.bits}-bit {numbers}{planes}{method}"


def find_picture(data: bytes, name: str, notes: list[str]) -> Form | None:
    """Return the form of the picture in a TIFF that is neither a thumbnail nor a mask.

    Args:
        data: The bytes of the file.
        name: The file, as messages show it.
        notes: Gets what is left out.

    Returns:
        The first picture that is not much smaller than the largest; None if the file is damaged.

    Raises:
        UserError: A camera's raw file, or one in which nothing but a thumbnail can be found.
    """
    directories = _directories(data)
    raw = data[8:10] == b"CR" or Path(name.strip("'\"")).suffix.lower() in _RAW_SUFFIXES
    if raw or any(_DNG_VERSION in tags or form.photometric in _SENSOR for tags, form in directories):
        raise UserError(f"{name} is a camera's raw file; {DEVELOP}")
    if not directories:
        return None
    full = [form for _, form in directories if form.is_full]
    largest = max((form.area for form in full), default=0)
    pictures = [form for form in full if form.page is not None and 2 * form.area >= largest]
    if not pictures:
        raise UserError(
            f"{name} shows only a thumbnail of its picture, as a camera's raw file does; {DEVELOP}"
        )
    pages = [form for form in full if form.page is not None]
    if len(pages) > 1:
        first = pictures[0] is pages[0]
        which = "the first picture" if first else f"picture {pictures[0].page + 1}, the first of full size,"
        notes.append(f"{name} holds several pictures; {which} is used")
    return pictures[0] if pictures[0].area else None


def _directories(data: bytes) -> list[tuple[Mapping[int, Any], Form]]:
    """Return the tags and the form of each picture, also of those inside of others."""
    file = io.BytesIO(data)
    header = file.read(16 if data[2:3] == b"+" else 8)
    try:
        following = TiffImagePlugin.ImageFileDirectory_v2(header).next
    except Exception:
        return []
    if data[2:4] == b"\0+":
        # Pillow does not look into large files of big-endian machines.
        return [({}, Form(0, 1, True, 0, 0, 0, None, 1, True, _UNCOMPRESSED, True))]
    places, seen, found = [(following, 0)], set(), []
    while places and len(found) < _MOST_PICTURES:
        at, page = places.pop(0)
        if not 0 < at < len(data) or at in seen:
            continue
        seen.add(at)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        try:
            file.seek(at)
            tags.load(file)
            found.append((tags, _form(tags, page, is_big_endian=header[:2] == b"MM")))
            inside = tags.get(_SUB_PICTURES, ())
            inside = inside if isinstance(inside, tuple) else (inside,)
            places += [(place, None) for place in inside if isinstance(place, int)]
            if page is not None:
                places.append((tags.next, page + 1))
        except Exception:
            # Reading the picture says what is wrong.
            break
    return found


def _form(tags: Mapping[int, Any], page: int | None, *, is_big_endian: bool) -> Form:
    def number(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        value = value[0] if isinstance(value, tuple) and value else value
        return value if isinstance(value, int) else default

    extra = tags.get(_EXTRA)
    is_whole = any(tag in tags for tag in _PLACES)
    return Form(
        page=page,
        area=number(_WIDTH, 0) * number(_HEIGHT, 0) * is_whole,
        is_full=not number(_SUBFILE, 0) & 5 and number(_OLD_SUBFILE, 1) != 2,
        bits=number(_BITS, 1),
        numbers=number(_FORMAT, _UNSIGNED),
        samples=number(_SAMPLES, 1),
        extra=extra if isinstance(extra, tuple) else None,
        photometric=number(_PHOTOMETRIC, 0),
        is_planar=number(_PLANAR, 1) == 2,
        compression=number(_COMPRESSION, _UNCOMPRESSED),
        is_big_endian=is_big_endian,
    )
