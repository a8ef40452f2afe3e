"""The objective and its targets by hand, without a run around them."""

import dataclasses

import tensorflow as tf

from neural_style_tf.losses import evaluate
from neural_style_tf.losses.terms import loss_names, make_terms, term_weights
from neural_style_tf.tiling.adaptive import LocalObjective
from neural_style_tf.tiling.grid import plan_for


def compute_targets(network, content, style, config, *, tile=None):
    """Return name of a term → its target, of pictures [1, H, W, 3], mean-subtracted."""
    terms = make_terms(config.loss)
    plans = None if tile is None else [plan_for(terms, *p.shape[1:3], tile) for p in (content, style)]
    return evaluate.compute_targets(network, terms, content, style, plans=plans)


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """An objective with its arguments."""

    objective: LocalObjective
    arguments: tuple

    def __call__(self, image):
        return self.objective(image, *self.arguments)

    def smaller(self):
        smaller = self.objective.smaller()
        return None if smaller is None else Bound(smaller, self.arguments)


def make_objective(network, targets, config, shape, *, tile=None):
    """Return image → (losses, gradient) for images of `shape` [1, H, W, 3]."""
    objective = LocalObjective(network, make_terms(config.loss), tuple(shape[1:3]), tile)
    return Bound(objective, (targets, term_weights(config.loss)))


def compiled(objective):
    """Return it as a `tf.function`."""
    return tf.function(lambda image: objective(image), autograph=False)


def names(config):
    """Return the names of its losses."""
    return loss_names(make_terms(config.loss))
