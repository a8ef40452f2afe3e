"""The catalogue of terms: make the terms of an objective from the settings, and sum up losses for the log."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from neural_style_tf.config.parsing import factory_of
from neural_style_tf.config.schema import LossConfig
from neural_style_tf.losses.content import Content
from neural_style_tf.losses.gram import Gram, GramAndMoments
from neural_style_tf.losses.guides import EVERYWHERE, Guidance
from neural_style_tf.losses.nearest import Nearest
from neural_style_tf.losses.temporal import Temporal
from neural_style_tf.losses.term import Term
from neural_style_tf.losses.variation import TotalVariation
from neural_style_tf.losses.wasserstein import Wasserstein


def make_terms(
    config: LossConfig, guidance: Guidance = EVERYWHERE, *, temporal: bool = False
) -> tuple[Term, ...]:
    """Return the terms of Eq. 7, L = α L_content + β L_style, and total variation, in the order of the log.

    Terms of weight 0 are left out, so that a loss that is not finite cannot spoil the total. A region that is
    too small at a layer has no term there. `guidance` has the masks. With `temporal`, a term keeps the frame
    of a clip close to the frame before.
    """
    factor = part_factors(config)
    resolved = [(guidance.architecture.resolve(layer), weight) for layer, weight in config.content_layers]
    content = [
        Content(layer, factor["content"] * weight, form=config.content_loss) for layer, weight in resolved
    ]
    make = style_term(config)
    weighted = config.weighted_style_layers
    resolved = [(guidance.architecture.resolve(layer), weight) for layer, weight in weighted]
    style = [
        make(layer, factor["style"] * weight * guidance.share(region, layer), region)
        for region in guidance.named
        for layer, weight in resolved
        if guidance.styles_of(region, layer)
    ]
    on_pixels: list[Term] = [TotalVariation(weight=factor["tv"])]
    if temporal:
        on_pixels.append(Temporal(weight=factor["temporal"]))
    return tuple(term for term in (*on_pixels, *content, *style) if term.weight)


def style_term(config: LossConfig) -> Callable[..., Term]:
    """Return a function that makes the term of `--style_loss` from a layer, a weight and a region."""
    factories = {
        "moments": GramAndMoments,
        "wasserstein": Wasserstein,
        "nearest": Nearest,
        **{
            form: functools.partial(Gram, form=form, normalization=config.gram)
            for form in ("mean", "gatys", "relative")
        },
    }
    return factories.get(config.style_loss) or factory_of("style_loss", config.style_loss, Term)


def part_factors(config: LossConfig) -> dict[str, float]:
    """Return a dict from each part to the weight that all of its terms share, such as α and β."""
    return {
        "content": config.content_weight,
        "style": config.weighted_style,
        "tv": config.tv_weight,
        "temporal": config.temporal_weight,
    }


def with_parts(
    losses: Mapping[str, float], terms: Sequence[Term], factors: Mapping[str, float]
) -> dict[str, float]:
    """Return all losses for the log: `total`, the sum of each part, and the loss of each term.

    The sum of a part is Σ w_l L_l over its terms, without the weight that they share, so that runs with other
    weights can be compared. `factors` are these shared weights, from `part_factors`; for a part that it lacks
    the weight is 1. The sum of a part without terms is 0.
    """
    parts = dict.fromkeys(("content", "style", "tv", *(term.part for term in terms)), 0.0)
    for term in terms:
        parts[term.part] += term.weight / factors.get(term.part, 1.0) * losses[term.name]
    layers = {term.name: losses[term.name] for term in terms if term.name not in parts}
    return {"total": losses["total"], **parts, **layers}
