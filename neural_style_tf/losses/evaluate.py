"""Evaluate the objective: image → (its losses, their gradient), in one piece, in tiles, or a share of them.

Everything that the terms need of an image adds over positions, so one function serves all:

    statistic   of each tile, added over the tiles, and by `reduce` over replicas
    loss        of each term from the statistic of the whole image; automatic differentiation gives the
                derivative of the total by the statistic
    gradient    the vector-Jacobian product of these derivatives with each tile's statistic, down to the
                pixels

A single tile keeps its features from the first line to the third. Several tiles are visited twice each, so
that memory is bounded by the tile. Only the positions of a core count, in the statistics and in the gradients
at the features. The gradient of a core reaches into its halo, where those of neighbouring tiles add up. What
the zero padding of a window spoils lies beyond the receptive fields of its core, except where the picture
itself ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework import ops

from neural_style_tf.losses.term import Term, Tree
from neural_style_tf.losses.view import Guides, Network, View, cut, put, zeros
from neural_style_tf.optim import Losses
from neural_style_tf.tiling.grid import Tile

Reduce = Callable[[Any], Any]
"""Tree → its sum over all replicas."""


class Arguments(NamedTuple):
    """What an objective depends on beside the image; runs that differ only in this share a compiled step.

    Attributes:
        targets: Name of a term → its target.
        weights: Name of a term → its factor in `total`, a scalar.
        guides: Layer → name of a region → its mask at the size of the layer.
    """

    targets: Mapping[str, Tree]
    weights: Mapping[str, tf.Tensor]
    guides: Guides


def evaluate(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    arguments: Arguments,
    plan: Sequence[Tile] | None,
    reduce: Reduce = lambda tree: tree,
) -> tuple[Losses, tf.Tensor]:
    """Return all losses of an image and the gradient [1, H, W, 3] of `total`; inside a `tf.function`.

    Args:
        network: Has all layers of the terms.
        terms: What is minimised; `arguments.weights` replace their own.
        image: [1, H, W, 3], mean-subtracted RGB; of a static shape if there is a plan.
        arguments: Targets, weights and guides.
        plan: The tiles to visit: all of the image's, or the share of one replica. None: one piece.
        reduce: Adds over the replicas, whose shares make up the image.
    """
    if plan and len(plan) > 1:
        return _in_two_passes(network, terms, image, arguments, plan, reduce)
    return _in_one_pass(network, terms, image, arguments, plan[0] if plan else None, reduce)


def _in_one_pass(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    arguments: Arguments,
    tile: Tile | None,
    reduce: Reduce,
) -> tuple[Losses, tf.Tensor]:
    box = None if tile is None else tf.constant(tile, tf.int32)
    window = image if box is None else cut(image, box[1])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(window)
        statistics = _compare(network, terms, window, box, arguments)
    losses, derivatives = _score_and_differentiate(terms, reduce(statistics), arguments)
    gradient = vjp_to_pixels(tape, statistics, derivatives, window)
    if tile is not None:
        top, bottom, left, right = tile.window
        outside = [[0, 0], [top, image.shape[1] - bottom], [left, image.shape[2] - right], [0, 0]]
        gradient = tf.pad(gradient, outside)
    return losses, reduce(gradient)


def _in_two_passes(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    arguments: Arguments,
    plan: Sequence[Tile],
    reduce: Reduce,
) -> tuple[Losses, tf.Tensor]:
    @outlined_function
    def statistics_of_tile(window: tf.Tensor, box: tf.Tensor, arguments: Arguments) -> dict[str, Tree]:
        return _compare(network, terms, window, box, arguments)

    @outlined_function
    def gradient_of_tile(
        window: tf.Tensor, box: tf.Tensor, derivatives: Any, arguments: Arguments
    ) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(window)
            statistics = _compare(network, terms, window, box, arguments)
        return vjp_to_pixels(tape, statistics, derivatives, window)

    def add_statistics(box: tf.Tensor, statistics: Tree) -> Tree:
        of_tile = statistics_of_tile(window_of(image, box), box, arguments)
        return tf.nest.map_structure(tf.add, statistics, of_tile)

    def add_gradient(box: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        window = window_of(image, box)
        of_tile = gradient_of_tile(window, box, derivatives, arguments)
        # The shape check keeps this sum apart from those before it; see `functional.fan_out`.
        return put(gradient, cut(gradient, box[1]) + tf.ensure_shape(of_tile, window.shape), box[1])

    def window_of(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(cut(image, box[1]), [1, None, None, image.shape[-1]])

    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), arguments)
    window = tf.TensorSpec([1, None, None, image.shape[-1]], image.dtype)
    shapes = statistics_of_tile.get_concrete_function(window, tf.TensorSpec([2, 4], tf.int32), specs)
    nothing = tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), shapes.structured_outputs)
    statistics = reduce(_fold(add_statistics, nothing, plan))
    losses, derivatives = _score_and_differentiate(terms, statistics, arguments)
    # Without this dependency the second pass would begin, and take its memory, during the first: a tile needs
    # the derivatives only after its features.
    with tf.control_dependencies(tf.nest.flatten(statistics)):
        image = tf.identity(image)
    return losses, reduce(_fold(add_gradient, zeros(image.shape, image.dtype), plan))


def _compare(
    network: Network, terms: Sequence[Term], window: tf.Tensor, box: tf.Tensor | None, arguments: Arguments
) -> dict[str, Tree]:
    view = View(network, window, box, arguments.guides)
    return {term.name: term.compare(view, view.crop(arguments.targets[term.name])) for term in terms}


def _score_and_differentiate(
    terms: Sequence[Term], statistics: Mapping[str, Tree], arguments: Arguments
) -> tuple[Losses, Any]:
    """Return the losses, and the derivative of `total` by each leaf; None where it does not depend on it."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(statistics)
        losses = score(terms, statistics, arguments)
    return losses, tape.gradient(losses["total"], statistics)


def score(terms: Sequence[Term], statistics: Mapping[str, Tree], arguments: Arguments) -> Losses:
    """Return all losses from the statistics of the whole image."""
    losses = {term.name: term.loss(statistics[term.name], arguments.targets[term.name]) for term in terms}
    total = sum(tf.cast(arguments.weights[name], loss.dtype) * loss for name, loss in losses.items())
    return {"total": total if losses else tf.zeros([])} | losses


def vjp_to_pixels(tape: tf.GradientTape, statistics: Any, derivatives: Any, window: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the total at a window, from the derivatives by the statistics of its core."""
    pairs = zip(tf.nest.flatten(statistics), tf.nest.flatten(derivatives), strict=True)
    pairs = [(statistic, derivative) for statistic, derivative in pairs if derivative is not None]
    gradient = None
    if pairs:
        outputs, at_outputs = zip(*pairs, strict=True)
        gradient = tape.gradient(outputs, window, output_gradients=at_outputs)
    # No term depends on the pixels (for example a frame without any region and `content_weight=0`).
    return tf.zeros_like(window) if gradient is None else gradient


def _fold(visit: Callable[[tf.Tensor, Any], Any], state: Any, plan: Sequence[Tile]) -> Any:
    """Return `visit(tile n, … visit(tile 1, state))`, one tile at a time."""
    boxes = tf.constant(plan, tf.int32)
    _, state = tf.while_loop(
        lambda index, _: index < len(plan),
        lambda index, state: (index + 1, visit(boxes[index], state)),
        (0, state),
        # More would hold the features of several tiles.
        parallel_iterations=1,
    )
    return state


def outlined_function(function: Callable) -> Callable:
    """Return a `tf.function` that remains a function of its own within the graph of its caller.

    In a graph with loops, TensorFlow 2.21 computes the gradient of max pooling by its own kernel, many times
    slower than oneDNN's: it inserts oneDNN's gradient only after oneDNN's pooling, and rewrites operations in
    an order that a loop upsets. The graph of a called function has no loops.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


@contextlib.contextmanager
def released_gradients() -> Iterator[None]:
    """Free what TensorFlow's registry of `tf.custom_gradient` would keep of the graphs that are built inside.

    Each use of a custom gradient in a graph is registered for the life of the process. The entry holds the
    graph with all its variables and constants: image, optimiser state and targets of every coarser scale,
    1.6 GB for a picture of 64 megapixels. After the block no gradient of these graphs can be built.
    """
    # TensorFlow has no public way. If this one ends, only memory is lost.
    entries = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    before = set(entries)
    try:
        yield
    finally:
        for name in [name for name in entries if name.startswith("CustomGradient-") and name not in before]:
            entries.pop(name, None)
