"""TIFF files: choose one of the pictures in a file, and tell whether Pillow decodes it correctly."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from PIL import TiffImagePlugin

from neural_style_tf.errors import UserError
from neural_style_tf.images import deep

DEVELOP = "develop it, as with darktable or RawTherapee, and give the JPEG or TIFF"
"""Remedy for a camera's raw file."""
_MAX_PICTURES = 1000
# Tags of the TIFF 6.0 specification; the last is DNG's.
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _SUB_PICTURES, _EXTRA, _FORMAT, _DNG_VERSION = 277, 284, 330, 338, 339, 50706
_COLOR_SPACES = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_YCBCR, _SENSOR = 6, (32803, 34892)
# Tags that say where the pixels are: in strips, in tiles or in a JPEG.
_PLACES = (273, 324, 513)
_UNCOMPRESSED, _WEBP = 1, 50001
_NUMBERS = {1: "integers", 2: "signed integers", 3: "floating-point numbers"}


class TiffPage:
    """The layout of one picture of a TIFF.

    `number` is its index among the pages of the file, or None for a picture that is inside another one.
    """

    def __init__(self, tags: Mapping[int, Any], number: int | None, *, is_big_endian: bool) -> None:
        def integer(tag: int, default: int) -> int:
            value = tags.get(tag, default)
            value = value[0] if isinstance(value, tuple) and value else value
            return value if isinstance(value, int) else default

        self.number, self.is_big_endian = number, is_big_endian
        # Number of pixels; 0 if the file does not say where its pixels are.
        self.area = integer(_WIDTH, 0) * integer(_HEIGHT, 0) * any(tag in tags for tag in _PLACES)
        # Whether it is neither a reduced copy of another picture nor a mask.
        self.is_full = not integer(_SUBFILE, 0) & 5 and integer(_OLD_SUBFILE, 1) != 2
        self.samples, self.bits = integer(_SAMPLES, 1), integer(_BITS, 1)
        self.sample_format = integer(_FORMAT, 1)
        # Codes of the channels after the colours (1 and 2 mean opacity); None if they are not stated.
        self.extra = tags.get(_EXTRA) if isinstance(tags.get(_EXTRA), tuple) else None
        self.photometric, self.compression = integer(_PHOTOMETRIC, 0), integer(_COMPRESSION, _UNCOMPRESSED)
        self.is_ycbcr = self.photometric == _YCBCR
        self.is_planar = integer(_PLANAR, 1) == 2 and self.samples > 1
        self.is_raw = _DNG_VERSION in tags or self.photometric in _SENSOR

    @property
    def is_right_in_pillow(self) -> bool:
        """Whether Pillow decodes a picture of this kind correctly, provided that it can open it."""
        is_whole = self.bits <= 16 and self.sample_format == 1
        if self.compression == _UNCOMPRESSED:
            # Pillow mixes up the channels of these kinds.
            garbled = (self.is_planar and (self.bits > 8 or self.extra is not None)) or self.is_ycbcr
        elif self.is_planar and (self.photometric <= 1 or self.samples > 4):
            garbled = True
        else:
            # Pillow swaps bytes that libtiff has already swapped; its libtiff is built without WebP.
            garbled = (self.is_big_endian and not is_whole) or self.compression == _WEBP
        # Pillow misreads signed bytes as unsigned ones.
        return not garbled and (is_whole or self.bits > 8)

    def __str__(self) -> str:
        channels = "1 channel" if self.samples == 1 else f"{self.samples} channels"
        space = _COLOR_SPACES.get(self.photometric, f"colour space {self.photometric}")
        numbers = _NUMBERS.get(self.sample_format, "numbers of an unknown kind")
        planes = ", in separate planes" if self.is_planar else ""
        method = f", compressed by method {self.compression}" if self.compression != _UNCOMPRESSED else ""
        return f"{channels} ({space}) of {self.bits}-bit {numbers}{planes}{method}"


def unreadable(kind: TiffPage | str, name: str) -> UserError:
    """Return the error for a TIFF of a `kind` that cannot be decoded; `name` is the file in the message."""
    cure = "save it as RGB of 8 or 16 bits"
    if not deep.is_installed():
        cure = (
            "save it as RGB of 8 bits, or install the extra deep, which reads more kinds: "
            'pip install "neural-style-tf[deep]"'
        )
    return UserError(f"{name} is a TIFF of {kind}, which cannot be read correctly; {cure}")


def find_picture(data: bytes, name: str, notes: list[str]) -> TiffPage | None:
    """Return the first picture with at least half the area of the largest; None if the file is damaged.

    If there are several, a line is added to `notes`. Raise `UserError` for a camera's raw file, and for a
    file whose only readable picture is a thumbnail.
    """
    if data[:4] == b"MM\0+":
        # Pillow cannot parse a big-endian BigTIFF.
        raise unreadable("big-endian numbers in a BigTIFF", name)
    pages = _pages(data)
    if data[8:10] == b"CR" or any(page.is_raw for page in pages):
        raise UserError(f"{name} is a camera's raw file; {DEVELOP}")
    if not pages:
        return None
    largest = max((page.area for page in pages if page.is_full), default=0)
    shown = [page for page in pages if page.is_full and page.number is not None]
    picture = next((page for page in shown if 2 * page.area >= largest), None)
    if picture is None:
        raise UserError(
            f"{name} shows only a thumbnail of its picture, as a camera's raw file does; {DEVELOP}"
        )
    if len(shown) > 1:
        first = picture is shown[0]
        which = "the first picture" if first else f"picture {picture.number + 1}, the first of full size,"
        notes.append(f"{name} holds several pictures; {which} is used")
    return picture if picture.area else None


def _pages(data: bytes) -> list[TiffPage]:
    """Return all pictures of a file, with pictures inside of others, up to the first damaged directory."""
    file = io.BytesIO(data)
    header = file.read(16 if data[2:3] == b"+" else 8)
    pages, visited = [], set()
    # A damaged directory ends the search; decoding reports the damage.
    with contextlib.suppress(Exception):
        places = [(TiffImagePlugin.ImageFileDirectory_v2(header).next, 0)]
        while places and len(pages) < _MAX_PICTURES:
            offset, number = places.pop(0)
            if not 0 < offset < len(data) or offset in visited:
                continue
            visited.add(offset)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(offset)
            tags.load(file)
            pages.append(TiffPage(tags, number, is_big_endian=header[:2] == b"MM"))
            inside = tags.get(_SUB_PICTURES, ())
            inside = inside if isinstance(inside, tuple) else (inside,)
            places += [(place, None) for place in inside if isinstance(place, int)]
            if number is not None:
                places.append((tags.next, number + 1))
    return pages
