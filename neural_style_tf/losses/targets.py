"""Compute the targets: what the terms compare the image with, from the photo and the style pictures.

What a term looks at adds over positions, and so over tiles and replicas. Of several styles in one place the
statistics are averaged first, and the target is made of the average: raw moments are linear, covariances and
roots are not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.term import Map, Term, Tree, map_leaves
from neural_style_tf.losses.view import Network, View
from neural_style_tf.models.architecture import Architecture
from neural_style_tf.tiling.grid import Tile
from neural_style_tf.utils.gradient_registry import forget, known

Look = Callable[..., Callable[..., Any]]
"""`compile_look`, or what keeps its results."""
Statistics = dict[str, Tree]
"""Name of a term → its statistic of a source, or of a share of it with zeros elsewhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A picture that targets are made of.

    Attributes:
        picture: [1, H, W, 3].
        terms: Whose targets it is part of.
        shares: Name of a term → the share of this picture among those that its target is made of.
        guides: Layer → how much each position counts [1, H_l, W_l, 1]; empty: all alike.
    """

    picture: tf.Tensor | np.ndarray
    terms: tuple[Term, ...]
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    guides: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        height, width = self.picture.shape[1:3]
        return height, width

    def count(self, layer: str, architecture: Architecture) -> float:
        """Return over how many positions of a layer its statistics are."""
        if layer in self.guides:
            return float(self.guides[layer].sum(dtype=np.float64))
        return architecture.positions(layer, *self.size)


def make_sources(
    terms: Sequence[Term],
    content: tf.Tensor | np.ndarray,
    styles: Sequence[tf.Tensor | np.ndarray],
    *,
    guidance: Guidance,
    blend: Sequence[float] = (),
) -> tuple[Source, ...]:
    """Return the sources of the targets: the photo, and each style picture that is used.

    Args:
        terms: All terms of the objective.
        content: [1, H, W, 3].
        styles: Each [1, h, w, 3], of a size of its own.
        guidance: Where each style goes, and from where it is taken.
        blend: Weight ≥ 0 of each style; default: all alike. One of weight 0 is not looked at.
    """
    sources = [Source(content, tuple(term for term in terms if term.source == "content"))]
    blend = tuple(blend) or (1.0,) * len(styles)
    for number, picture in enumerate(styles):
        shares: dict[str, float] = {}
        for term in (term for term in terms if term.source == "style"):
            here = guidance.styles_of(term.region, term.layer)
            total = sum(blend[style] for style in here)
            # Alone in its place, a style has all of it, whatever its weight.
            share = (blend[number] / total if total else 1 / len(here)) if number in here else 0.0
            shares |= {term.name: share} if share else {}
        used = tuple(term for term in terms if term.name in shares)
        guides = {term.layer: guidance.style_guide(number, term.layer) for term in used}
        guides = {layer: guide for layer, guide in guides.items() if guide is not None}
        sources.append(Source(picture, used, shares, guides))
    return tuple(source for source in sources if source.terms)


def gather_statistics(
    network: Network,
    sources: Sequence[Source],
    *,
    plans: Sequence[Sequence[Tile] | None] | None = None,
    prepare: Callable[[Any], tf.Tensor] | None = None,
    style_network: Network | None = None,
    look: Look | None = None,
) -> list[Statistics]:
    """Return the statistics of each source, or of a share of it.

    Args:
        network: Has all layers of the terms.
        sources: From `make_sources`.
        plans: For each source the tiles to visit: all, or a share, at least one; None, and the default: it is
            seen in one piece.
        prepare: Makes what the network is shown from a window [1, H, W, 3] of a picture; default: subtract
            the mean from RGB 0–255.
        style_network: Sees the style pictures instead of `network`.
        look: `compile_look`, or what keeps its results for further pictures.
    """
    prepare, found = prepare or (lambda window: preprocess(window[0])), []
    for source, plan in zip(sources, plans or [None] * len(sources), strict=True):
        seen_by = network if source.terms[0].source == "content" else style_network or network
        guided = tuple(sorted(source.guides))
        looked_at = functools.partial(look or compile_look, seen_by, source.terms)
        guides = [tf.constant(source.guides[layer]) for layer in guided]
        if plan is None:
            seen = prepare(source.picture)
            found.append(looked_at(seen.dtype, guided, tiled=False)(seen, *guides))
        else:
            compiled = functools.partial(looked_at, guided=guided, tiled=True)
            found.append(_look_in_tiles(compiled, source, guides, plan, prepare, network.architecture))
    return found


def make_targets(
    terms: Sequence[Term],
    sources: Sequence[Source],
    found: Sequence[Statistics],
    given: Mapping[str, Tree],
    architecture: Architecture,
) -> dict[str, Tree]:
    """Return name of a term → its target.

    Args:
        terms: All terms of the objective.
        sources: What targets are made of.
        found: From `gather_statistics`, over all of each source.
        given: Targets of terms that no picture is looked at for.
        architecture: Of the network.
    """
    targets: dict[str, Tree] = {}
    for term in terms:
        pairs = zip(sources, found, strict=True)
        parts = [(source, statistics[term.name]) for source, statistics in pairs if term in source.terms]
        if not parts:
            targets[term.name] = given.get(term.name, {})
            continue
        statistic = parts[0][1]
        if len(parts) > 1:
            factors = [
                source.shares[term.name] / source.count(term.layer, architecture) for source, _ in parts
            ]
            statistic = _weighted_sum([statistic for _, statistic in parts], factors)
        targets[term.name] = term.target(statistic)
    return targets


def _weighted_sum(trees: Sequence[Tree], factors: Sequence[float]) -> Tree:
    """Return the sum of statistics, each times a factor."""

    def add(_: str | None, *leaves: tf.Tensor) -> tf.Tensor:
        return sum(
            leaf * tf.constant(factor, leaf.dtype) for leaf, factor in zip(leaves, factors, strict=True)
        )

    return map_leaves(add, *trees)


def compile_look(
    network: Network,
    terms: tuple[Term, ...],
    dtype: tf.DType,
    guided: tuple[str, ...] = (),
    *,
    tiled: bool,
) -> Callable[..., Statistics]:
    """Return the compiled function from a picture of any size to the statistics of the terms.

    Always inside a graph: oneDNN's cache of reordered filters is per kernel, and eager calls of equal shape
    share one kernel.

    Args:
        network: Has all layers of the terms.
        terms: All of one source.
        dtype: Of the picture.
        guided: Layers that have a guide.
        tiled: Whether it is seen window by window.

    Returns:
        (picture, guides …), or (window, box of its tile, guides …) → statistics.
    """
    signature = [tf.TensorSpec([1, None, None, 3], dtype)]
    if tiled:
        signature.append(tf.TensorSpec([2, 4], tf.int32))
    signature += [tf.TensorSpec([1, None, None, 1], tf.float32)] * len(guided)

    def look(seen: tf.Tensor, *rest: tf.Tensor) -> Statistics:
        box, guides = (rest[0], rest[1:]) if tiled else (None, rest)
        # In whichever region a style is painted, it is taken from one part of its picture.
        by_layer = {
            layer: {term.region: guide for term in terms if term.layer == layer}
            for layer, guide in zip(guided, guides, strict=True)
        }
        view = View(network, seen, box, by_layer)
        return {term.name: term.look(view) for term in terms}

    before = known()
    function = tf.function(look, autograph=False, input_signature=signature).get_concrete_function()
    # No gradient will be taken of the targets.
    forget(known() - before)
    return function


def _look_in_tiles(
    compiled_for: Callable[[tf.DType], Callable[..., Statistics]],
    source: Source,
    guides: Sequence[tf.Tensor],
    plan: Sequence[Tile],
    prepare: Callable[[Any], tf.Tensor],
    architecture: Architecture,
) -> Statistics:
    compiled, whole = None, None

    def blank(layer: str | None, part: tf.Tensor) -> Any:
        if layer is None:
            return tf.zeros_like(part)
        rows, columns = (-(-side // architecture.stride(layer)) for side in source.size)
        # NumPy's memory, unlike TensorFlow's, goes back to the system.
        return Map(np.zeros((1, rows, columns, part.shape[-1]), part.dtype.as_numpy_dtype), layer)

    def lay(layer: str | None, part: tf.Tensor, whole: Any) -> Any:
        if layer is None:
            return whole + part
        step = architecture.stride(layer)
        top, left = tile.core[0] // step, tile.core[2] // step
        whole[:, top : top + part.shape[1], left : left + part.shape[2]] = part.numpy()
        return Map(whole, layer)

    for tile in plan:
        top, bottom, left, right = tile.window
        seen = prepare(source.picture[:, top:bottom, left:right])
        compiled = compiled or compiled_for(seen.dtype)
        part = compiled(seen, tf.constant(tile), *guides)
        whole = map_leaves(lay, part, map_leaves(blank, part) if whole is None else whole)
    return map_leaves(lambda layer, leaf: leaf if layer is None else Map(tf.constant(leaf), layer), whole)
