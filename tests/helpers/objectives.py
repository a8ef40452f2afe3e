"""The objective and its targets by hand, without a run around them."""

import dataclasses

import tensorflow as tf

from neural_style_tf.losses import targets
from neural_style_tf.losses.guides import EVERYWHERE
from neural_style_tf.losses.terms import loss_names, make_terms, term_weights
from neural_style_tf.tiling.adaptive import LocalObjective
from neural_style_tf.tiling.grid import plan_for


def sources(content, style, config, guidance=EVERYWHERE):
    """Return the sources of the targets, of pictures [1, H, W, 3]; `style` may be a list."""
    styles = style if isinstance(style, list) else [style]
    terms = make_terms(config.loss, guidance)
    return targets.make_sources(terms, content, styles, guidance=guidance, blend=config.loss.style_blend)


def compute_targets(network, content, style, config, *, tile=None, guidance=EVERYWHERE):
    """Return name of a term → its target, of pictures [1, H, W, 3], mean-subtracted."""
    terms, found = make_terms(config.loss, guidance), sources(content, style, config, guidance)
    plans = None if tile is None else [plan_for(terms, *source.size, tile) for source in found]
    given = targets.given_leaves(terms, guidance)
    return targets.compute_targets(network, terms, found, given=given, plans=plans)


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """An objective with its arguments."""

    objective: LocalObjective
    arguments: tuple

    def __call__(self, image):
        return self.objective(image, *self.arguments)

    def smaller(self, size):
        smaller = self.objective.smaller(size)
        return None if smaller is None else Bound(smaller, self.arguments)


def make_objective(network, targets, config, shape, *, tile=None, guidance=EVERYWHERE):
    """Return image → (losses, gradient) for images of `shape` [1, H, W, 3]."""
    objective = LocalObjective(network, make_terms(config.loss, guidance), tuple(shape[1:3]), tile)
    return Bound(objective, (targets, term_weights(config.loss, guidance)))


def compiled(objective):
    """Return it as a `tf.function`."""
    return tf.function(lambda image: objective(image), autograph=False)


def names(config):
    """Return the names of its losses."""
    return loss_names(make_terms(config.loss))
