"""The objective and its targets by hand, and solvers of any function, without a run around them."""

import contextlib
import dataclasses
import functools

import tensorflow as tf

from neural_style_tf.losses.catalogue import make_terms, part_factors, with_parts
from neural_style_tf.losses.evaluate import Arguments
from neural_style_tf.losses.guides import EVERYWHERE
from neural_style_tf.losses.objective import Evaluation, plan_for
from neural_style_tf.losses.targets import compile_look, gather_statistics, make_sources, make_targets
from neural_style_tf.losses.temporal import Temporal
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.optim import make_optimizer
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.session import Session, first_image
from neural_style_tf.transfer.solver import CompiledStep, Solver


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A function as a network with the layers of VGG-19."""

    function: object
    architecture = VGG19

    def __call__(self, image):
        return self.function(image)


_compile_look_once = functools.cache(compile_look)


@contextlib.contextmanager
def eagerly():
    """In the block, run the operations of a `tf.function` one by one, for a graph that is used only once."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def terms_of(config, guidance=EVERYWHERE, warped=None):
    return make_terms(config.loss, guidance, temporal=warped is not None)


def sources(content, style, config, guidance=EVERYWHERE, warped=None):
    """Return the sources of the targets, of pictures [1, H, W, 3]; `style` may be a list."""
    styles = style if isinstance(style, list) else [style]
    terms = terms_of(config, guidance, warped)
    return make_sources(terms, content, styles, guidance=guidance, blend=config.loss.style_blend)


def compute_targets(network, content, style, config, *, tile=None, guidance=EVERYWHERE, warped=None):
    """Return name of a term → its target, of pictures [1, H, W, 3], mean-subtracted."""
    terms, pictures = terms_of(config, guidance, warped), sources(content, style, config, guidance, warped)
    plans = None if tile is None else [plan_for(network, terms, source.size, tile) for source in pictures]
    statistics = gather_statistics(
        network, pictures, plans=plans, prepare=tf.convert_to_tensor, look=_compile_look_once
    )
    without_source = {} if warped is None else {"temporal": Temporal.target_of(warped)}
    return make_targets(terms, pictures, statistics, without_source, VGG19)


def arguments_of(targets, terms, guidance=EVERYWHERE):
    return Arguments(
        targets,
        {term.name: tf.constant(term.weight, tf.float64) for term in terms},
        {
            layer: {name: tf.constant(guide) for name, guide in guides.items()}
            for layer, guides in guidance.guides(terms).items()
        },
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """An evaluation with its arguments, whose losses have their parts.

    In one piece it is no graph, unless the caller makes one (`compiled`); in tiles it is.
    """

    evaluation: Evaluation
    arguments: Arguments
    terms: tuple
    factors: dict

    def __call__(self, image):
        in_pieces = self.evaluation.tile is not None
        with eagerly() if tf.executing_eagerly() and not in_pieces else contextlib.nullcontext():
            losses, gradient = self.evaluation(image, self.arguments)
        return with_parts(losses, self.terms, self.factors), gradient


def make_objective(network, targets, config, shape, *, tile=None, guidance=EVERYWHERE, warped=None):
    """Return image → (losses, gradient) for images of `shape` [1, H, W, 3]."""
    terms = terms_of(config, guidance, warped)
    evaluation = Evaluation(network, terms, tuple(shape[1:3]), tile)
    return Bound(evaluation, arguments_of(targets, terms, guidance), terms, part_factors(config.loss))


def objective_of(network, content, style, config, *, tile=None, **masks):
    """Return image → (losses, gradient) for images of the size of `content`, by `compute_targets`."""
    targets = compute_targets(network, content, style, config, tile=tile, **masks)
    return make_objective(network, targets, config, content.shape, tile=tile, **masks)


def compiled(objective):
    """Return it as a `tf.function`."""
    return tf.function(lambda image: objective(image), autograph=False)


def names(config):
    """Return the names of its losses in the log."""
    terms = terms_of(config)
    return tuple(with_parts(dict.fromkeys(("total", *(term.name for term in terms)), 0.0), terms, {}))


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function image → (losses, gradient) as an evaluation."""

    function: object
    names: tuple = ("total",)
    size = None

    def __call__(self, image, arguments):
        return self.function(image)


def solver_of_run(pictures, config, weights):
    """Return the solver of a run of pictures [H, W, 3] at their sizes, ready to `start`."""
    session = Session(weights, keep_bytes=0)
    size, *style_sizes = (picture.shape[:2] for picture in pictures)
    guidance = Masks().check(len(style_sizes), config).at(size, style_sizes, config)
    objective = session.prepare(pictures, config, guidance, {})
    return session._solver(objective, first_image(pictures, config, objective, guidance.cover), config, None)


_STEPS = {}


def solver_of(function, image, config, names=("total",)):
    """Return a solver that minimises a function of images of one shape, or a `Bound` objective.

    Solvers of one function share what is compiled.
    """
    optimizer, image = make_optimizer(config), tf.convert_to_tensor(image)
    bound = isinstance(function, Bound)
    subject = function.evaluation if bound else function
    key = (subject, names, optimizer.static, tuple(image.shape), image.dtype)
    if key not in _STEPS:
        evaluation = subject if bound else Function(function, names)
        if not bound:
            object.__setattr__(evaluation, "size", tuple(image.shape[1:3]))
        _STEPS[key] = CompiledStep(evaluation, optimizer.static)
    return Solver(_STEPS[key], image, optimizer, function.arguments if bound else ())
