"""Divide a picture into a grid of tiles; without TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from neural_style_tf.errors import UserError


class Tile(NamedTuple):
    """A tile of a picture: its core, and the window around it that the network is shown.

    Each is (top, bottom, left, right) in pixels, bottom and right not included. The cores of all tiles are a
    partition of the picture. A window is its core and the halo that the network must see to know the features
    of the core.
    """

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]


def plan_tiles(height: int, width: int, tile: int, *, stride: int, halo: int) -> tuple[Tile, ...]:
    """Divide a picture into tiles.

    Along each axis cores are as equal as the stride allows, and windows have at most three lengths (at
    the start, inside, at the end), none above `tile` + 2 `halo`: nine shapes at most.

    Args:
        height: Of the picture, ≥ 1.
        width: Of the picture, ≥ 1.
        tile: The longest side of a core, in pixels; rounded down to a multiple of the stride.
        stride: Cores and windows begin at its multiples.
        halo: How far a window reaches beyond its core inside the picture; a multiple of the stride.

    Returns:
        The tiles, row by row; a single one if the picture is no larger than `tile`.

    Raises:
        UserError: `tile` is smaller than the stride.
    """
    if tile < stride:
        raise UserError(f"--tile must be at least {stride} with these layers, not {tile}")
    rows, columns = (_plan_axis(length, tile, stride, halo) for length in (height, width))
    return tuple(Tile(row[:2] + column[:2], row[2:] + column[2:]) for row in rows for column in columns)


def _plan_axis(length: int, tile: int, stride: int, halo: int) -> list[tuple[int, int, int, int]]:
    cells = -(-length // stride)
    count = -(-cells // (tile // stride))
    longest = -(-cells // count) * stride
    starts = [cells * k // count * stride for k in range(count)]
    # As if all cores were of the longest, so that the windows inside the picture are of one length.
    windows = [(max(0, start - halo), min(length, start + longest + halo)) for start in starts]
    # With cores shorter than the halo several windows touch an end of the picture: they become the
    # largest of them. Where one touches both ends, none touches neither: never more than three lengths.
    last_start = min((a for a, b in windows if a > 0 and b == length), default=0)
    first_stop = max((b for a, b in windows if a == 0 and b < length), default=length)
    return [
        (start, stop, last_start if a > 0 and b == length else a, first_stop if a == 0 and b < length else b)
        for start, stop, (a, b) in zip(starts, [*starts[1:], length], windows, strict=True)
    ]
