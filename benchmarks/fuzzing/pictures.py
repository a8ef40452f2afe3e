"""Changed pictures: chunks, segments, directories, frames, palettes, profiles, with right checksums."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from fuzzing import change_int, change_list, change_word, cut, damage, edge
from fuzzing.tags import borders, circular_exif, mutate_icc, mutate_tiff

_SIDES = (0, 1, 2, 15, 16, 17, 255, 256, 4096, 16383, 16384, 32767, 32768, 65500, 65535, 65536, 1 << 24)

Parts = list[tuple[bytes, bytes]]


def mutate(rng: random.Random, form: str, data: bytes) -> bytes:
    """Return a picture with one or a few changes.

    Args:
        rng: Decides.
        form: "png", "jpg", "webp", "tif", "gif" or "bmp".
        data: An undamaged picture.

    Returns:
        The changed file.
    """
    pick = rng.random()
    if pick < 0.08:
        return cut(rng, data, borders(data) if form == "tif" else None)
    if pick < 0.16:
        return damage(rng, data)
    changed = _MUTATORS[form](rng, data)
    if pick < 0.2:
        return damage(rng, changed)
    return cut(rng, changed) if pick < 0.24 else changed


def _side(rng: random.Random, size: int) -> int:
    return rng.choice((*_SIDES, edge(rng, size))) % (1 << 8 * size)


def _set(data: bytearray, at: int, size: int, value: int, order: str) -> None:
    if at + size <= len(data):
        data[at : at + size] = value.to_bytes(size, order)


def _exif(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.2:
        return circular_exif(rng)
    return data[:6] + mutate_tiff(rng, data[6:]) if data[:4] == b"Exif" else mutate_tiff(rng, data)


def _words(rng: random.Random, data: bytes, order: str = "big") -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        change_word(rng, changed, 0, len(changed), order)
    return bytes(changed)


def _change_parts(
    rng: random.Random, parts: Parts, change: Callable[..., tuple[bytes, bytes]], *, first: float = 0.0
) -> None:
    """Change one to three of the (name, body) that a file is made of, or their order."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.2 and parts:
            change_list(rng, parts)
        elif parts:
            index = 0 if first and rng.random() < first else rng.randrange(len(parts))
            parts[index] = change(rng, *parts[index])


# PNG


def _png(rng: random.Random, data: bytes) -> bytes:
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    # The header, on which all else depends, more often than others.
    _change_parts(rng, chunks, _png_chunk, first=0.25)
    out = bytearray(data[:8])
    for name, body in chunks:
        # Now and then a length that lies, or a wrong checksum.
        length = len(body) if rng.random() < 0.98 else edge(rng, 4, len(body))
        crc = zlib.crc32(name + body) if rng.random() < 0.98 else edge(rng, 4)
        out += struct.pack(">I", length) + name + body + struct.pack(">I", crc)
    return bytes(out)


def _png_chunk(rng: random.Random, name: bytes, body: bytes) -> tuple[bytes, bytes]:
    changed = bytearray(body)
    if name == b"IHDR":
        for _ in range(rng.choice((1, 1, 2))):
            field = rng.randrange(7)
            if field < 2:
                _set(changed, 4 * field, 4, _side(rng, 4), "big")
            else:
                _set(changed, 6 + field, 1, rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)), "big")
    elif rng.random() < 0.1:
        names = (
            b"IDAT",
            b"PLTE",
            b"tRNS",
            b"fcTL",
            b"fdAT",
            b"acTL",
            b"iCCP",
            b"zTXt",
            b"iTXt",
            b"sRGB",
            b"\0",
        )
        return rng.choice(names)[:4].ljust(4, b"a"), body
    elif name in (b"IDAT", b"fdAT", b"zTXt", b"iCCP") and rng.random() < 0.8:
        start = {b"IDAT": 0, b"fdAT": 4}.get(name, body.find(b"\0") + 2)
        try:
            plain = zlib.decompress(body[start:])
        except zlib.error:
            return name, damage(rng, body)
        return name, body[:start] + _deflated(rng, name, plain)
    elif name == b"eXIf":
        return name, _exif(rng, body)
    else:
        return name, damage(rng, body) if rng.random() < 0.5 else _words(rng, body)
    return name, bytes(changed)


def _deflated(rng: random.Random, name: bytes, plain: bytes) -> bytes:
    pick = rng.random()
    if name == b"iCCP" and pick < 0.8:
        plain = mutate_icc(rng, plain)
    elif pick < 0.4:
        plain = damage(rng, plain)
    elif pick < 0.5:
        plain = cut(rng, plain)
    elif pick < 0.51:
        plain += bytes(rng.choice((1 << 16, 1 << 20, 1 << 24)))
    stream = zlib.compress(plain, 1)
    return stream if rng.random() < 0.8 else damage(rng, stream)


# JPEG


def _jpeg(rng: random.Random, data: bytes) -> bytes:
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((data[at + 1 : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + length
        if segments[-1][0] == b"\xda":
            # Numbers up to the next marker, which belongs to a progressive file's next scan.
            end = next(
                (i for i in range(at, len(data) - 1) if data[i] == 255 and data[i + 1] >= 0xC0), len(data)
            )
            segments.append((b"", data[at:end]))
            at = end
    _change_parts(rng, segments, _jpeg_segment)
    out = bytearray(b"\xff\xd8")
    for marker, body in segments:
        if not marker:
            out += body
            continue
        length = len(body) + 2 if rng.random() < 0.98 else edge(rng, 2, len(body))
        out += b"\xff" + marker + struct.pack(">H", min(length, 65535)) + body
    return bytes(out + data[at:])


def _jpeg_segment(rng: random.Random, marker: bytes, body: bytes) -> tuple[bytes, bytes]:
    changed = bytearray(body)
    if marker in b"\xc0\xc1\xc2" and marker:
        field = rng.randrange(5)
        if field < 2:
            _set(changed, 1 + 2 * field, 2, _side(rng, 2), "big")
        elif field < 4:
            at = rng.choice((0, 5, *range(6, max(7, len(changed)))))
            _set(changed, at, 1, rng.choice((0, 1, 2, 3, 4, 0x11, 0x12, 0x21, 0x22, 0x41, 0x44, 255)), "big")
        else:
            return rng.choice((b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\xc9", b"\xca", b"\xcc")), body
    elif body.startswith(b"Exif"):
        return marker, _exif(rng, body)
    elif body.startswith(b"ICC_PROFILE") and rng.random() < 0.8:
        return marker, body[:14] + mutate_icc(rng, body[14:])
    elif body.startswith(b"MPF") and rng.random() < 0.8:
        return marker, body[:4] + mutate_tiff(rng, body[4:])
    elif marker and rng.random() < 0.1:
        return bytes([rng.choice((0xC4, 0xDB, 0xDD, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xD9, 0xD0))]), body
    else:
        return marker, damage(rng, body) if rng.random() < 0.5 else _words(rng, body)
    return marker, bytes(changed)


# WebP


def _webp(rng: random.Random, data: bytes) -> bytes:
    chunks = _riff(data, 12)
    _change_parts(rng, chunks, _webp_chunk)
    out = bytearray(b"WEBP")
    for name, body in chunks:
        length = len(body) if rng.random() < 0.98 else edge(rng, 4, len(body))
        out += name + struct.pack("<I", length) + body + bytes(len(body) % 2)
    size = len(out) if rng.random() < 0.95 else edge(rng, 4, len(out))
    return b"RIFF" + struct.pack("<I", size) + bytes(out)


def _riff(data: bytes, at: int) -> Parts:
    chunks = []
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def _webp_chunk(rng: random.Random, name: bytes, body: bytes) -> tuple[bytes, bytes]:
    changed = bytearray(body)
    if name == b"EXIF":
        return name, _exif(rng, body)
    if name == b"ICCP":
        return name, mutate_icc(rng, body)
    if rng.random() < 0.1:
        names = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP", b"abcd")
        return rng.choice(names), body
    if name == b"VP8X":
        at = rng.choice((0, 0, 4, 7))
        _set(changed, at, 3 if at else 1, _side(rng, 3) if at else rng.randrange(256), "little")
    elif name == b"VP8 " and rng.random() < 0.4:
        _set(changed, rng.choice((6, 8)), 2, _side(rng, 2), "little")
    elif name in (b"VP8L", b"VP8 ") and rng.random() < 0.5:
        change_word(rng, changed, 0, min(30, len(changed)))
    elif name == b"ANMF" and rng.random() < 0.6:
        _set(changed, rng.choice((0, 3, 6, 9, 12)), 3, _side(rng, 3), "little")
    else:
        return name, damage(rng, body, head=40)
    return name, bytes(changed)


# GIF, BMP, TIFF


def _gif(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    marks = [i for i in range(13, len(data) - 10) if data[i] in b"\x21\x2c" and data[i - 1] == 0]
    for _ in range(rng.choice((1, 1, 2, 3))):
        pick = rng.random()
        if pick < 0.25:
            _set(changed, rng.choice((6, 8)), 2, _side(rng, 2), "little")
        elif pick < 0.4:
            changed[rng.choice((10, 11, 12))] = rng.randrange(256)
        elif pick < 0.85 and marks:
            mark = rng.choice(marks)
            if changed[mark] == 0x2C and rng.random() < 0.6:
                _set(changed, mark + rng.choice((1, 3, 5, 7)), 2, _side(rng, 2), "little")
            else:
                change_int(rng, changed, mark + rng.randrange(1, 12), 1)
        elif marks:
            start, end = sorted(rng.choices([*marks, len(data) - 1], k=2))
            block = bytes(data[start:end])
            changed[start:start] = block * rng.choice((1, 1, 5, 100)) if len(block) < 2000 else b""
            break
    return bytes(changed)


def _bmp(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        pick = rng.random()
        if pick < 0.35:
            _set(changed, rng.choice((18, 22)), 4, _side(rng, 4), "little")
        elif pick < 0.5:
            _set(changed, 28, 2, rng.choice((0, 1, 2, 4, 8, 16, 24, 32, 64)), "little")
        elif pick < 0.65:
            _set(changed, 30, 4, rng.choice((0, 1, 2, 3, 4, 5, 6, 11)), "little")
        elif pick < 0.8:
            change_int(rng, changed, rng.choice((2, 10, 14, 34, 46, 50)), 4)
        elif pick < 0.85:
            _set(changed, 14, 4, rng.choice((12, 16, 40, 52, 56, 64, 108, 124)), "little")
        else:
            start = min(54, len(changed))
            change_word(rng, changed, start, len(changed))
    return bytes(changed)


def _tiff(rng: random.Random, data: bytes) -> bytes:
    return mutate_tiff(rng, data)


_MUTATORS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "png": _png,
    "jpg": _jpeg,
    "webp": _webp,
    "gif": _gif,
    "bmp": _bmp,
    "tif": _tiff,
}
