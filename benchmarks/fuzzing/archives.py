"""Changed .npz files: the directory, headers, sizes, names, pickled objects, with right checksums."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import random
import re
import struct
import zipfile
import zlib

from fuzzing import change_list, change_word, cut, damage, edge

_SHAPES = ("()", "(0,)", "(-1,)", "(3, 3, 3, 1)", "(1000000000000,)", "(9223372036854775807, 2)", "(1,)*40")
_TYPES = ("'<f4'", "'>f4'", "'|O'", "'<f8'", "'<U9999999'", "'|V8'", "[('a', '<f4')]", "'<M8[s]'", "'x'", "1")
_HEADERS = (
    "{" * 500,
    "__import__('os').system('true')",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 300,
    "[]",
    "\0",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
)
_NAMES = ("../../../tmp/x.npy", "/etc/passwd", "", "a\0b", "record.npy", "conv1_1.kernel.npy", "é" * 99)


class _Bomb:
    """Runs a (harmless) command where it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("true",)


_PICKLE = pickle.dumps([_Bomb()])


@dataclasses.dataclass
class Member:
    """One file of an archive, and what its headers say of it; None is the truth."""

    name: bytes
    data: bytes
    method: int = zipfile.ZIP_STORED
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    flags: int = 0
    extra: bytes = b""
    offset: int | None = None


def take_apart(data: bytes) -> list[Member]:
    """Return the members of an undamaged file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            Member(info.filename.encode(), archive.read(info), info.compress_type)
            for info in archive.infolist()
        ]


def mutate(rng: random.Random, members: list[Member]) -> bytes:
    """Return the archive with one or a few changes."""
    members = [dataclasses.replace(member) for member in members]
    if rng.random() < 0.15:
        change_list(rng, members)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if members and rng.random() < 0.85:
            index = rng.randrange(len(members))
            # Items that were repeated are one object.
            members[index] = dataclasses.replace(members[index])
            _change(rng, members[index])
    data, borders = _put_together(rng, members)
    pick = rng.random()
    if pick < 0.06:
        return cut(rng, data, borders)
    return damage(rng, data, head=len(data)) if pick < 0.12 else data


def _change(rng: random.Random, member: Member) -> None:
    pick = rng.random()
    if pick < 0.45:
        member.data = _change_array(rng, member.data)
    elif pick < 0.55:
        field = rng.choice(("crc", "packed", "size", "offset"))
        setattr(member, field, edge(rng, 4, len(member.data)))
    elif pick < 0.65:
        member.method = rng.choice((0, 8, 8, 12, 14, 93, 99, edge(rng, 2)))
    elif pick < 0.72:
        member.name = rng.choice((*_NAMES, member.name.decode() * 2)).encode("utf-8", "surrogateescape")
    elif pick < 0.8:
        member.flags = rng.choice((1, 8, 0x20, 0x40, 0x800, edge(rng, 2)))
    elif pick < 0.9:
        # ZIP64: sizes and offset once more, in eight bytes each.
        member.size = member.packed = 0xFFFFFFFF
        member.extra = struct.pack("<HHQQ", 1, rng.choice((16, 16, 4, 65535)), edge(rng, 8), edge(rng, 8))
    elif pick < 0.903:
        member.method, member.data = zipfile.ZIP_DEFLATED, member.data + bytes(1 << 26)
    else:
        member.extra = rng.randbytes(rng.randrange(40))


def _change_array(rng: random.Random, data: bytes) -> bytes:
    pick = rng.random()
    if pick < 0.1:
        return damage(rng, data)
    if pick < 0.2:
        return cut(rng, data, [6, 8, 10, 128])
    if pick < 0.3:
        head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head + b"\n" + _PICKLE
    if pick < 0.35:
        return _PICKLE
    if pick < 0.45:
        changed = bytearray(data)
        change_word(rng, changed, 6, 12)
        return bytes(changed)
    if pick < 0.6 and len(data) > 128:
        changed = bytearray(data)
        change_word(rng, changed, 128, len(changed))
        return bytes(changed)
    head = data[10:128].decode("latin-1")
    way = rng.random()
    if way < 0.35:
        head = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {rng.choice(_SHAPES)}", head)
    elif way < 0.7:
        head = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {rng.choice(_TYPES)}", head)
    elif way < 0.85:
        head = rng.choice(_HEADERS)
    else:
        head = head.replace("False", rng.choice(("True", "None", "1", "[]", "False" * 2)))
    raw = head.rstrip("\n").encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data[128:]


def _put_together(rng: random.Random, members: list[Member]) -> tuple[bytes, list[int]]:
    out, directory, borders = bytearray(), bytearray(), []
    for member in members:
        borders += [len(out), len(out) + 30]
        packed = member.data
        if member.method == zipfile.ZIP_DEFLATED:
            deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
            packed = deflate.compress(member.data) + deflate.flush()
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        sizes = (
            len(packed) if member.packed is None else member.packed,
            len(member.data) if member.size is None else member.size,
        )
        offset = len(out) if member.offset is None else member.offset
        fields = struct.pack("<HHII", 0, 0x21, crc, sizes[0]) + struct.pack("<I", sizes[1])
        names = struct.pack("<HH", len(member.name), len(member.extra))
        start = struct.pack("<HHH", 45, member.flags, member.method)
        directory += b"PK\x01\x02" + struct.pack("<H", 45) + start + fields + names
        directory += struct.pack("<HHHII", 0, 0, 0, 0, offset) + member.name + member.extra
        out += b"PK\x03\x04" + start + fields + names + member.name + member.extra + packed
    if rng.random() < 0.05 and directory:
        change_word(rng, directory, 0, len(directory))
    count = len(members) if rng.random() < 0.95 else edge(rng, 2)
    size = len(directory) if rng.random() < 0.95 else edge(rng, 4, len(directory))
    at = len(out) if rng.random() < 0.95 else edge(rng, 4, len(out))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, size, at, 0)
    borders += [len(out), len(out) + len(directory)]
    return bytes(out + directory + end), borders
