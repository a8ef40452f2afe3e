"""Carry out the plan: the objective in one piece or in tiles, smaller ones after out-of-memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.base import Target, Term
from neural_style_tf.losses.evaluate import Losses, Targets, evaluate, outlined_function
from neural_style_tf.losses.objective import preprocess
from neural_style_tf.losses.targets import Look, Source, compile_look, compute_targets
from neural_style_tf.losses.tile import Tile
from neural_style_tf.losses.view import Network
from neural_style_tf.tiling.grid import alignment_of, plan_for
from neural_style_tf.tiling.memory_model import smaller_tile, tile_to_look

OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


@dataclasses.dataclass(frozen=True, eq=False)
class LocalObjective:
    """The objective on this process alone, in one piece or in tiles; see `losses.objective.Objective`.

    Attributes:
        network: Has all layers of the terms.
        terms: What is minimised.
        size: (H, W) of the image; None for all sizes, in one piece only.
        tile: The longest side of a tile's core; None for one piece.
    """

    network: Network
    terms: tuple[Term, ...]
    size: tuple[int, int] | None
    tile: int | None

    def __call__(
        self, image: tf.Tensor, targets: Targets, weights: Mapping[str, Any]
    ) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient [1, H, W, 3] of an image [1, H, W, 3]."""
        if self.size is not None:
            image = tf.ensure_shape(image, [1, *self.size, 3])
        return self._function(image, targets, weights)

    @functools.cached_property
    def _function(self) -> Callable[..., tuple[Losses, tf.Tensor]]:
        """One for all callers, so that it is traced once."""
        plan = () if self.tile is None else plan_for(self.terms, *self.size, self.tile)
        # A single tile is all of the image.
        plan = plan if len(plan) > 1 else None

        def function(
            image: tf.Tensor, targets: Targets, weights: Mapping[str, Any]
        ) -> tuple[Losses, tf.Tensor]:
            return evaluate(self.network, self.terms, image, targets, weights, plan)

        return outlined_function(function) if plan is None else function

    def smaller(self, size: tuple[int, int]) -> LocalObjective | None:
        """Return the same function in smaller tiles, or None if there are none."""
        tile = smaller_tile(self.tile, size)
        return None if tile is None else dataclasses.replace(self, size=size, tile=tile)


def compute_local_targets(
    network: Network,
    terms: tuple[Term, ...],
    sources: Sequence[Source],
    *,
    size: tuple[int, int],
    tile: int | None,
    given: Mapping[str, Target] | None = None,
    style_network: Network | None = None,
    look: Look = compile_look,
) -> tuple[Targets, int | None, tuple[str, ...]]:
    """Compute the targets of a run in this process alone; in smaller tiles than `tile` if memory runs out.

    A style picture much larger than the image is looked at in tiles in any case; see `tile_to_look`.

    Args:
        network: A model from `models.vgg19` with all layers of the terms.
        terms: Whose targets.
        sources: The pictures, content first, each [1, H, W, 3], RGB 0–255.
        size: (H, W) of the image.
        tile: The longest side of a tile's core; None for one piece.
        given: See `losses.targets.given_leaves`.
        style_network: Sees the style pictures instead of `network`.
        look: See `losses.targets.gather_targets`.

    Returns:
        The targets, the tile that sufficed, and a note if it is not `tile`.
    """

    def targets_in(tile: int | None) -> Targets:
        return compute_targets(
            network,
            terms,
            sources,
            given=given,
            plans=plan_looks(terms, sources, size, tile),
            prepare=prepare_window,
            style_network=style_network,
            look=look,
        )

    return with_less_memory(targets_in, tile, size)


def plan_looks(
    terms: Sequence[Term], sources: Sequence[Source], size: tuple[int, int], tile: int | None
) -> list[tuple[Tile, ...] | None]:
    """Return the tiles in which each source is looked at; None for one piece; see `tile_to_look`."""
    _, halo = alignment_of(terms)
    tiles = [tile_to_look(source.size, size, tile, halo=halo) for source in sources]
    return [one and plan_for(terms, *source.size, one) for source, one in zip(sources, tiles, strict=True)]


def with_less_memory(
    compute: Callable[[int | None], Any], tile: int | None, size: tuple[int, int]
) -> tuple[Any, int | None, tuple[str, ...]]:
    """Compute something in tiles, in smaller ones when memory runs out.

    Args:
        compute: Longest side of a tile, or None for one piece → the result.
        tile: The first to try.
        size: (H, W) of the image.

    Returns:
        The result, the tile that sufficed, and a note if it is not the first.
    """
    notes: tuple[str, ...] = ()
    while True:
        try:
            return compute(tile), tile, notes
        except OUT_OF_MEMORY:
            smaller = smaller_tile(tile, size)
            if smaller is None:
                raise
            tile, notes = smaller, (tile_note(smaller),)


def prepare_window(window: np.ndarray) -> tf.Tensor:
    """Return what the network is shown of a window [1, H, W, 3] of a picture, RGB 0–255."""
    return preprocess(window[0])


def tile_note(tile: int) -> str:
    """Return what a run says when memory did not suffice."""
    return f"out of memory: going on in pieces of {tile} pixels"
