"""Evaluate the objective: compute the losses of an image and their gradient, in one piece or in tiles.

Every statistic is a sum over positions. So the same three steps serve one piece, tiles and replicas:

    statistic   of each tile; added over the tiles, and by `reduce` over replicas
    loss        of each term, from the statistic of the whole image; automatic differentiation gives the
                derivative of the total with respect to the statistic
    gradient    the vector-Jacobian product, which takes these derivatives through each tile's statistic
                down to the pixels

The network sees the window of a tile: its core, and a halo of pixels around it (see `tiling.grid`). With one
tile, its features are kept from the first step to the third. With several tiles, each is visited twice, so
that memory is bounded by the size of a tile.

Only positions in the core count in a statistic. The gradient of a core extends into the halo, where it is
added to the gradients of neighbouring tiles. The network pads a window with zeros, which spoils the features
near its border. The core is too far inside to be affected, except where the picture itself ends.
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
"""Function from a tree to its sum over all replicas."""


class Arguments(NamedTuple):
    """The values, beside the image, that a compiled step takes as arguments.

    Runs that differ only in these values share a compiled step.

    Attributes:
        targets: Dict from the name of a term to its target.
        weights: Dict from the name of a term to its factor in `total`, a scalar.
        guides: Dict from each layer to a dict from the name of a region to its mask at the size of the layer.
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
    """Return all losses of `image`, and the gradient [1, H, W, 3] of `total`. Call it in a `tf.function`.

    Args:
        network: Computes all layers that the terms use.
        terms: The losses. Their weights come from `arguments`, not from the terms.
        image: [1, H, W, 3], mean-subtracted RGB. With a plan, its shape must be static.
        arguments: Targets, weights and guides.
        plan: The tiles to visit: all tiles of the image, or the share of one replica. None: one piece.
        reduce: Adds a tree up over all replicas. Their shares make up the image.
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
        # The shape check keeps this sum from being merged with those before it; see `functional.fan_out`.
        return put(gradient, cut(gradient, box[1]) + tf.ensure_shape(of_tile, window.shape), box[1])

    def window_of(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(cut(image, box[1]), [1, None, None, image.shape[-1]])

    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), arguments)
    window = tf.TensorSpec([1, None, None, image.shape[-1]], image.dtype)
    shapes = statistics_of_tile.get_concrete_function(window, tf.TensorSpec([2, 4], tf.int32), specs)
    nothing = tf.nest.map_structure(lambda leaf: tf.zeros(leaf.shape, leaf.dtype), shapes.structured_outputs)
    statistics = reduce(_fold(add_statistics, nothing, plan))
    losses, derivatives = _score_and_differentiate(terms, statistics, arguments)
    # The features of a tile do not depend on the derivatives. So without this dependency TensorFlow would
    # begin the second pass, and take memory for it, during the first.
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
    """Return all losses, and the derivative of `total` with respect to each tensor of `statistics`.

    The derivative is None for a tensor on which `total` does not depend.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(statistics)
        losses = score(terms, statistics, arguments)
    return losses, tape.gradient(losses["total"], statistics)


def score(terms: Sequence[Term], statistics: Mapping[str, Tree], arguments: Arguments) -> Losses:
    """Return the loss of each term and their weighted sum `total`, from `statistics` of the whole image."""
    losses = {term.name: term.loss(statistics[term.name], arguments.targets[term.name]) for term in terms}
    total = sum(tf.cast(arguments.weights[name], loss.dtype) * loss for name, loss in losses.items())
    return {"total": total if losses else tf.zeros([])} | losses


def vjp_to_pixels(tape: tf.GradientTape, statistics: Any, derivatives: Any, window: tf.Tensor) -> tf.Tensor:
    """Return the gradient of `total` with respect to the pixels `window`; 0 if no statistic depends on them.

    `tape` has recorded how `statistics` were computed from `window`; `derivatives` are those of `total` with
    respect to `statistics`.
    """
    pairs = zip(tf.nest.flatten(statistics), tf.nest.flatten(derivatives), strict=True)
    pairs = [(statistic, derivative) for statistic, derivative in pairs if derivative is not None]
    gradient = None
    if pairs:
        outputs, at_outputs = zip(*pairs, strict=True)
        gradient = tape.gradient(outputs, window, output_gradients=at_outputs)
    # No term depends on the pixels (for example a frame without any region and `content_weight=0`).
    return tf.zeros_like(window) if gradient is None else gradient


def _fold(visit: Callable[[tf.Tensor, Any], Any], state: Any, plan: Sequence[Tile]) -> Any:
    """Replace `state` by `visit(tile, state)` for one tile of `plan` after another; return the last state."""
    boxes = tf.constant(plan, tf.int32)
    _, state = tf.while_loop(
        lambda index, _: index < len(plan),
        lambda index, state: (index + 1, visit(boxes[index], state)),
        (0, state),
        # Parallel iterations would hold the features of several tiles.
        parallel_iterations=1,
    )
    return state


def outlined_function(function: Callable) -> Callable:
    """Return a `tf.function` of `function` that is not inlined into the graph of its caller.

    In a graph with loops, TensorFlow 2.21 computes the gradient of max pooling with its own kernel, which is
    many times slower than oneDNN's. It inserts oneDNN's gradient only if it has replaced the pooling before,
    and loops upset the order in which it replaces operations. The graph of a called function contains no
    loops.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


@contextlib.contextmanager
def released_gradients() -> Iterator[None]:
    """After the block, free the graphs that TensorFlow's registry of `tf.custom_gradient` keeps alive.

    Each use of a custom gradient in a graph that is built in the block is registered for the life of the
    process. The entry holds the graph with all its variables and constants: image, optimiser state and
    targets of every coarser scale, 1.6 GB for a picture of 64 megapixels. After the block, no gradient of
    these graphs can be built any more.
    """
    # There is no public way to do this. If TensorFlow drops the private one, this frees nothing, and runs
    # take more memory.
    entries = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    before = set(entries)
    try:
        yield
    finally:
        for name in [name for name in entries if name.startswith("CustomGradient-") and name not in before]:
            entries.pop(name, None)
