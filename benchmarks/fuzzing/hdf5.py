"""Changed HDF5 files: superblock, object headers, B-trees, heaps, layouts, filters, with right checksums."""

from __future__ import annotations

import dataclasses
import random
import struct

from fuzzing import change_int, change_word, cut, damage

_OLD = (b"TREE", b"HEAP", b"SNOD", b"GCOL")
_NEW = (b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN", b"FAHD", b"FADB", b"EAHD")
_LONGEST = 600
_MASK = 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of metadata; where `sealed`, its last four bytes are a checksum of the others."""

    start: int
    end: int
    sealed: bool


@dataclasses.dataclass(frozen=True)
class H5File:
    """A file and its metadata: blocks, messages of object headers, and places that hold an address."""

    data: bytes
    blocks: tuple[Block, ...]
    messages: tuple[tuple[int, int], ...]
    addresses: tuple[int, ...]


def take_apart(data: bytes) -> H5File:
    """Return the structure of an undamaged file."""
    blocks, messages = [], []
    for start in _places(data, _NEW):
        if block := _sealed(data, start):
            blocks.append(block)
    # The superblock: sealed from version 2 on.
    blocks.append(_sealed(data, 0) if data[8] >= 2 else Block(0, 96, False))
    old = _places(data, _OLD)
    for start in old:
        later = [other for other in old if other > start]
        blocks.append(Block(start, min([start + _LONGEST, len(data), *later]), False))
    for start in sorted(_old_headers(data)):
        size = struct.unpack_from("<I", data, start + 8)[0]
        blocks.append(Block(start, start + 16 + size, False))
        at = start + 16
        while at + 8 <= start + 16 + size:
            length = struct.unpack_from("<H", data, at + 2)[0]
            messages.append((at, at + 8 + length))
            at += 8 + length
    starts = {block.start for block in blocks}
    addresses = [
        at
        for block in blocks
        for at in range(block.start, block.end - 7)
        if struct.unpack_from("<Q", data, at)[0] in starts - {0}
    ]
    return H5File(data, tuple(blocks), tuple(messages), tuple(addresses))


def mutate(rng: random.Random, file: H5File) -> bytes:
    """Return the file with one or a few changes."""
    data, touched = bytearray(file.data), set()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        block = rng.choice(file.blocks)
        at = block.start
        pick = rng.random()
        if pick < 0.25 and file.addresses:
            at = rng.choice(file.addresses)
            new = rng.choice((rng.choice(file.blocks).start, rng.randrange(len(data)), (1 << 64) - 1))
            struct.pack_into("<Q", data, at, new)
        elif pick < 0.5 and file.messages:
            start, end = rng.choice(file.messages)
            at = start
            if rng.random() < 0.3:
                data[start] = rng.randrange(0x1A)
            elif rng.random() < 0.3:
                change_int(rng, data, start + 2, 2)
            else:
                change_word(rng, data, start + 8, end)
        elif pick < 0.6:
            other = rng.choice(file.blocks)
            length = min(block.end - block.start, other.end - other.start)
            data[at : at + length] = file.data[other.start : other.start + length]
        else:
            change_word(rng, data, block.start, block.end)
        touched |= {block for block in file.blocks if block.start <= at < block.end}
    if rng.random() < 0.9:
        for block in touched:
            if block.sealed:
                seal = lookup3(bytes(data[block.start : block.end - 4]))
                struct.pack_into("<I", data, block.end - 4, seal)
    data = bytes(data)
    pick = rng.random()
    if pick < 0.05:
        return cut(rng, data, [block.start for block in file.blocks])
    return damage(rng, data, head=2000) if pick < 0.1 else data


def lookup3(data: bytes) -> int:
    """Return HDF5's checksum of metadata: Bob Jenkins' lookup3 with the initial value 0."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    whole = (len(data) - 1) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", data[:whole]):
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        for first, second, third in ((4, 6, 8), (16, 19, 4)):
            a, c = ((a - c) & _MASK) ^ _turn(c, first), (c + b) & _MASK
            b, a = ((b - a) & _MASK) ^ _turn(a, second), (a + c) & _MASK
            c, b = ((c - b) & _MASK) ^ _turn(b, third), (b + a) & _MASK
    x, y, z = struct.unpack("<III", data[whole:].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - _turn(b, 14)) & _MASK
    a = ((a ^ c) - _turn(c, 11)) & _MASK
    b = ((b ^ a) - _turn(a, 25)) & _MASK
    c = ((c ^ b) - _turn(b, 16)) & _MASK
    a = ((a ^ c) - _turn(c, 4)) & _MASK
    b = ((b ^ a) - _turn(a, 14)) & _MASK
    return ((c ^ b) - _turn(b, 24)) & _MASK


def _turn(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _MASK


def _places(data: bytes, names: tuple[bytes, ...]) -> list[int]:
    found = []
    for name in names:
        at = data.find(name)
        while at >= 0:
            found.append(at)
            at = data.find(name, at + 1)
    return sorted(found)


def _sealed(data: bytes, start: int) -> Block | None:
    ends = range(start + 8, min(start + _LONGEST, len(data) - 3))
    if data[start : start + 4] == b"OHDR":
        flags = data[start + 5]
        at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        ends = [at + width + int.from_bytes(data[at : at + width], "little")]
    for end in ends:
        if lookup3(data[start:end]) == struct.unpack_from("<I", data, end)[0]:
            return Block(start, end + 4, True)
    return None


def _old_headers(data: bytes) -> set[int]:
    """Return where the object headers of version 1 are, told by the symbol tables of groups."""
    if data[8] >= 2:
        return set()
    found = {struct.unpack_from("<Q", data, 64)[0]}
    for start in _places(data, (b"SNOD",)):
        for index in range(struct.unpack_from("<H", data, start + 6)[0]):
            found.add(struct.unpack_from("<Q", data, start + 16 + 40 * index)[0])
    return {at for at in found if at + 16 < len(data) and data[at] == 1}
