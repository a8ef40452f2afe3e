"""Compute the targets: what the losses compare the result with, from the photo and the style pictures.

What a style picture gives adds over its positions, and so over tiles and replicas. Of several styles in one
place the raw moments are averaged first, and the target is made of the average: raw moments are linear,
covariances and roots are not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.base import StyleTerm, Sums, Target, Term
from neural_style_tf.losses.evaluate import Targets
from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.objective import preprocess
from neural_style_tf.losses.temporal import TemporalTerm
from neural_style_tf.losses.tile import Tile
from neural_style_tf.losses.view import Network, View
from neural_style_tf.models import architecture
from neural_style_tf.utils.gradient_registry import forget, known

Look = Callable[..., Callable[..., Any]]
"""`compile_look`, or what keeps its results."""
Found = tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Sums]]
"""Name of a term → its maps, and → its sums; what a source gives, which adds over shares of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A picture that targets are made of.

    Attributes:
        picture: [1, H, W, 3].
        terms: Whose targets it is part of.
        weights: Name of a term → the weight of this picture among those that its target is made of.
        guides: Layer → how much each position counts [1, H_l, W_l, 1]; empty: all alike.
    """

    picture: tf.Tensor | np.ndarray
    terms: tuple[Term, ...]
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    guides: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        height, width = self.picture.shape[1:3]
        return height, width

    def count(self, layer: str) -> float:
        """Return over how many positions of a layer its sums are."""
        if layer in self.guides:
            return float(self.guides[layer].sum(dtype=np.float64))
        return architecture.positions(layer, *self.size) if layer else 0


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
        terms: From `terms.make_terms`.
        content: [1, H, W, 3].
        styles: Each [1, h, w, 3], of a size of its own.
        guidance: Where each style goes, and from where it is taken.
        blend: Weight ≥ 0 of each style; default: all alike. One of weight 0 is not looked at.
    """
    sources = [Source(content, tuple(term for term in terms if term.source == "content"))]
    blend = tuple(blend) or (1.0,) * len(styles)
    for number, picture in enumerate(styles):
        weights: dict[str, float] = {}
        for term in terms:
            if isinstance(term, StyleTerm):
                here = guidance.styles_of(term.place, term.layer)
                total = sum(blend[style] for style in here)
                # Alone in its place, a style has all of it, whatever its weight.
                weight = (blend[number] / total if total else 1 / len(here)) if number in here else 0.0
                weights |= {term.name: weight} if weight else {}
        used = tuple(term for term in terms if term.name in weights)
        guides = {term.layer: guidance.style_guide(number, term.layer) for term in used}
        guides = {layer: guide for layer, guide in guides.items() if guide is not None}
        sources.append(Source(picture, used, weights, guides))
    return tuple(source for source in sources if source.terms)


def given_leaves(terms: Sequence[Term], guidance: Guidance) -> dict[str, Target]:
    """Return name of a term → the leaves of its target that no network is needed for."""
    found: dict[str, Target] = {}
    for term in terms:
        if isinstance(term, StyleTerm) and term.region:
            guide = guidance.region_guide(term.place, term.layer)
            count = guide.sum(dtype=np.float64)
            found[term.name] = {"guide": tf.constant(guide), "count": tf.constant(count)}
        elif term.source == "content" and "guide" in term.maps:
            found[term.name] = {"guide": tf.constant(guidance.content_guide(term.layer))}
        elif isinstance(term, TemporalTerm):
            known = guidance.warped
            still = np.zeros(known.reliable.shape) if known.still is None else known.still
            maps = {"reliable": known.reliable, "still": still}
            leaves = {leaf: tf.constant(map_[None, ..., None], tf.float32) for leaf, map_ in maps.items()}
            found[term.name] = {"warped": preprocess(known.picture), **leaves}
    return found


def compute_targets(
    network: Network,
    terms: Sequence[Term],
    sources: Sequence[Source],
    *,
    given: Mapping[str, Target] | None = None,
    plans: Sequence[Sequence[Tile] | None] | None = None,
    prepare: Callable[[Any], tf.Tensor] = tf.convert_to_tensor,
    style_network: Network | None = None,
    look: Look | None = None,
) -> Targets:
    """Compute what the losses compare with.

    Args:
        network: Has all layers of the terms.
        terms: Whose targets.
        sources: From `make_sources`.
        given: From `given_leaves`.
        plans: For each source the tiles to visit: all, or a share, at least one; None, and the default: it is
            seen in one piece.
        prepare: Makes what the network is shown, mean-subtracted RGB, from a window of a picture.
        style_network: Sees the style pictures instead of `network`.
        look: `compile_look`, or what keeps its results for further pictures.

    Returns:
        Name of a term → its target.
    """
    found = gather_targets(
        network, sources, plans=plans, prepare=prepare, style_network=style_network, look=look
    )
    return finish_targets(terms, sources, found, given or {})


def gather_targets(
    network: Network,
    sources: Sequence[Source],
    *,
    plans: Sequence[Sequence[Tile] | None] | None = None,
    prepare: Callable[[Any], tf.Tensor] = tf.convert_to_tensor,
    style_network: Network | None = None,
    look: Look | None = None,
) -> list[Found]:
    """Return what each source gives, or a share of it, 0 elsewhere; see `compute_targets`."""
    results = []
    for source, plan in zip(sources, plans or [None] * len(sources), strict=True):
        seen_by = network if source.terms[0].source == "content" else style_network or network
        guided = tuple(sorted(source.guides))
        looked_at = functools.partial(look or compile_look, seen_by, source.terms)
        guides = [tf.constant(source.guides[layer]) for layer in guided]
        if plan is None:
            seen = prepare(source.picture)
            results.append(looked_at(seen.dtype, guided, tiled=False)(seen, *guides))
        else:
            compiled = functools.partial(looked_at, guided=guided, tiled=True)
            results.append(_look_in_tiles(compiled, source, guides, plan, prepare))
    return results


def finish_targets(
    terms: Sequence[Term],
    sources: Sequence[Source],
    found: Sequence[Found],
    given: Mapping[str, Target],
) -> dict[str, Target]:
    """Return the targets.

    Args:
        terms: Whose targets.
        sources: What they are made of.
        found: From `gather_targets`, over all of each source.
        given: From `given_leaves`.
    """
    targets: dict[str, Target] = {}
    for term in terms:
        parts = [
            (source, maps[term.name], sums[term.name])
            for source, (maps, sums) in zip(sources, found, strict=True)
            if term in source.terms
        ]
        if not parts:
            targets[term.name] = dict(given.get(term.name, {}))
            continue
        [(source, maps, sums), *others] = parts
        count = source.count(term.layer)
        if others:
            sums, count = _blend(term, parts), 1
        targets[term.name] = {**maps, **given.get(term.name, {}), **term.fit(sums, count)}
    return targets


def _blend(term: Term, parts: Sequence[tuple[Source, Any, Sums]]) -> Sums:
    """Return the weighted mean of the raw moments of several sources."""
    total: Sums = None
    for source, _, sums in parts:
        factor = source.weights[term.name] / source.count(term.layer)
        scaled = tf.nest.map_structure(functools.partial(_times, factor=factor), sums)
        total = scaled if total is None else tf.nest.map_structure(tf.add, total, scaled)
    return total


def _times(leaf: tf.Tensor, factor: float) -> tf.Tensor:
    return leaf * tf.constant(factor, leaf.dtype)


def compile_look(
    network: Network,
    terms: tuple[Term, ...],
    dtype: tf.DType,
    guided: tuple[str, ...] = (),
    *,
    tiled: bool,
) -> Callable[..., Any]:
    """Return the compiled function from a picture of any size to what the targets are made of.

    Always inside a graph: oneDNN's cache of reordered filters is per kernel, and eager calls of equal shape
    share one kernel.

    Args:
        network: Has all layers of the terms.
        terms: All of one source.
        dtype: Of the picture.
        guided: Layers that have a guide.
        tiled: Whether it is seen window by window.

    Returns:
        (picture, guides …), or (window, box of its tile, guides …) → maps, and sums.
    """
    signature = [tf.TensorSpec([1, None, None, 3], dtype)]
    if tiled:
        signature.append(tf.TensorSpec([2, 4], tf.int32))
    signature += [tf.TensorSpec([1, None, None, 1], tf.float32)] * len(guided)

    def look(seen: tf.Tensor, *rest: tf.Tensor) -> Found:
        box, guides = (rest[0], rest[1:]) if tiled else (None, rest)
        of_layer = dict(zip(guided, guides, strict=True))
        regions = [(term.layer, term.region) for term in terms if isinstance(term, StyleTerm)]
        seen_by = {
            layer: {region: guide for one, region in regions if one == layer}
            for layer, guide in of_layer.items()
        }
        view = View(network, seen, box, seen_by)
        return (
            {term.name: dict(term.target_maps(view)) for term in terms},
            {term.name: term.target_sums(view) for term in terms},
        )

    before = known()
    function = tf.function(look, autograph=False, input_signature=signature).get_concrete_function()
    # No gradient will be taken of the targets.
    forget(known() - before)
    return function


def _look_in_tiles(
    compiled_for: Callable[[tf.DType], Callable[..., Any]],
    source: Source,
    guides: Sequence[tf.Tensor],
    plan: Sequence[Tile],
    prepare: Callable[[Any], tf.Tensor],
) -> Found:
    compiled = None
    # NumPy's memory, unlike TensorFlow's, goes back to the system.
    maps: dict[str, dict[str, np.ndarray]] = {term.name: {} for term in source.terms}
    sums: dict[str, Sums] = {}
    for tile in plan:
        top, bottom, left, right = tile.window
        seen = prepare(source.picture[:, top:bottom, left:right])
        compiled = compiled or compiled_for(seen.dtype)
        parts, more = compiled(seen, tf.constant(tile), *guides)
        for term in source.terms:
            for leaf, part in parts[term.name].items():
                _lay(maps[term.name], leaf, part.numpy(), tile, term.maps[leaf], source.picture.shape)
        sums = tf.nest.map_structure(tf.add, sums, more) if sums else more
    # One at a time, so that each exists twice only while it is turned into a tensor.
    for leaves in maps.values():
        for leaf in leaves:
            leaves[leaf] = tf.constant(leaves[leaf])
    return maps, sums


def _lay(
    leaves: dict[str, np.ndarray], leaf: str, part: np.ndarray, tile: Tile, layer: str, shape: Sequence[int]
) -> None:
    """Write a tile's part of a map to its place."""
    step = architecture.stride(layer)
    if leaf not in leaves:
        rows, columns = (-(-side // step) for side in shape[1:3])
        leaves[leaf] = np.zeros((1, rows, columns, part.shape[-1]), part.dtype)
    top, left = tile.core[0] // step, tile.core[2] // step
    leaves[leaf][:, top : top + part.shape[1], left : left + part.shape[2]] = part
