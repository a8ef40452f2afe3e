"""The terms of an objective, chosen by settings, and their sums for the log."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from neural_style_tf.config.schema import LossConfig
from neural_style_tf.errors import UserError
from neural_style_tf.losses.content import Content
from neural_style_tf.losses.gram import Gram, GramAndMoments
from neural_style_tf.losses.guides import EVERYWHERE, Guidance
from neural_style_tf.losses.temporal import Temporal
from neural_style_tf.losses.term import Term
from neural_style_tf.losses.variation import TotalVariation
from neural_style_tf.losses.wasserstein import Wasserstein


def make_terms(
    config: LossConfig, guidance: Guidance = EVERYWHERE, *, temporal: bool = False
) -> tuple[Term, ...]:
    """Return the terms of Eq. 7, L = α L_content + β L_style, with total variation.

    Args:
        config: Layers, forms and weights of the losses.
        guidance: The regions of the picture; one that a layer cannot tell has no term there.
        temporal: Whether it is held to what was painted before of a clip.

    Returns:
        The terms in the order in which they are logged. What weighs 0 is left out, so that a term that is not
        finite and that nobody asked for cannot spoil the total.
    """
    factor = part_factors(config)
    resolved = [(guidance.architecture.resolve(layer), weight) for layer, weight in config.content_layers]
    content = [
        Content(layer, factor["content"] * weight, form=config.content_loss) for layer, weight in resolved
    ]
    make = style_term(config)
    resolved = [(guidance.architecture.resolve(layer), weight) for layer, weight in config.style_layers]
    style = [
        make(layer, factor["style"] * weight * guidance.share(region, layer), region)
        for region in guidance.named
        for layer, weight in resolved
        if guidance.styles_of(region, layer)
    ]
    first = [TotalVariation(weight=factor["tv"])]
    if temporal:
        first.append(Temporal(weight=factor["temporal"]))
    return tuple(term for term in (*first, *content, *style) if term.weight)


def style_term(config: LossConfig) -> Callable[..., Term]:
    """Return what makes the term of `--style_loss`: (layer, weight, region) → term.

    Raises:
        UserError: It names a class that cannot be imported, or that is no `Term`.
    """
    known = {
        "moments": GramAndMoments,
        "wasserstein": Wasserstein,
        **{
            form: functools.partial(Gram, form=form, normalization=config.gram)
            for form in ("mean", "gatys", "relative")
        },
    }
    return known.get(config.style_loss) or import_term(config.style_loss)


def import_term(name: str) -> type[Term]:
    """Return a user's class of terms.

    Args:
        name: `package.module:Class`; the module is looked for in the working directory, too.

    Raises:
        UserError: It cannot be imported, or is no `Term`.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    try:
        sys.path.append(here)
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise UserError(
            f"--style_loss={name}: cannot be imported ({type(error).__name__}: {error}); give "
            "package.module:Class, where the module can be imported or lies in the working directory"
        ) from error
    finally:
        sys.path.remove(here)
    if not (isinstance(found, type) and issubclass(found, Term)):
        raise UserError(f"--style_loss={name}: must be a subclass of neural_style_tf.Term, not {found!r}")
    return found


def part_factors(config: LossConfig) -> dict[str, float]:
    """Return α, β and the like: part of the objective → the factor that all of its terms share."""
    return {
        "content": config.content_weight,
        "style": config.weighted_style,
        "tv": config.tv_weight,
        "temporal": config.temporal_weight,
    }


def with_parts(
    losses: Mapping[str, float], terms: Sequence[Term], factors: Mapping[str, float]
) -> dict[str, float]:
    """Return all losses for the log: `total`, the parts, and the layers' own.

    A part is Σ w_l L_l over its terms, without the factor that all of them share (α, β): comparable between
    runs that weigh it differently. A part without a term is 0.

    Args:
        losses: `total`, and each term's name → its loss.
        terms: Of the objective.
        factors: From `part_factors`; a part that is missing has 1.
    """
    parts = dict.fromkeys(("content", "style", "tv", *(term.part for term in terms)), 0.0)
    for term in terms:
        parts[term.part] += term.weight / factors.get(term.part, 1.0) * losses[term.name]
    layers = {term.name: losses[term.name] for term in terms if term.name not in parts}
    return {"total": losses["total"], **parts, **layers}
