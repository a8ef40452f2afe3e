"""The objective in pieces: the same function, exact to rounding, in memory bounded by the tile.

Everything the losses need of an image adds over positions: Gram sums, squared content errors, squared
differences of neighbours. So the image is visited twice, tile by tile:

    pass 1  add up these sums over the tiles; score them as if they came from one piece, and let
            autodiff say how the total depends on each sum (its slope);
    pass 2  for each tile again: its features, the gradient of the total at them, down to the pixels.

A tile is a core and, around it, the halo that the network must see to know the features of the core. Cores
partition the image, and only their positions count, in the sums as in the gradients at the features. The
gradient of a core reaches into its halo, where those of several tiles add up. What the zero padding of a
window spoils lies beyond what the features of its core see, except where the picture itself ends.

It costs a second forward pass, and the halos: with cores of 1024 pixels about twice the plain objective.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.losses import functional
from neural_style_tf.losses.objective import Network, Objective, Targets, Terms, apart, make_objective, score
from neural_style_tf.models import architecture
from neural_style_tf.tiling.grid import Tile, plan_for, plan_tiles

__all__ = [
    "Sums",
    "Tile",
    "TiledObjective",
    "compute_targets_tiled",
    "make_tiled_objective",
    "plan_for",
    "plan_tiles",
]


class Sums(NamedTuple):
    """What adds over the positions of an image; or, as slopes, the derivatives of `total` by them.

    By layer Σ (F−P)² and Σ FᵀF, and of the image itself Σ dy² and Σ dx². A slope is None where the total
    does not depend on the sum.
    """

    errors: Mapping[str, Any]
    grams: Mapping[str, Any]
    differences: tuple[Any, Any]


def compute_targets_tiled(
    network: Network,
    content: tf.Tensor | np.ndarray,
    style: tf.Tensor | np.ndarray,
    config: Config,
    *,
    tile: int,
    prepare: Callable[[Any], tf.Tensor] = tf.convert_to_tensor,
    share: Callable[[Sequence[Tile]], Sequence[Tile]] = tuple,
    style_network: Network | None = None,
) -> Targets:
    """Compute what `objective.compute_targets` does, tile by tile.

    Args:
        network: A model from `vgg.vgg19` with all of `config.layers`.
        content: The content picture, mean-subtracted RGB [1, H, W, 3].
        style: The style picture, likewise, of any size.
        config: Which layers, and how Gram matrices are normalised.
        tile: The longest side of a core, in pixels.
        prepare: Makes what the network is shown from a window of a picture.
        share: Which tiles are visited, at least one. Targets of shares, 0 elsewhere, add up to the whole.
        style_network: Sees the style picture instead of `network`.

    Returns:
        The targets. The content features are of the whole picture: they do not shrink with the tile.

    Raises:
        UserError: `tile` is smaller than the stride of the deepest layer.
    """
    # One graph for windows of all shapes.
    signature = [tf.TensorSpec([1, None, None, 3], content.dtype), tf.TensorSpec([2, 4], tf.int32)]

    def compiled(network: Network) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
        return tf.function(functools.partial(_cores, network), autograph=False, input_signature=signature)

    def visit(
        picture: tf.Tensor | np.ndarray, cores_of: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
    ) -> Iterator[tuple[Tile, dict[str, tf.Tensor]]]:
        for place in share(plan_for(config, *picture.shape[1:3], tile)):
            top, bottom, left, right = place.window
            yield place, cores_of(prepare(picture[:, top:bottom, left:right]), tf.constant(place))

    cores_of = compiled(network)
    style_cores_of = cores_of if style_network is None else compiled(style_network)
    # NumPy's memory, unlike TensorFlow's, goes back to the system.
    whole, energy, grams = {}, {}, {}
    for place, cores in visit(content, cores_of):
        for name, _ in config.content_layers:
            step, part = architecture.stride(name), cores[name].numpy()
            if name not in whole:
                rows, columns = (-(-side // step) for side in content.shape[1:3])
                whole[name] = np.zeros((1, rows, columns, part.shape[-1]), part.dtype)
            top, left = place.core[0] // step, place.core[2] // step
            whole[name][:, top : top + part.shape[1], left : left + part.shape[2]] = part
            energy[name] = energy.get(name, 0) + functional.energy_sum(cores[name])
    for _, cores in visit(style, style_cores_of):
        for name, _ in config.style_layers:
            grams[name] = grams.get(name, 0) + functional.gram_sum(cores[name])
    return Targets(
        content={name: tf.constant(whole.pop(name)) for name, _ in config.content_layers},
        style=_normalized(grams, style.shape, config),
        energy=energy,
    )


def make_tiled_objective(
    network: Network, targets: Targets, config: Config, shape: Sequence[int], *, tile: int
) -> Objective:
    """Return what `objective.make_objective` does, in memory bounded by the tile.

    Made to be called inside a `tf.function`: each pass is one loop in its graph, however many tiles. The
    image is of `shape`, [1, H, W, 3]; `tile` is the longest side of a core in pixels.
    """
    plan = plan_for(config, shape[1], shape[2], tile)
    if len(plan) == 1:
        # One pass then does what two would.
        return make_objective(network, targets, config)
    return TiledObjective(network, targets, config, plan)


@dataclasses.dataclass(frozen=True, eq=False)
class TiledObjective:
    """The two passes, and what joins them; see `make_tiled_objective`.

    Attributes:
        network, targets, config: As for `make_tiled_objective`.
        plan: Tiles of the image; the passes take any part of them, `score` needs the sums over all.
    """

    network: Network
    targets: Targets
    config: Config
    plan: Sequence[Tile]

    def __call__(self, image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        """Return the terms and the gradient [1, H, W, 3] of an image [1, H, W, 3]."""
        sums = self.sums(image)
        terms, slopes = self.score(sums, image.shape)
        # The slopes are needed only after the features of a tile. Without this, pass 2 would begin, and
        # take its memory, while pass 1 is under way.
        with tf.control_dependencies(tf.nest.flatten(sums)):
            image = tf.identity(image)
        return terms, self.gradient(image, slopes)

    def sums(self, image: tf.Tensor) -> Sums:
        """Make pass 1: add up over the tiles what adds over positions."""
        zero = tf.zeros([], image.dtype)
        nothing = Sums(
            errors={name: zero for name, _ in self.config.content_layers},
            grams={name: tf.zeros_like(self.targets.style[name]) for name, _ in self.config.style_layers},
            differences=(zero, zero),
        )

        def visit(box: tf.Tensor, sums: Sums) -> Sums:
            return tf.nest.map_structure(tf.add, sums, self.sums_of_core(cut(image, box[1]), box))

        return _fold(visit, nothing, self.plan)

    def score(self, sums: Sums, shape: Sequence[int]) -> tuple[Terms, Sums]:
        """Return `objective.score` of an image of these sums, and the slopes of its total."""
        _, height, width, depth = shape
        counts = ((height - 1) * width * depth, height * (width - 1) * depth)
        pairs = zip(sums.differences, counts, strict=True)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sums)
            down, right = (total / max(count, 1) for total, count in pairs)
            grams = _normalized(sums.grams, shape, self.config)
            terms = score(sums.errors, grams, down + right, self.targets, self.config)
        return terms, tape.gradient(terms["total"], sums)

    def gradient(self, image: tf.Tensor, slopes: Sums) -> tf.Tensor:
        """Make pass 2: carry the slopes through the tiles down to the pixels."""

        @apart
        def at(seen: tf.Tensor, box: tf.Tensor, slopes: Sums) -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(seen)
                here = self.sums_of_core(seen, box)
            return pull_back(tape, here, slopes, seen)

        def visit(box: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
            seen = cut(image, box[1])
            at_pixels = at(seen, box, slopes)
            # The shape check keeps this sum apart from those before it; see `functional.branch`.
            return _put(gradient, cut(gradient, box[1]) + tf.ensure_shape(at_pixels, seen.shape), box[1])

        return _fold(visit, _blank(image.shape, image.dtype), self.plan)

    def sums_of_core(self, seen: tf.Tensor, box: tf.Tensor) -> Sums:
        """Return the sums over the core of a tile (`box`), whose window is `seen`."""
        cores, inside = _cores(self.network, seen, box), _inside(box)
        # With the row below the core, and the column beside it, if there are any: each pair counts once.
        around = functional.branch(seen)
        below, beside = (cut(around, inside + tf.constant(more)) for more in ([0, 1, 0, 0], [0, 0, 0, 1]))
        return Sums(
            errors={
                name: functional.content_error(cores[name], cut(self.targets.content[name], box[0], name))
                for name, _ in self.config.content_layers
            },
            grams={name: functional.gram_sum(cores[name]) for name, _ in self.config.style_layers},
            differences=(
                functional.neighbour_differences(below)[0],
                functional.neighbour_differences(beside)[1],
            ),
        )


def pull_back(tape: tf.GradientTape, sums: Sums, slopes: Sums, seen: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the total at the window `seen`, whose core has these sums."""
    pairs = zip(tf.nest.flatten(sums), tf.nest.flatten(slopes), strict=True)
    ends, at_ends = zip(*(pair for pair in pairs if pair[1] is not None), strict=True)
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


def _inside(box: tf.Tensor) -> tf.Tensor:
    """Return the core of a tile, counted from where its window begins."""
    return box[0] - tf.gather(box[1], [0, 0, 2, 2])


def _cores(network: Network, seen: tf.Tensor, box: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the features of the core of a tile, of which the network is shown the window `seen`."""
    return {name: cut(found, _inside(box), name) for name, found in network(seen).items()}


def _blank(shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """Return zeros to be written to in place: `tf.zeros` becomes a constant, which is copied first."""
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True)


def _put(tensor: tf.Tensor, part: tf.Tensor, box: tf.Tensor, layer: str = "") -> tf.Tensor:
    """Return `tensor` with `part` at the place that `cut` cuts; in place, if nothing else holds it."""
    step = architecture.stride(layer) if layer else 1
    top, left = box[0] // step, box[2] // step
    _, height, width, depth = tf.unstack(tf.shape(part))
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=tensor,
        begin=[0, top, left, 0],
        end=[1, top + height, left + width, depth],
        strides=[1, 1, 1, 1],
        value=part,
    )


def cut(tensor: tf.Tensor, box: tf.Tensor, layer: str = "") -> tf.Tensor:
    """Return the rows and columns of an image, or of a layer's features, that a box in pixels covers."""
    step = architecture.stride(layer) if layer else 1
    top, left = box[0] // step, box[2] // step
    bottom = tf.minimum(-(-box[1] // step), tf.shape(tensor)[1])
    right = tf.minimum(-(-box[3] // step), tf.shape(tensor)[2])
    # `tf.slice`, because the gradient of indexing is slower.
    return tf.slice(tensor, [0, top, left, 0], [1, bottom - top, right - left, tensor.shape[-1]])


def _normalized(grams: Mapping[str, tf.Tensor], shape: Sequence[int], config: Config) -> dict[str, tf.Tensor]:
    """Return the Gram matrices of a picture [1, H, W, 3] from their sums."""
    counts = {name: architecture.positions(name, shape[1], shape[2]) for name in grams}
    return {name: functional.normalize_gram(gram, counts[name], config.gram) for name, gram in grams.items()}
