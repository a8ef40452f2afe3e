"""`Objective`: a function from an image to its losses and the gradient of their weighted sum."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.losses.evaluate import Arguments, evaluate, outlined_function
from neural_style_tf.losses.guides import Guidance, Region
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
"""Function from a gradient [1, H, W, 3] and `Arguments` to the projected gradient, such as
`pixels.keep_gray`."""
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The static part of an objective: everything that is fixed in a compiled step."""

    network: Network  # computes all layers that the terms use
    terms: tuple[Term, ...]  # each has weight 1 here: the real weights are in `Arguments`
    size: tuple[int, int] | None = None  # (H, W) of the image; None: any size, but no tiles
    tile: int | None = None  # longest side of a tile's core; None: one piece, or one band per replica
    projections: tuple[Projection, ...] = ()  # applied to the gradient in this order
    replicas: Cluster | None = None  # these share the work; None: this process does it alone
    guided: tuple[tuple[str, tuple[str, ...]], ...] = ()  # each layer, and the regions with a guide there

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all losses, `total` first."""
        return ("total", *(term.name for term in self.terms))

    def __call__(self, image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
        """Return the losses of `image` [1, H, W, 3] and the gradient of `total`. Call it in a graph."""
        if self.size is not None:
            image = tf.ensure_shape(image, [1, *self.size, 3])
        losses, gradient = self._function(image, arguments)
        for project in self.projections:
            gradient = project(gradient, arguments)
        return losses, gradient

    @functools.cached_property
    def _function(self) -> Callable[[tf.Tensor, Arguments], tuple[Losses, tf.Tensor]]:
        """The evaluation without projections. It is cached, so that all callers share one trace."""
        if self.replicas is not None:
            return self._on_replicas
        plan = () if self.tile is None else plan_for(self.network, self.terms, self.size, self.tile)
        # A single tile would be the whole image.
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
            # All replicas use the chief's losses: workers that round differently would take different
            # branches.
            return self.replicas.sum(values if number == 0 else tf.zeros_like(values)), gradient

        values, gradient = self.replicas.run(on_replica, image, arguments)
        return dict(zip(self.names, tf.unstack(values), strict=True)), gradient

    def smaller(self, size: tuple[int, int]) -> Evaluation | None:
        """Return an evaluation with the same results for images of `size`, but in smaller tiles.

        Return None if there are no smaller tiles, or if there are several workers: when one of them runs out
        of memory, the others wait in a collective operation that TensorFlow cannot restart.
        """
        if self.replicas is not None and self.replicas.workers > 1:
            return None
        tile = smaller_tile(self.tile, size)
        return None if tile is None else dataclasses.replace(self, size=size, tile=tile)


class Objective:
    """What is minimised: a function from an image to its losses and the gradient of their weighted sum.

    Args:
        network: Computes all layers that the terms use; see `view.Network`.
        terms: The losses. A term of weight 0 is left out.
        content: The photo [H, W, 3], RGB 0–255, of the size of the image.
        styles: The style pictures, each [h, w, 3], RGB 0–255.
        tile: The longest side of a tile's core in pixels, which bounds the memory; None for one piece.
        guidance: The masks; default: no masks, and all styles blended everywhere.
        blend: Weight ≥ 0 of each style where several are blended; default: 1 each.
        targets: Dict from the name of each term without a source to its target.
        projections: Functions that are applied to the gradient, in this order.
        replicas: These share the work; default: this process does it alone.
        look: Replaces `compile_look`, for example to cache results; see `targets.Look`.

    Attributes:
        size: (H, W) of the image.
        terms: The losses whose weight is not 0.
        evaluation: The static part, which is fixed in a compiled step.
        arguments: The other part, which a compiled step takes as arguments: targets, weights and guides.
        notes: Lines to show to the user.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[Term],
        *,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        tile: int | None = None,
        guidance: Guidance | None = None,
        blend: Sequence[float] = (),
        targets: Mapping[str, Tree] | None = None,
        projections: tuple[Projection, ...] = (),
        replicas: Cluster | None = None,
        look: Look | None = None,
    ) -> None:
        self.terms = terms = tuple(term for term in terms if term.weight)
        self.size = size = np.shape(content)[:2]
        everywhere = Region(None, tuple(range(len(styles))))
        guidance = guidance or Guidance((everywhere,), (None,) * len(styles))
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
        """Return the losses of `image` [1, H, W, 3], mean-subtracted RGB, and the gradient of `total`."""
        return self._compiled(image, self.arguments)

    @functools.cached_property
    def _compiled(self) -> Callable[..., tuple[Losses, tf.Tensor]]:
        # Always a graph: eager calls share kernels, and oneDNN may go on using the filters of the first call.
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
    """Look at all `sources`; return their statistics, and the tile for which there was enough memory.

    `tile` is the longest side of a tile in pixels, None for one piece. If memory runs out, smaller tiles are
    tried. A style picture much larger than the image is always looked at in tiles (see `tile_to_look`). If
    there are several workers, each looks at a share of the tiles.
    """
    stride, halo = alignment_of(network, terms)
    workers, first = 1 if replicas is None else replicas.workers, tile
    if replicas is not None and tile is None:
        # With this tile, each worker looks at about an equal share.
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
    """Return the tiles of a picture of `size` (H, W), for the layers that `terms` use."""
    stride, halo = alignment_of(network, terms)
    return plan_tiles(*size, tile, stride=stride, halo=halo)


def alignment_of(network: Network, terms: Sequence[Term]) -> tuple[int, int]:
    """Return the stride and the halo, in pixels, of the deepest layer that `terms` use."""
    return network.architecture.alignment(tuple(term.layer for term in terms if term.layer))


def tile_note(tile: int) -> str:
    """Return the line that a run prints when memory ran out and it goes on with `tile`."""
    return f"out of memory: going on in pieces of {tile} pixels"
