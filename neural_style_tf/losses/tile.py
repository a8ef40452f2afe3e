"""The rectangle of a tile: its core and its window; without TensorFlow."""

from __future__ import annotations

from typing import NamedTuple


class Tile(NamedTuple):
    """A tile of a picture: its core, and the window around it that the network is shown.

    Each is (top, bottom, left, right) in pixels, bottom and right not included. The cores of all tiles are a
    partition of the picture. A window is its core and the halo that the network must see to know the features
    of the core.
    """

    core: tuple[int, int, int, int]
    window: tuple[int, int, int, int]
