"""The objective in one piece or in tiles, as memory allows, and in smaller ones when it does not."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.objective import (
    Network,
    Objective,
    Targets,
    Terms,
    compute_targets,
    make_objective,
    preprocess,
)
from neural_style_tf.tiling.memory_model import smaller_tile
from neural_style_tf.tiling.tiled import compute_targets_tiled, make_tiled_objective

OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """image → (terms, gradient), as `objective.make_objective`, in one piece or in tiles.

    Attributes:
        network, targets, config: As for `objective.make_objective`.
        size: (H, W) of the image.
        tile: The longest side of a tile's core; None for one piece.
        notes: What the user should know of how it came to this.
    """

    network: Network
    targets: Targets
    config: Config
    size: tuple[int, int]
    tile: int | None
    notes: tuple[str, ...] = ()

    def __call__(self, image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        """Return the terms and the gradient [1, H, W, 3] of an image [1, H, W, 3]."""
        return self._function(image)

    @functools.cached_property
    def _function(self) -> Objective:
        """One for all callers, so that it is traced once."""
        if self.tile is None:
            return make_objective(self.network, self.targets, self.config)
        shape = (1, *self.size, 3)
        return make_tiled_objective(self.network, self.targets, self.config, shape, tile=self.tile)

    def smaller(self) -> Pieces | None:
        """Return the same function in smaller tiles, or None if there are none."""
        tile = smaller_tile(self.tile, self.size)
        return None if tile is None else dataclasses.replace(self, tile=tile)


def make_pieces(
    network: Network,
    content: np.ndarray,
    style: np.ndarray,
    config: Config,
    *,
    tile: int | None,
    style_network: Network | None = None,
) -> Pieces:
    """Compute the targets and return the objective; with smaller tiles than `tile` if memory runs out.

    Args:
        network: A model from `vgg.vgg19` with all of `config.layers`.
        content: [H, W, 3], RGB 0–255.
        style: Likewise, of any size.
        config: Layers, weights and forms of the losses.
        tile: The longest side of a tile's core; None for one piece.
        style_network: Sees the style picture instead of `network`.
    """
    pictures = content[np.newaxis], style[np.newaxis]
    nothing = Pieces(network, Targets({}, {}), config, content.shape[:2], tile)
    while True:
        try:
            if nothing.tile is None:
                targets = compute_targets(
                    network, *map(_prepared, pictures), config, style_network=style_network
                )
            else:
                targets = compute_targets_tiled(
                    network,
                    *pictures,
                    config,
                    tile=nothing.tile,
                    prepare=_prepared,
                    style_network=style_network,
                )
            return dataclasses.replace(nothing, targets=targets)
        except OUT_OF_MEMORY:
            smaller = nothing.smaller()
            if smaller is None:
                raise
            nothing = dataclasses.replace(smaller, notes=(tile_note(smaller.tile),))


def _prepared(window: np.ndarray) -> tf.Tensor:
    return preprocess(window[0])


def tile_note(tile: int) -> str:
    """Return what a run says when memory did not suffice."""
    return f"out of memory: going on in pieces of {tile} pixels"
