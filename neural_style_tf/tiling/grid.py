"""Divide a picture into tiles, and assign tiles to replicas. Does not import TensorFlow."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from neural_style_tf.errors import UserError

MORE = 4
"""How many divisions of each axis `plan_shares` tries, the coarsest first, to make the shares equal."""

Span = tuple[int, int, int, int]
"""One axis of a tile: start and stop of its core, then start and stop of its window, in pixels."""


class Tile(NamedTuple):
    """A tile of a picture: its core, and the window that the network sees to compute it.

    Both are (top, bottom, left, right) in pixels; bottom and right are excluded. The cores of all tiles cover
    the picture without overlap. A window is the core and its halo, the pixels around it on which the features
    of the core depend.
    """

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


def plan_tiles(height: int, width: int, tile: int, *, stride: int, halo: int) -> tuple[Tile, ...]:
    """Divide a picture into tiles, row by row. If it is no larger than `tile`, return a single tile.

    Along each axis, cores are at most `tile` pixels long, and as equal as the stride allows. Cores and
    windows begin at multiples of `stride`. Inside the picture, a window extends beyond its core by `halo`,
    which is a multiple of the stride. Windows have at most three lengths (at the start, inside, at the end),
    so there are at most nine shapes. No window is longer than `tile` + 2 `halo`.
    """
    if tile < stride:
        raise UserError(f"--tile must be at least {stride} with these layers, not {tile}")
    return _grid(*(_plan_axis(length, tile, stride, halo) for length in (height, width)))


def _plan_axis(length: int, tile: int, stride: int, halo: int) -> list[Span]:
    cells = -(-length // stride)
    count = -(-cells // (tile // stride))
    longest = -(-cells // count) * stride
    starts = [cells * k // count * stride for k in range(count)]
    # Windows are as long as if all cores had the longest length, so that all windows inside the picture have
    # one length.
    windows = [(max(0, start - halo), min(length, start + longest + halo)) for start in starts]
    # If cores are shorter than the halo, several windows touch the same end of the picture. All of these are
    # made as long as the longest one. If a window touches both ends, every window touches an end. So there
    # are never more than three lengths.
    last_start = min((a for a, b in windows if a > 0 and b == length), default=0)
    first_stop = max((b for a, b in windows if a == 0 and b < length), default=length)
    return [
        (start, stop, last_start if a > 0 and b == length else a, first_stop if a == 0 and b < length else b)
        for start, stop, (a, b) in zip(starts, [*starts[1:], length], windows, strict=True)
    ]


def _grid(rows: Sequence[Span], columns: Sequence[Span]) -> tuple[Tile, ...]:
    return tuple(Tile(row[:2] + column[:2], row[2:] + column[2:]) for row in rows for column in columns)


def window_area(tile: Tile) -> int:
    """Return the number of pixels in the window of `tile`, which is its cost."""
    top, bottom, left, right = tile.window
    return (bottom - top) * (right - left)


def share_out(plan: Sequence[Tile], replicas: int) -> tuple[tuple[Tile, ...], ...]:
    """Assign each tile of `plan`, the largest first, to the replica with the least work.

    A replica without work gets a tile with an empty core.
    """
    shares: list[list[Tile]] = [[] for _ in range(replicas)]
    loads = [(0, number) for number in range(replicas)]
    for tile in sorted(plan, key=window_area, reverse=True):
        load, number = loads[0]
        shares[number].append(tile)
        heapq.heapreplace(loads, (load + window_area(tile), number))
    top, bottom, left, right = min(plan, key=window_area).window
    # The window contains the core, as in every tile.
    idle = Tile((0, 0, 0, 0), (0, bottom - top, 0, right - left))
    return tuple(tuple(sorted(share)) or (idle,) for share in shares)


def plan_shares(
    height: int, width: int, *, tile: int | None, replicas: int, stride: int, halo: int
) -> tuple[tuple[Tile, ...], ...]:
    """Return the tiles of each replica, such that the busiest replica has as little work as possible.

    The arguments are those of `plan_tiles`. If `tile` is None, each replica gets one band of the picture.
    """

    def spans(length: int, count: int) -> tuple[Span, ...]:
        longest = math.ceil(math.ceil(length / stride) / count) * stride
        return tuple(_plan_axis(length, longest, stride, halo))

    if tile is None:
        longer = bands(max(height, width), replicas, stride=stride, halo=halo)
        whole = ((0, min(height, width), 0, min(height, width)),)
        return share_out(_grid(*((longer, whole) if height >= width else (whole, longer))), replicas)
    fewest = [math.ceil(math.ceil(side / stride) / (tile // stride)) for side in (height, width)]
    rows, columns = (
        {spans(side, count) for count in range(least, least + MORE)}
        for side, least in zip((height, width), fewest, strict=True)
    )
    shares = [share_out(_grid(row, column), replicas) for row in sorted(rows) for column in sorted(columns)]
    return min(shares, key=lambda share: (max(sum(map(window_area, part)) for part in share), len(share[0])))


def bands(length: int, count: int, *, stride: int, halo: int) -> tuple[Span, ...]:
    """Divide `length` into `count` bands, or fewer if it is short, with windows of about equal length.

    Cores begin at multiples of `stride`. The first and the last window have a halo on one side only, so their
    cores are longer. If windows would hardly be longer than two halos, the cores are made equal instead.
    """
    cells, margin = -(-length // stride), halo // stride
    window = (cells + 2 * margin * (count - 1)) / count
    stops = [round(k * (window - 2 * margin) + margin) for k in range(1, count)]
    if window <= 2 * margin + 1:
        stops = [cells * k // count for k in range(1, count)]
    edges = [stride * stop for stop in sorted({0, *stops})] + [length]
    return tuple(
        (start, stop, max(0, start - halo), min(length, stop + halo))
        for start, stop in itertools.pairwise(edges)
    )
