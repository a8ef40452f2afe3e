"""Changed .mat files of version 5: tags, types, counts, dimensions, names, cells, compressed streams."""

from __future__ import annotations

import dataclasses
import random
import struct
import zlib

from fuzzing import change_int, change_word, cut, damage, edge

_MATRIX, _COMPRESSED = 14, 15
_HEADER = 128


@dataclasses.dataclass(frozen=True)
class Element:
    """One tag and its data; `parents` are the offsets of the tags around it."""

    at: int
    kind: int
    data: int
    size: int
    end: int
    parents: tuple[int, ...]
    place: int


@dataclasses.dataclass(frozen=True)
class MatFile:
    """A file taken apart: the header, and each variable, inflated, with its elements."""

    header: bytes
    compressed: bool
    variables: tuple[tuple[bytes, tuple[Element, ...]], ...]


def take_apart(data: bytes) -> MatFile:
    """Return the structure of an undamaged file."""
    variables, at, compressed = [], _HEADER, False
    while at < len(data):
        kind, count = struct.unpack_from("<II", data, at)
        body = data[at : at + 8 + count]
        if kind == _COMPRESSED:
            compressed, body = True, zlib.decompress(body[8:])
        variables.append((body, tuple(_elements(body, 0, len(body), ()))))
        at += 8 + count
    return MatFile(data[:_HEADER], compressed, tuple(variables))


def mutate(rng: random.Random, file: MatFile) -> bytes:
    """Return the file with one or a few changes."""
    variables = list(file.variables)
    # The layers, which are read; now and then another variable.
    largest = max(range(len(variables)), key=lambda index: len(variables[index][0]))
    index = largest if rng.random() < 0.9 else rng.randrange(len(variables))
    body, elements = variables[index]
    body = bytearray(body)
    count = rng.choice((1, 1, 1, 2, 3, 6))
    for element in sorted(rng.choices(elements, k=count), key=lambda e: -e.at):
        _change(rng, body, element, elements)
    if rng.random() < 0.7 and len(body) >= 8:
        # The outermost length is checked before SciPy gets to read.
        struct.pack_into("<I", body, 4, len(body) - 8)
    bodies = [bytes(body) if i == index else old for i, (old, _) in enumerate(variables)]
    compressed = file.compressed if rng.random() < 0.95 else not file.compressed
    if compressed:
        bodies = [_deflate(rng, one, i == index) for i, one in enumerate(bodies)]
    header = file.header if rng.random() < 0.97 else damage(rng, file.header)
    if rng.random() < 0.01:
        header = header[:124] + rng.choice((b"\x01\x00MI", b"\x00\x01MI", b"\x00\x02IM", b"\x05\x01IM"))
    data = header + b"".join(bodies)
    pick = rng.random()
    if pick < 0.06:
        return cut(rng, data, [_HEADER] if compressed else [_HEADER + e.at for e in elements])
    return damage(rng, data) if pick < 0.12 else data


def _elements(body: bytes, at: int, end: int, parents: tuple[int, ...]) -> list[Element]:
    found, place = [], 0
    while at + 8 <= end:
        kind, size = struct.unpack_from("<II", body, at)
        data = at + 8
        if kind >> 16:
            kind, size, data = kind & 0xFFFF, kind >> 16, at + 4
        stop = at + 8 if data == at + 4 else min(end, data + (size + 7) // 8 * 8)
        found.append(Element(at, kind, data, size, stop, parents, place))
        if kind == _MATRIX:
            found += _elements(body, data, data + size, (*parents, at))
        at, place = stop, place + 1
    return found


def _change(rng: random.Random, body: bytearray, element: Element, elements: tuple[Element, ...]) -> None:
    if rng.random() < 0.5:
        _change_in_place(rng, body, element)
        return
    pick = rng.random()
    old = bytes(body[element.at : element.end])
    if pick < 0.2:
        new = b""
    elif pick < 0.4:
        new = old * rng.choice((2, 2, 3, 50))
    elif pick < 0.7:
        other = rng.choice(elements)
        new = bytes(body[other.at : other.end])
    elif pick < 0.85:
        new = _nested(rng, old)
    else:
        new = _small_or_large(rng, element, old)
    if len(new) > 4_000_000:
        return
    body[element.at : element.end] = new
    for parent in element.parents:
        size = struct.unpack_from("<I", body, parent + 4)[0] + len(new) - len(old)
        struct.pack_into("<I", body, parent + 4, size % (1 << 32))


def _change_in_place(rng: random.Random, body: bytearray, element: Element) -> None:
    pick, inside = rng.random(), bool(element.parents)
    if pick < 0.2:
        kind = rng.choice((*range(20), edge(rng, 4)))
        if element.data == element.at + 8:
            struct.pack_into("<I", body, element.at, kind)
        else:
            struct.pack_into("<H", body, element.at, kind % (1 << 16))
    elif pick < 0.4:
        if element.data == element.at + 8:
            change_int(rng, body, element.at + 4, 4)
        else:
            struct.pack_into("<H", body, element.at + 2, rng.choice((0, 1, 3, 4, 5, 8, 255, 65535)))
    elif pick < 0.6 and inside and element.place == 0 and element.size == 8:
        # Array flags: the class, then logical, global and complex, then the room of a sparse matrix.
        body[element.data] = rng.choice((*range(20), 255))
        body[element.data + 1] = rng.choice((0, 0, 2, 4, 8, 14, 255))
        change_int(rng, body, element.data + 4, 4)
    else:
        for _ in range(rng.choice((1, 2, 4))):
            change_word(rng, body, element.data, min(element.data + element.size, len(body)))


def _nested(rng: random.Random, element: bytes) -> bytes:
    """Return an element inside cells inside cells."""
    depth = rng.choices((1, 2, 30, 1000, 40_000), (8, 8, 8, 2, 0.05))[0]
    head = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
    sizes = (len(element) + 48 * (level - 1) + 40 for level in range(depth, 0, -1))
    return b"".join(struct.pack("<II", _MATRIX, size) + head for size in sizes) + element


def _small_or_large(rng: random.Random, element: Element, old: bytes) -> bytes:
    data = old[element.data - element.at :][: element.size]
    if len(data) <= 4 and rng.random() < 0.7:
        return struct.pack("<II", element.kind, len(data)) + data + bytes(-len(data) % 8)
    return struct.pack("<HH", element.kind, min(len(data), 65535)) + data[:4].ljust(4, b"\0")


def _deflate(rng: random.Random, body: bytes, hurt: bool) -> bytes:
    stream = zlib.compress(body, 1)
    if hurt and rng.random() < 0.001:
        # Half a gigabyte of nothing in half a megabyte.
        stream = zlib.compress(body[:-1] + bytes(1 << 29), 1)
    elif hurt and rng.random() < 0.1:
        stream = damage(rng, stream)
    elif hurt and rng.random() < 0.05:
        stream = cut(rng, stream)
    return struct.pack("<II", _COMPRESSED, len(stream)) + stream
