"""Changed TIFF structures, which EXIF is too, and changed ICC profiles."""

from __future__ import annotations

import random
import struct

from fuzzing import change_int, change_word, damage, edge

# What decides how pixels are read: sizes, bits, compression, photometry, strips, tiles, planes, predictor …
_TAGS = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 338)
_TAGS = (*_TAGS, 339, 347, 512, 513, 514, 530, 531, 532, 34665, 34675, 34853, 40965)
_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34712, 34925, 50000, 50001)


def mutate_tiff(rng: random.Random, data: bytes) -> bytes:
    """Return a TIFF (or the TIFF inside EXIF) with changed directories; BigTIFF too."""
    data = bytearray(data)
    entries, links, order, big = _directories(data)
    if not entries:
        return damage(rng, bytes(data))
    width = 8 if big else 4
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        at = rng.choice(entries)
        pick = rng.random()
        value = at + (12 if big else 8)
        if pick < 0.1:
            data[at : at + 2] = rng.choice(_TAGS).to_bytes(2, order)
        elif pick < 0.2:
            data[at + 2 : at + 4] = rng.choice((*range(20), 65535)).to_bytes(2, order)
        elif pick < 0.35:
            change_int(rng, data, at + 4, width, order)
        elif pick < 0.45:
            # Directories that contain themselves.
            where = rng.choice([*links, value])
            data[where : where + width] = rng.choice((8, 16, at, *entries)).to_bytes(width, order)
        elif pick < 0.55 and (found := [e for e in entries if data[e : e + 2] == (259).to_bytes(2, order)]):
            value = found[0] + (12 if big else 8)
            data[value : value + 2] = rng.choice(_COMPRESSIONS).to_bytes(2, order)
        elif pick < 0.8:
            # A value in the entry itself begins at its first byte, also where bytes are swapped.
            size = rng.choice((2, 2, width))
            change_int(rng, data, value, size, order)
        else:
            offset = int.from_bytes(data[value : value + width], order)
            if offset < len(data) - 8:
                change_word(rng, data, offset, min(offset + 64, len(data)), order)
            else:
                change_int(rng, data, value, width, order)
    return bytes(data)


def borders(data: bytes) -> list[int]:
    """Return where the directory entries of a TIFF are."""
    return _directories(bytearray(data))[0]


def mutate_icc(rng: random.Random, data: bytes) -> bytes:
    """Return a colour profile with a changed header, table of tags, or tag."""
    if len(data) < 132:
        return damage(rng, data)
    data = bytearray(data)
    count = min(int.from_bytes(data[128:132], "big"), (len(data) - 132) // 12)
    for _ in range(rng.choice((1, 1, 2, 4))):
        pick = rng.random()
        if pick < 0.2:
            spaces = (
                b"GRAY",
                b"RGB ",
                b"CMYK",
                b"Lab ",
                b"XYZ ",
                b"scnr",
                b"abst",
                b"link",
                b"nmcl",
                b"FCLR",
            )
            at = rng.choice((12, 16, 20))
            data[at : at + 4] = rng.choice(spaces)
        elif pick < 0.35:
            change_word(rng, data, 0, 132, "big")
        elif pick < 0.6:
            change_word(rng, data, 132, 132 + 12 * count, "big")
        else:
            change_word(rng, data, 132 + 12 * count, len(data), "big")
    return bytes(data) if rng.random() < 0.95 else bytes(data[: rng.randrange(len(data))])


def circular_exif(rng: random.Random) -> bytes:
    """Return EXIF whose directories point at themselves, at each other, or go on for ever."""
    count = rng.choice((1, 2, 3, 50))
    start = [8 + index * 30 for index in range(count)]
    body = b""
    for index in range(count):
        following = start[(index + 1) % count]
        body += struct.pack("<H", 2)
        body += struct.pack("<HHII", rng.choice((0x8769, 0x8825, 0xA005, 0x014A)), 4, 1, rng.choice(start))
        body += struct.pack("<HHII", 0x0112, 3, rng.choice((1, edge(rng, 4))), edge(rng, 2))
        body += struct.pack("<I", following)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + body


def _directories(data: bytearray) -> tuple[list[int], list[int], str, bool]:
    """Return offsets of entries, offsets of links to directories, the byte order, and whether it is big."""
    order = "big" if data[:2] == b"MM" else "little"
    big = int.from_bytes(data[2:4], order) == 43
    width, step, counted = (8, 20, 8) if big else (4, 12, 2)
    links, entries, seen = [8 if big else 4], [], set()
    todo = list(links)
    while todo:
        at = int.from_bytes(data[todo[0] : todo[0] + width], order)
        todo.pop(0)
        if at in seen or not 0 < at < len(data) - counted:
            continue
        seen.add(at)
        count = min(int.from_bytes(data[at : at + counted], order), 100)
        first = at + counted
        for entry in range(first, min(first + step * count, len(data) - step), step):
            entries.append(entry)
            if int.from_bytes(data[entry : entry + 2], order) in (330, 34665, 34853, 40965):
                todo.append(entry + step - width)
        links.append(first + step * count)
        todo.append(links[-1])
    return entries, [link for link in links if link + width <= len(data)], order, big
