"""`Objective`: image → (losses, gradient of their weighted sum), in one piece, in tiles, or shared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.evaluate import Arguments, Losses, evaluate, outlined_function
from neural_style_tf.losses.guides import EVERYWHERE, Guidance
from neural_style_tf.losses.targets import Look, Source, gather_statistics, make_sources, make_targets
from neural_style_tf.losses.term import Term, Tree
from neural_style_tf.losses.view import Network
from neural_style_tf.tiling.grid import Tile, plan_tiles
from neural_style_tf.tiling.memory_model import smaller_tile, tile_to_look
from neural_style_tf.tiling.shares import plan_shares, share_out

Projection = Callable[[tf.Tensor, Arguments], tf.Tensor]
"""(Gradient [1, H, W, 3], arguments) → what of it counts, such as `pixels.keep_gray`."""
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


class Replicas(Protocol):
    """Those who evaluate an objective together; see `distributed.replicas.Cluster`.

    Attributes:
        replicas: How many there are.
        workers: How many processes they are in.
        rank: The number of this process.
    """

    replicas: int
    workers: int
    rank: int

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call `function(number of the replica, *arguments)` on each; return what a local one does."""

    def sum(self, tree: Any) -> Any:
        """Inside `run`, return the sums over all replicas."""

    def all_reduce_sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Outside of `run`, return the sum over all workers."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The static part of an objective: what a compiled step depends on.

    Attributes:
        network: Has all layers of the terms.
        terms: What is minimised, each of weight 1; the weights are arguments.
        size: (H, W) of the image; None for all sizes, in one piece only.
        tile: The longest side of a tile's core; None for one piece, or as many bands as there are replicas.
        projections: Applied to the gradient, one after the other: (gradient, arguments) → gradient.
        replicas: Those that share the work; None: this process alone.
        guided: Each layer with the regions for which there are guides.
    """

    network: Network
    terms: tuple[Term, ...]
    size: tuple[int, int] | None = None
    tile: int | None = None
    projections: tuple[Projection, ...] = ()
    replicas: Replicas | None = None
    guided: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all losses, `total` first."""
        return ("total", *(term.name for term in self.terms))

    @property
    def alignment(self) -> tuple[int, int]:
        """The stride and the halo of tiles; see `Architecture.alignment`."""
        return alignment_of(self.network, self.terms)

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
        """One for all callers, so that it is traced once."""
        if self.replicas is not None:
            return self._on_replicas
        plan = () if self.tile is None else plan_for(self.network, self.terms, self.size, self.tile)
        # A single tile is all of the image.
        plan = plan if len(plan) > 1 else None

        def function(image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
            return evaluate(self.network, self.terms, image, arguments, plan)

        return outlined_function(function) if plan is None else function

    def _on_replicas(self, image: tf.Tensor, arguments: Arguments) -> tuple[Losses, tf.Tensor]:
        stride, halo = self.alignment
        count = self.replicas.replicas
        shares = plan_shares(*self.size, tile=self.tile, replicas=count, stride=stride, halo=halo)

        def on_replica(number: int, image: tf.Tensor, arguments: Arguments) -> tuple[tf.Tensor, tf.Tensor]:
            losses, gradient = evaluate(
                self.network, self.terms, image, arguments, shares[number], self.replicas.sum
            )
            values = tf.stack([losses[name] for name in self.names])
            # All use the chief's losses: machines that round differently would decide differently.
            return self.replicas.sum(values if number == 0 else tf.zeros_like(values)), gradient

        values, gradient = self.replicas.run(on_replica, image, arguments)
        return dict(zip(self.names, tf.unstack(values), strict=True)), gradient

    def smaller(self, size: tuple[int, int]) -> Evaluation | None:
        """Return the same function of images of `size` in smaller tiles, or None if there are none.

        Among several workers there are none: when one of them runs out of memory, the others wait in a
        collective operation that TensorFlow cannot begin anew.
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
        guidance: Masks; default: every style everywhere.
        blend: Weight of each style where several are in one place; default: all alike.
        given: Targets of terms without a source, by name.
        projections: Applied to the gradient; see `Evaluation`.
        replicas: Those that share the work; default: this process alone.
        any_size: Whether one compiled step shall serve images of all sizes; in one piece only.
        style_network: Sees the style pictures instead of `network`.
        look: See `targets.gather_statistics`.

    Attributes:
        evaluation: The static part.
        arguments: The rest: targets, weights, guides.
        notes: Lines that the user should see.
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
        given: Mapping[str, Tree] | None = None,
        projections: tuple[Projection, ...] = (),
        replicas: Replicas | None = None,
        any_size: bool = False,
        style_network: Network | None = None,
        look: Look | None = None,
    ) -> None:
        terms = tuple(term for term in terms if term.weight)
        size = np.shape(content)[:2]
        sources = make_sources(
            terms,
            np.asarray(content)[np.newaxis],
            [np.asarray(style)[np.newaxis] for style in styles],
            guidance=guidance,
            blend=blend,
        )
        looking = {"style_network": style_network, "look": look}
        found, sufficed = look_at(network, terms, sources, size, tile, replicas, **looking)
        targets = make_targets(terms, sources, found, given or {}, network.architecture)
        self.notes = () if sufficed == tile else (tile_note(sufficed),)
        fixed = None if any_size and sufficed is None and replicas is None else size
        static = tuple(dataclasses.replace(term, weight=1.0) for term in terms)
        guides = guidance.guides(terms)
        guided = tuple((layer, tuple(regions)) for layer, regions in guides.items())
        self.evaluation = Evaluation(network, static, fixed, sufficed, projections, replicas, guided)
        self.arguments = Arguments(
            targets,
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
        # In a graph of its own: oneDNN may keep filters by kernel, and eager calls share one.
        return tf.function(self.evaluation, autograph=False)


def look_at(
    network: Network,
    terms: Sequence[Term],
    sources: Sequence[Source],
    size: tuple[int, int],
    tile: int | None,
    replicas: Replicas | None,
    **looking: Any,
) -> tuple[list[Any], int | None]:
    """Return what `gather_statistics` finds of all sources, and the tile that sufficed.

    A style picture much larger than the image is looked at in tiles in any case (see `tile_to_look`). When
    memory runs out, smaller tiles are taken. Of several workers each looks at its share.

    Args:
        network: Has all layers of the terms.
        terms: All terms of the objective.
        sources: What targets are made of.
        size: (H, W) of the image.
        tile: The first to try; None for one piece.
        replicas: See `Objective`.
        **looking: See `gather_statistics`.
    """
    workers, first = 1 if replicas is None else replicas.workers, tile
    if replicas is not None and tile is None:
        # Without tiles each worker looks at about its share.
        longest = max((side for source in sources for side in source.size), default=0)
        stride, _ = alignment_of(network, terms)
        first = max(stride, -(-longest // workers))

    def attempt(tile: int | None) -> list[Any]:
        plans = plan_looks(network, terms, sources, size, tile)
        if replicas is not None:
            plans = [share_out(plan, workers)[replicas.rank] for plan in plans]
        return gather_statistics(network, sources, plans=plans, **looking)

    used = first
    while True:
        try:
            found = attempt(used)
            break
        except OUT_OF_MEMORY:
            # Of several workers the others would wait in vain; see `Evaluation.smaller`.
            smaller = smaller_tile(used, size) if workers == 1 else None
            if smaller is None:
                raise
            used = smaller
    if replicas is not None:
        found = tf.nest.map_structure(replicas.all_reduce_sum, found)
    return found, tile if used == first else used


def plan_looks(
    network: Network,
    terms: Sequence[Term],
    sources: Sequence[Source],
    size: tuple[int, int],
    tile: int | None,
) -> list[tuple[Tile, ...] | None]:
    """Return the tiles in which each source is looked at; None for one piece; see `tile_to_look`."""
    _, halo = alignment_of(network, terms)
    tiles = [tile_to_look(source.size, size, tile, halo=halo) for source in sources]
    return [
        one and plan_for(network, terms, source.size, one) for source, one in zip(sources, tiles, strict=True)
    ]


def plan_for(network: Network, terms: Sequence[Term], size: tuple[int, int], tile: int) -> tuple[Tile, ...]:
    """Return `plan_tiles` for the layers that these terms look at; raises as it does."""
    stride, halo = alignment_of(network, terms)
    return plan_tiles(*size, tile, stride=stride, halo=halo)


def alignment_of(network: Network, terms: Sequence[Term]) -> tuple[int, int]:
    """Return the stride and the halo of the deepest layer of some terms."""
    return network.architecture.alignment(tuple(term.layer for term in terms if term.layer))


def tile_note(tile: int) -> str:
    """Return what a run says when memory did not suffice."""
    return f"out of memory: going on in pieces of {tile} pixels"
