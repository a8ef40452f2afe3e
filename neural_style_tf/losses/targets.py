"""Compute the targets, with which the terms compare the image, from the photo and the style pictures.

Statistics are sums over positions, so they can be computed in tiles and on several replicas. With several
styles in one place, the statistics are averaged, and the target is computed from the average. A mean of raw
moments is right; a mean of covariances or of their roots is not.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.evaluate import released_gradients
from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.term import Map, Term, Tree, map_leaves
from neural_style_tf.losses.view import Network, View
from neural_style_tf.models.architecture import Architecture
from neural_style_tf.tiling.grid import Tile

Look = Callable[..., Callable[..., Any]]
"""`compile_look`, or a function with the same arguments that caches its results."""
Statistics = dict[str, Tree]
"""Dict from the name of a term to its statistic of a source. If only some tiles were visited, maps are 0
elsewhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A picture from which targets are computed: the photo or a style picture."""

    picture: tf.Tensor | np.ndarray  # [1, H, W, 3]
    terms: tuple[Term, ...]  # the terms whose targets depend on this picture
    # For each name of a term, the weight of this picture in its target. Over all sources, weights add up to
    # 1.
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    # For each layer, the weight of each position [1, H_l, W_l, 1]. Without a guide the weight is 1.
    guides: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        height, width = self.picture.shape[1:3]
        return height, width

    def count(self, layer: str, architecture: Architecture) -> float:
        """Return the number of positions of `layer`; with a guide, the sum of their weights."""
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
    """Return the sources of the targets: the photo `content` and each style picture that is used.

    Pictures are [1, H, W, 3]. `guidance` says which styles are painted where. `blend` has a weight ≥ 0 for
    each style; the default is 1 each. A style of weight 0 is left out.
    """
    sources = [Source(content, tuple(term for term in terms if term.source == "content"))]
    blend = tuple(blend) or (1.0,) * len(styles)
    for number, picture in enumerate(styles):
        shares: dict[str, float] = {}
        for term in (term for term in terms if term.source == "style"):
            together = guidance.styles_of(term.region, term.layer)
            total = sum(blend[style] for style in together)
            # If all weights are 0, the styles share equally. So the weight of a single style does not matter.
            share = blend[number] / total if total else 1 / max(len(together), 1)
            if number in together and share:
                shares[term.name] = share
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
    look: Look | None = None,
) -> list[Statistics]:
    """Return the statistics of each source.

    `plans` are the tiles of each source to visit, all or a share of them; None for one piece. `prepare` makes
    the input of the network of a part [1, H, W, 3] of a picture; default: from RGB 0–255. `look` replaces
    `compile_look`, for example to cache results.
    """
    prepare, statistics = prepare or (lambda window: preprocess(window[0])), []
    for source, plan in zip(sources, plans or [None] * len(sources), strict=True):
        guided = tuple(sorted(source.guides))
        compiled_for = functools.partial(look or compile_look, network, source.terms)
        guides = [tf.constant(source.guides[layer]) for layer in guided]
        if plan is None:
            image = prepare(source.picture)
            statistics.append(compiled_for(image.dtype, guided, tiled=False)(image, *guides))
        else:
            tiled = functools.partial(compiled_for, guided=guided, tiled=True)
            statistics.append(_look_in_tiles(tiled, source, guides, plan, prepare, network.architecture))
    return statistics


def make_targets(
    terms: Sequence[Term],
    sources: Sequence[Source],
    statistics: Sequence[Statistics],
    without_source: Mapping[str, Tree],
    architecture: Architecture,
) -> dict[str, Tree]:
    """Return a dict from the name of each term to its target.

    `statistics` are those of each whole source, in the order of `sources`. `without_source` has the targets
    of terms that look at no source; a term that it lacks gets {}.
    """
    targets: dict[str, Tree] = {}
    for term in terms:
        pairs = [
            (source, by_name[term.name])
            for source, by_name in zip(sources, statistics, strict=True)
            if term.name in by_name
        ]
        if not pairs:
            targets[term.name] = without_source.get(term.name, {})
            continue
        shares = [source.shares.get(term.name, 1.0) for source, _ in pairs]
        counts = [source.count(term.layer, architecture) for source, _ in pairs]
        targets[term.name] = term.blend([statistic for _, statistic in pairs], shares, counts)
    return targets


def compile_look(
    network: Network,
    terms: tuple[Term, ...],
    dtype: tf.DType,
    guided: tuple[str, ...] = (),
    *,
    tiled: bool,
) -> Callable[..., Statistics]:
    """Return a compiled function that computes the statistics of `terms` for a picture of any size.

    The function takes (picture, *guides); if `tiled`, it takes (window, box, *guides), where `box` is the
    `Tile` as a tensor. There is a guide for each layer of `guided`. It is always a graph: eager calls share
    kernels, and oneDNN may go on using the filters of the first call.
    """
    signature = [tf.TensorSpec([1, None, None, 3], dtype)]
    if tiled:
        signature.append(tf.TensorSpec([2, 4], tf.int32))
    signature += [tf.TensorSpec([1, None, None, 1], tf.float32)] * len(guided)

    def look(window: tf.Tensor, *rest: tf.Tensor) -> Statistics:
        box, guides = (rest[0], rest[1:]) if tiled else (None, rest)
        # In every region, a style is taken from the same part of its picture: all its terms at a layer share
        # the guide.
        by_layer = {
            layer: {term.region: guide for term in terms if term.layer == layer}
            for layer, guide in zip(guided, guides, strict=True)
        }
        view = View(network, window, box, by_layer)
        return {term.name: term.look(view) for term in terms}

    with released_gradients():
        return tf.function(look, autograph=False, input_signature=signature).get_concrete_function()


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
        # NumPy, unlike TensorFlow, returns freed memory to the system.
        return Map(np.zeros((1, rows, columns, part.shape[-1]), part.dtype.as_numpy_dtype), layer)

    def insert(layer: str | None, part: tf.Tensor, whole: Any) -> Any:
        if layer is None:
            return whole + part
        step = architecture.stride(layer)
        top, left = tile.core[0] // step, tile.core[2] // step
        whole[:, top : top + part.shape[1], left : left + part.shape[2]] = part.numpy()
        return Map(whole, layer)

    for tile in plan:
        top, bottom, left, right = tile.window
        window = prepare(source.picture[:, top:bottom, left:right])
        compiled = compiled or compiled_for(window.dtype)
        part = compiled(window, tf.constant(tile), *guides)
        whole = map_leaves(insert, part, map_leaves(blank, part) if whole is None else whole)
    return map_leaves(lambda layer, leaf: leaf if layer is None else Map(tf.constant(leaf), layer), whole)
