"""Files that are nearly right: changes that know the structure of a format, for `benchmarks/fuzz.py`.

Every mutator takes a random generator and an original, and returns bytes. The same seed gives the same file.
"""

from __future__ import annotations

import random

_EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255)
_BYTES = (0, 1, 2, 3, 0x20, 0x3F, 0x7F, 0x80, 0xFE, 0xFF)


def edge(rng: random.Random, size: int, now: int = 0) -> int:
    """Return an integer of `size` bytes at which programs go wrong: near a limit, or near what it was."""
    top = 1 << 8 * size
    pick = rng.random()
    if pick < 0.3:
        value = rng.choice(_EDGES)
    elif pick < 0.6:
        power = rng.choice([8, 12, 15, 16, 20, 24, 28, 30, 31, 32, 33, 40, 48, 62, 63, 64])
        value = (1 << min(power, 8 * size)) + rng.choice((-2, -1, 0, 1))
    elif pick < 0.9:
        value = now + rng.choice((-8, -4, -1, 1, 4, 8, now, -now // 2, 1 << 16))
    else:
        value = rng.randrange(top)
    return value % top


def change_int(rng: random.Random, data: bytearray, at: int, size: int, order: str = "little") -> None:
    """Put an edge in place of one integer."""
    now = int.from_bytes(data[at : at + size], order)
    data[at : at + size] = edge(rng, size, now).to_bytes(size, order)[: len(data[at : at + size])]


def change_word(rng: random.Random, data: bytearray, start: int, end: int, order: str = "little") -> None:
    """Change one aligned integer of 1, 2, 4 or 8 bytes somewhere in `start` … `end`."""
    size = rng.choice((1, 2, 4, 4, 8))
    if end - start >= size:
        change_int(rng, data, start + size * rng.randrange((end - start) // size), size, order)


def damage(rng: random.Random, data: bytes, *, head: int = 200) -> bytes:
    """Change, cut, repeat or insert bytes without any knowledge, half of the time near the beginning."""
    data = bytearray(data)
    if not data:
        return bytes(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), head)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[rng.randrange(end)] = rng.choice((*_BYTES, rng.randrange(256)))
    at, length = rng.randrange(len(data)), rng.randrange(1, 64)
    pick = rng.random()
    if pick < 0.1:
        del data[at : at + length]
    elif pick < 0.2:
        data[at:at] = data[at : at + length]
    elif pick < 0.3:
        data[at:at] = rng.randbytes(length)
    return bytes(data)


def cut(rng: random.Random, data: bytes, borders: list[int] | None = None) -> bytes:
    """End the file early: anywhere, or close to a border of its structure."""
    if borders and rng.random() < 0.6:
        return data[: max(1, rng.choice(borders) + rng.choice((-1, 0, 0, 1, 4)))]
    return data[: rng.randrange(1, max(2, len(data)))]


def change_list(rng: random.Random, parts: list) -> None:
    """Remove, repeat, exchange or move an item."""
    if not parts:
        return
    one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    pick = rng.random()
    if pick < 0.3:
        del parts[one]
    elif pick < 0.6:
        parts[other:other] = [parts[one]] * rng.choice((1, 1, 1, 2, 30))
    elif pick < 0.8:
        parts[one], parts[other] = parts[other], parts[one]
    else:
        parts.append(parts.pop(one))
