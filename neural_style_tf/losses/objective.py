"""`Objective`: image → (losses, gradient of their weighted sum), in one piece, in tiles, or shared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.losses.evaluate import Arguments, evaluate, outlined_function
from neural_style_tf.losses.guides import EVERYWHERE, Guidance
from neural_style_tf.losses.targets import (
    Look,
    Source,
    Statistics,
    gather_statistics,
    make_sources,
    make_targets,
)
from neural_style_tf.losses.term import Term, Tree
from neural_style_tf.losses.view import Network
from neural_style_tf.optim import Losses
from neural_style_tf.tiling.grid import Tile, plan_shares, plan_tiles, share_out
from neural_style_tf.tiling.memory_model import smaller_tile, tile_to_look

Projection = Callable[[tf.Tensor, Arguments], tf.Tensor]
"""(Gradient [1, H, W, 3], arguments) → its projection, such as `pixels.keep_gray`."""
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The static part of an objective: what a compiled step depends on."""

    network: Network  # has all layers of the terms
    terms: tuple[Term, ...]  # what is minimised, each with weight 1; the weights are arguments
    size: tuple[int, int] | None = None  # (H, W) of the image; None for all sizes, in one piece only
    tile: int | None = None  # the longest side of a tile's core; None for one piece, or one band per replica
    projections: tuple[Projection, ...] = ()  # applied to the gradient, one after the other
    replicas: Cluster | None = None  # they share the work; None: this process alone
    guided: tuple[tuple[str, tuple[str, ...]], ...] = ()  # each layer with the names of its guides

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all losses, `total` first."""
        return ("total", *(term.name for term in self.terms))

    def __call__(self, image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient [1, H, W, 3] of an image [1, H, W, 3]; in a graph."""
        if self.size is not None:
            image = tf.ensure_shape(image, [1, *self.size, 3])
        losses, gradient = self._function(image, arguments)
        for project in self.projections:
            gradient = project(gradient, arguments)
        return losses, gradient

    @functools.cached_property
    def _function(self) -> Callable[[tf.Tensor, Arguments], tuple[Losses, tf.Tensor]]:
        """Cached, so that all callers trace it once."""
        if self.replicas is not None:
            return self._on_replicas
        plan = () if self.tile is None else plan_for(self.network, self.terms, self.size, self.tile)
        # A single tile is all of the image.
        plan = plan if len(plan) > 1 else None

        def function(image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
            return evaluate(self.network, self.terms, image, arguments, plan)

        return outlined_function(function)

    def _on_replicas(self, image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
        stride, halo = alignment_of(self.network, self.terms)
        count = self.replicas.replicas
        shares = plan_shares(*self.size, tile=self.tile, replicas=count, stride=stride, halo=halo)

        def on_replica(number: int, image: tf.Tensor, arguments: Arguments) -> tuple[tf.Tensor, tf.Tensor]:
            losses, gradient = evaluate(
                self.network, self.terms, image, arguments, shares[number], self.replicas.sum
            )
            values = tf.stack([losses[name] for name in self.names])
            # All use the chief's losses: workers that round differently would take different branches.
            return self.replicas.sum(values if number == 0 else tf.zeros_like(values)), gradient

        values, gradient = self.replicas.run(on_replica, image, arguments)
        return dict(zip(self.names, tf.unstack(values), strict=True)), gradient

    def smaller(self, size: tuple[int, int]) -> Evaluation | None:
        """Return the same function of images of `size` in smaller tiles, or None if there are none.

        Several workers have none: when one of them runs out of memory, the others wait in a collective
        operation that TensorFlow cannot restart.
        """
        if self.replicas is not None and self.replicas.workers > 1:
            return None
        tile = smaller_tile(self.tile, size)
        return None if tile is None else dataclasses.replace(self, size=size, tile=tile)


class Objective:
    """What is minimised: image → (losses, gradient of their weighted sum).

    Args:
        network: Has all layers of the terms; see `view.Network`.
        terms: The losses. One of weight 0 is left out.
        content: The photo [H, W, 3], RGB 0–255, of the size of the image.
        styles: The style pictures, each [h, w, 3], RGB 0–255.
        tile: The longest side of a tile's core in pixels, for bounded memory; None for one piece.
        guidance: Masks; default: the first style everywhere.
        blend: Weight ≥ 0 of each style where several are blended; default: 1 each.
        targets: Targets of terms without a source, by name.
        projections: Applied to the gradient, one after the other.
        replicas: They share the work; default: this process alone.
        look: See `targets.gather_statistics`.

    Attributes:
        size: (H, W) of the image.
        terms: The losses whose weight is not 0.
        evaluation: The static part.
        arguments: The rest: targets, weights, guides.
        notes: Lines for the user.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[Term],
        *,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        tile: int | None = None,
        guidance: Guidance = EVERYWHERE,
        blend: Sequence[float] = (),
        targets: Mapping[str, Tree] | None = None,
        projections: tuple[Projection, ...] = (),
        replicas: Cluster | None = None,
        look: Look | None = None,
    ) -> None:
        self.terms = terms = tuple(term for term in terms if term.weight)
        self.size = size = np.shape(content)[:2]
        sources = make_sources(
            terms,
            np.asarray(content)[np.newaxis],
            [np.asarray(style)[np.newaxis] for style in styles],
            guidance=guidance,
            blend=blend,
        )
        statistics, possible = look_at(network, terms, sources, size, tile, replicas, look)
        all_targets = make_targets(terms, sources, statistics, targets or {}, network.architecture)
        self.notes = () if possible == tile else (tile_note(possible),)
        fixed = None if possible is None and replicas is None else size
        static = tuple(dataclasses.replace(term, weight=1.0) for term in terms)
        guides = guidance.guides(terms)
        guided = tuple((layer, tuple(regions)) for layer, regions in guides.items())
        self.evaluation = Evaluation(network, static, fixed, possible, projections, replicas, guided)
        self.arguments = Arguments(
            all_targets,
            {term.name: tf.constant(term.weight, tf.float32) for term in terms},
            {
                layer: {name: tf.constant(guide) for name, guide in regions.items()}
                for layer, regions in guides.items()
            },
        )

    def __call__(self, image: tf.Tensor) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient [1, H, W, 3] of an image [1, H, W, 3], mean-subtracted RGB."""
        return self._compiled(image, self.arguments)

    @functools.cached_property
    def _compiled(self) -> Callable[..., tuple[Losses, tf.Tensor]]:
        # Always a graph: eager calls share kernels, and oneDNN may keep the filters of the first.
        return tf.function(self.evaluation, autograph=False)


def look_at(
    network: Network,
    terms: Sequence[Term],
    sources: Sequence[Source],
    size: tuple[int, int],
    tile: int | None,
    replicas: Cluster | None,
    look: Look | None,
) -> tuple[list[Statistics], int | None]:
    """Return `gather_statistics` of all sources, and the tile for which memory sufficed.

    A style picture much larger than the image is looked at in tiles in any case (see `tile_to_look`). Each of
    several workers looks at a share. `tile` is the first to try, None for one piece.
    """
    stride, halo = alignment_of(network, terms)
    workers, first = 1 if replicas is None else replicas.workers, tile
    if replicas is not None and tile is None:
        # So each worker looks at about an equal share.
        longest = max((side for source in sources for side in source.size), default=0)
        first = max(stride, -(-longest // workers))

    def plan(source: Source, tile: int | None) -> tuple[Tile, ...] | None:
        tile = tile_to_look(source.size, size, tile, halo=halo)
        tiles = None if tile is None else plan_for(network, terms, source.size, tile)
        return tiles if replicas is None else share_out(tiles, workers)[replicas.rank]

    possible = first
    while True:
        try:
            plans = [plan(source, possible) for source in sources]
            statistics = gather_statistics(network, sources, plans=plans, look=look)
            break
        except OUT_OF_MEMORY:
            # Other workers would wait in vain; see `Evaluation.smaller`.
            smaller = smaller_tile(possible, size) if workers == 1 else None
            if smaller is None:
                raise
            possible = smaller
    if replicas is not None:
        statistics = tf.nest.map_structure(replicas.all_reduce_sum, statistics)
    return statistics, tile if possible == first else possible


def plan_for(network: Network, terms: Sequence[Term], size: tuple[int, int], tile: int) -> tuple[Tile, ...]:
    """Return `plan_tiles` for the layers of some terms; raises as it does."""
    stride, halo = alignment_of(network, terms)
    return plan_tiles(*size, tile, stride=stride, halo=halo)


def alignment_of(network: Network, terms: Sequence[Term]) -> tuple[int, int]:
    """Return the stride and the halo of the deepest layer of some terms."""
    return network.architecture.alignment(tuple(term.layer for term in terms if term.layer))


def tile_note(tile: int) -> str:
    """Return the line that a run prints when memory ran out."""
    return f"out of memory: going on in pieces of {tile} pixels"
