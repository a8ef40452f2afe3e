"""The loss terms, chosen from settings, and their weights: content, Gram style, TV; add a new loss here.

A new loss is one class (see `base.Term`) and one entry in `STYLE_TERMS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import tensorflow as tf

from neural_style_tf.config.schema import LossConfig
from neural_style_tf.losses import functional
from neural_style_tf.losses.base import Shape, StyleTerm, Sums, Target, Term, loss_parts
from neural_style_tf.losses.guides import EVERYWHERE, Guidance
from neural_style_tf.losses.moments import MomentsTerm
from neural_style_tf.losses.temporal import TemporalTerm
from neural_style_tf.losses.view import View
from neural_style_tf.losses.wasserstein import WassersteinTerm


@dataclasses.dataclass(frozen=True)
class ContentTerm(Term):
    """L_content of one layer (Eq. 1).

    Args:
        layer: Where features are compared.
        form: See `functional.content_distance`.
        weighted: Whether its target has a leaf `guide`, the weight of each position's error.
    """

    part: ClassVar[str] = "content"
    source: ClassVar[str] = "content"

    form: str = "mean"
    weighted: bool = False

    @property
    def maps(self) -> Mapping[str, str]:
        return {"features": self.layer} | ({"guide": self.layer} if self.weighted else {})

    def target_maps(self, view: View) -> Target:
        return {"features": view.features(self.layer)}

    def target_sums(self, view: View) -> Sums:
        # To sum it anew for each evaluation would take as much memory as the features.
        return functional.energy_sum(view.features(self.layer)) if self.form == "relative" else ()

    def fit(self, sums: Sums, count: float) -> Target:
        return {"energy": sums} if self.form == "relative" else {}

    def sums(self, view: View, target: Target) -> Sums:
        cropped = {leaf: view.crop(target[leaf], self.layer) for leaf in self.maps}
        return functional.content_error(view.features(self.layer), cropped["features"], cropped.get("guide"))

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        return tf.zeros([], dtype)

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        return functional.content_distance(sums, target["features"], self.form, squares=target.get("energy"))


@dataclasses.dataclass(frozen=True)
class GramTerm(StyleTerm):
    """E_l, how far the Gram matrix of one layer is from that of the style picture (Eq. 4).

    Args:
        layer: Whose features are correlated.
        region: See `base.StyleTerm`.
        form: See `functional.style_distance`.
        normalization: See `functional.normalize_gram`.
    """

    form: str = "mean"
    normalization: str = "elements"

    def target_sums(self, view: View) -> Sums:
        return view.gram_sum(self.layer, self.region)

    def fit(self, sums: Sums, count: float) -> Target:
        return {"gram": functional.normalize_gram(sums, count, self.normalization)}

    def sums(self, view: View, target: Target) -> Sums:
        return view.gram_sum(self.layer, self.region)

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        return tf.zeros_like(target["gram"])

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        gram = functional.normalize_gram(sums, self.count(target, shape), self.normalization)
        return functional.style_distance(gram, target["gram"], self.form)


@dataclasses.dataclass(frozen=True)
class VariationTerm(Term):
    """Total variation, which smooths noise; see `functional.total_variation`."""

    part: ClassVar[str] = "tv"

    def sums(self, view: View, target: Target) -> Sums:
        # With the row below the core and the column right of it, so that each pair counts once.
        below, beside = view.pixels(below=1), view.pixels(right=1)
        if below is beside:
            return functional.neighbour_differences(below)
        return functional.neighbour_differences(below)[0], functional.neighbour_differences(beside)[1]

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        return tf.zeros([], dtype), tf.zeros([], dtype)

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        return functional.variation_mean(*sums, shape)


GRAM_FORMS = ("mean", "gatys", "relative")

STYLE_TERMS: Mapping[str, Callable[[str, int, LossConfig], StyleTerm]] = MappingProxyType(
    dict.fromkeys(
        GRAM_FORMS, lambda layer, region, config: GramTerm(layer, region, config.style_loss, config.gram)
    )
    | {
        "moments": lambda layer, region, config: MomentsTerm(layer, region),
        "wasserstein": lambda layer, region, config: WassersteinTerm(layer, region),
    }
)
"""`--style_loss` → (layer, number of the region, settings) → the term."""


def make_terms(config: LossConfig, guidance: Guidance = EVERYWHERE) -> tuple[Term, ...]:
    """Return the terms of Eq. 7, L = α L_content + β L_style, with total variation.

    Args:
        config: Layers and forms of the losses.
        guidance: The regions of the picture; one that a layer cannot tell has no term there.

    Returns:
        The terms, in the order in which they are logged.
    """
    weighted = guidance.content is not None
    content = tuple(ContentTerm(layer, config.content_loss, weighted) for layer, _ in config.content_layers)
    make = STYLE_TERMS[config.style_loss]
    style = tuple(
        make(layer, 0 if region.mask is None else number + 1, config)
        for number, region in enumerate(guidance.regions)
        for layer, _ in config.style_layers
        if guidance.styles_of(number, layer)
    )
    temporal = (TemporalTerm(),) if guidance.warped is not None else ()
    return (VariationTerm(), *temporal, *content, *style)


def term_weights(config: LossConfig, guidance: Guidance = EVERYWHERE) -> dict[str, float]:
    """Return the weight of each part (α, β, …) and of each term (w_l, of a region times its share).

    Returns:
        Name → weight. A name whose weight is 0 is missing, and its term stays out of the total, so that a
        term that is not finite and that nobody asked for cannot spoil it.
    """
    parts = {"content": config.content_weight, "style": config.weighted_style, "tv": config.tv_weight}
    if guidance.warped is not None:
        parts["temporal"] = config.temporal_weight
    layers = {f"content/{layer}": weight for layer, weight in config.content_layers}
    given = dict(config.style_layers)
    for term in make_terms(config, guidance):
        if isinstance(term, StyleTerm):
            layers[term.name] = given[term.layer] * guidance.share(term.place, term.layer)
    return {name: weight for name, weight in (parts | layers).items() if weight}


def loss_names(terms: tuple[Term, ...]) -> tuple[str, ...]:
    """Return the names of all losses of an evaluation, in the order in which they are logged.

    `total` is the weighted sum that is minimised. `content`, `style` and `tv`, and `temporal` of a clip, are
    its unweighted parts, each a sum over layers of w_l times the layer's loss. `content/…` and `style/…` are
    the layers' own.
    """
    layers = tuple(term.name for term in terms if term.name != term.part)
    return ("total", *loss_parts(terms), *layers)
