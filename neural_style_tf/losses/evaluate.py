"""Evaluate the objective: image → (its losses, their gradient), in one piece, in tiles, or a share of them.

Everything that the terms need of an image adds over positions, so one function serves all:

    sums        of each tile, added over the tiles, and by `reduce` over replicas
    loss        of each term from the sums of the whole image; automatic differentiation gives the derivative
                of the total by each sum
    gradient    the vector-Jacobian product of these derivatives through each tile's sums, down to the pixels

With one tile its features are kept from the first line for the third. With several, each tile is visited
twice, and memory is bounded by the tile. Only the positions of a core count, in the sums as in the gradients
at the features; the gradient of a core reaches into its halo, where those of several tiles add up. What the
zero padding of a window spoils lies beyond what the features of its core see, except where the picture itself
ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from neural_style_tf.losses.base import StyleTerm, Sums, Target, Term, loss_parts
from neural_style_tf.losses.tile import Tile
from neural_style_tf.losses.view import Network, View, cut, put, shape_of, zeros

Losses = dict[str, tf.Tensor]
"""Every name of `terms.loss_names` → scalar."""
Targets = Mapping[str, Target]
"""Name of a term → its target."""
Reduce = Callable[[Any], Any]
"""Nest of tensors → the same, summed over all replicas."""


def outlined_function(function: Callable) -> Callable:
    """Return a `tf.function` that stays one within the graph of its caller.

    In the graph of a loop, TensorFlow 2.21 leaves the gradient of max pooling to its own kernel, many times
    slower than oneDNN's: it goes through the operations in an order that a loop upsets, and puts oneDNN's
    only where it has already put the pooling itself. A function that is called has a graph without loops.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def evaluate(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    targets: Targets,
    weights: Mapping[str, float | tf.Tensor],
    plan: Sequence[Tile] | None,
    reduce: Reduce | None = None,
) -> tuple[Losses, tf.Tensor]:
    """Return all losses of an image and the gradient of their weighted sum; inside a `tf.function`.

    Args:
        network: Has all layers of the terms.
        terms: What is minimised.
        image: [1, H, W, 3], mean-subtracted RGB; of a static shape where there is a plan.
        targets: From `compute_targets`.
        weights: From `terms.term_weights`.
        plan: The tiles to visit: all of the image's, or the share of one replica. None: all in one piece.
        reduce: Adds over the replicas, whose shares make up the image; default: there are no others.

    Returns:
        The losses, and the gradient [1, H, W, 3] of `total`.
    """
    if plan and len(plan) > 1:
        return _in_two_passes(network, terms, image, targets, weights, plan, reduce or (lambda nest: nest))
    return _in_one_pass(network, terms, image, targets, weights, plan[0] if plan else None, reduce)


def score(
    terms: Sequence[Term],
    sums: Mapping[str, Sums],
    targets: Targets,
    weights: Mapping[str, Any],
    shape: Sequence[int | tf.Tensor],
) -> Losses:
    """Return all losses from the sums over an image of `shape` [1, H, W, 3]; see `terms.loss_names`."""
    losses = {term.name: term.loss(sums[term.name], targets[term.name], tuple(shape)) for term in terms}
    zero = tf.zeros([], next(iter(losses.values())).dtype)
    parts = dict.fromkeys(loss_parts(terms), zero)
    for term in terms:
        if term.name == term.part:
            parts[term.part] = losses[term.name]
        elif term.name in weights:
            parts[term.part] += weights[term.name] * losses[term.name]
    total = sum((weights[part] * loss for part, loss in parts.items() if part in weights), zero)
    return {"total": total} | parts | losses


def _in_one_pass(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    targets: Targets,
    weights: Mapping[str, Any],
    tile: Tile | None,
    reduce: Reduce | None,
) -> tuple[Losses, tf.Tensor]:
    box = None if tile is None else tf.constant(tile, tf.int32)
    seen = image if box is None else cut(image, box[1])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(seen)
        sums = _sums(network, terms, seen, box, targets)
    losses, derivatives = _score_and_differentiate(
        terms, reduce(sums) if reduce else sums, targets, weights, shape_of(image)
    )
    gradient = vjp_to_pixels(tape, sums, derivatives, seen)
    if tile is not None:
        top, bottom, left, right = tile.window
        outside = [[0, 0], [top, image.shape[1] - bottom], [left, image.shape[2] - right], [0, 0]]
        gradient = tf.pad(gradient, outside)
    return losses, reduce(gradient) if reduce else gradient


def _in_two_passes(
    network: Network,
    terms: Sequence[Term],
    image: tf.Tensor,
    targets: Targets,
    weights: Mapping[str, Any],
    plan: Sequence[Tile],
    reduce: Reduce,
) -> tuple[Losses, tf.Tensor]:
    def add_sums(box: tf.Tensor, sums: Mapping[str, Sums]) -> Mapping[str, Sums]:
        return tf.nest.map_structure(tf.add, sums, _sums(network, terms, cut(image, box[1]), box, targets))

    @outlined_function
    def gradient_of_tile(seen: tf.Tensor, box: tf.Tensor, derivatives: Any, targets: Targets) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(seen)
            sums = _sums(network, terms, seen, box, targets)
        return vjp_to_pixels(tape, sums, derivatives, seen)

    def add_gradient(box: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        seen = cut(image, box[1])
        found = gradient_of_tile(seen, box, derivatives, targets)
        # The shape check keeps this sum apart from those before it; see `functional.fan_out`.
        return put(gradient, cut(gradient, box[1]) + tf.ensure_shape(found, seen.shape), box[1])

    nothing = {term.name: term.zeros(targets[term.name], image.dtype) for term in terms}
    sums = reduce(_fold(add_sums, nothing, plan))
    losses, derivatives = _score_and_differentiate(terms, sums, targets, weights, image.shape)
    # The derivatives are needed only after the features of a tile. Without this, the second pass would
    # begin, and take its memory, while the first is under way.
    with tf.control_dependencies(tf.nest.flatten(sums)):
        image = tf.identity(image)
    return losses, reduce(_fold(add_gradient, zeros(image.shape, image.dtype), plan))


def _sums(
    network: Network, terms: Sequence[Term], seen: tf.Tensor, box: tf.Tensor | None, targets: Targets
) -> dict[str, Sums]:
    guides: dict[str, dict[int, tf.Tensor]] = {}
    for term in terms:
        if isinstance(term, StyleTerm) and term.region:
            guides.setdefault(term.layer, {})[term.region] = targets[term.name]["guide"]
    view = View(network, seen, box, guides)
    return {term.name: term.sums(view, targets[term.name]) for term in terms}


def _score_and_differentiate(
    terms: Sequence[Term],
    sums: Mapping[str, Sums],
    targets: Targets,
    weights: Mapping[str, Any],
    shape: Sequence[int],
) -> tuple[Losses, Any]:
    """Return the losses, and the derivative of `total` by each sum; None where it does not depend on it."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sums)
        losses = score(terms, sums, targets, weights, shape)
    return losses, tape.gradient(losses["total"], sums)


def vjp_to_pixels(tape: tf.GradientTape, sums: Any, derivatives: Any, seen: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the total at the window `seen`, whose core has these sums."""
    pairs = zip(tf.nest.flatten(sums), tf.nest.flatten(derivatives), strict=True)
    pairs = [pair for pair in pairs if pair[1] is not None]
    if not pairs:
        # As of a frame in which no style has a place, and content no weight.
        return tf.zeros_like(seen)
    ends, at_ends = zip(*pairs, strict=True)
    return tape.gradient(ends, seen, output_gradients=at_ends)


def _fold(visit: Callable[[tf.Tensor, Any], Any], state: Any, plan: Sequence[Tile]) -> Any:
    """Return `state` after `visit` took it through the tiles of `plan`, one at a time."""
    boxes = tf.constant(plan, tf.int32)
    _, state = tf.while_loop(
        lambda index, _: index < len(plan),
        lambda index, state: (index + 1, visit(boxes[index], state)),
        (0, state),
        # More would hold the features of several tiles.
        parallel_iterations=1,
    )
    return state
