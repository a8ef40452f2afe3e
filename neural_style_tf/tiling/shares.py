"""Divide the tiles of a picture among replicas so that all have about as much to do; without TensorFlow."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence

from neural_style_tf.tiling.grid import Tile, plan_tiles

MORE = 4
"""How many more rows and columns of tiles than necessary are tried to make the shares equal."""


def window_area(tile: Tile) -> int:
    """Return the cost of a tile, in pixels that the network sees."""
    top, bottom, left, right = tile.window
    return (bottom - top) * (right - left)


def share_out(plan: Sequence[Tile], replicas: int) -> tuple[tuple[Tile, ...], ...]:
    """Give each tile, the largest first, to the replica with the least to do.

    Args:
        plan: All tiles.
        replicas: How many share them.

    Returns:
        The tiles of each replica, at least one: with nothing else to do, one without a core.
    """
    shares: list[list[Tile]] = [[] for _ in range(replicas)]
    loads = [(0, number) for number in range(replicas)]
    for tile in sorted(plan, key=window_area, reverse=True):
        load, number = loads[0]
        shares[number].append(tile)
        heapq.heapreplace(loads, (load + window_area(tile), number))
    top, bottom, left, right = min(plan, key=window_area).window
    # Where a core of nothing lies within its window.
    idle = Tile((0, 0, 0, 0), (0, bottom - top, 0, right - left))
    return tuple(tuple(sorted(share)) or (idle,) for share in shares)


def plan_shares(
    height: int, width: int, *, tile: int | None, replicas: int, stride: int, halo: int
) -> tuple[tuple[Tile, ...], ...]:
    """Divide a picture into tiles so that the replica with the most to do has as little as possible.

    Args:
        height: Of the picture.
        width: Of the picture.
        tile: The longest side of a core; None: as large as the shares are.
        replicas: How many share it.
        stride: Cores and windows begin at its multiples.
        halo: How far a window reaches beyond its core.

    Returns:
        The tiles of each replica.
    """

    def spans(length: int, count: int) -> tuple[tuple[int, ...], ...]:
        longest = math.ceil(math.ceil(length / stride) / count) * stride
        column = plan_tiles(length, 1, longest, stride=stride, halo=halo)
        return tuple((*one.core[:2], *one.window[:2]) for one in column)

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


def bands(length: int, count: int, *, stride: int, halo: int) -> tuple[tuple[int, int, int, int], ...]:
    """Divide a length so that windows, not cores, are equal: those at the ends have one halo only.

    Returns:
        (start, stop) of each core and of its window; fewer than `count` where the length is too short.
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


def _grid(rows: Sequence[tuple[int, ...]], columns: Sequence[tuple[int, ...]]) -> tuple[Tile, ...]:
    return tuple(Tile(row[:2] + column[:2], row[2:] + column[2:]) for row in rows for column in columns)
