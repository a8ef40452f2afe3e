"""Divide the tiles of a picture among replicas, and evaluate the objective together.

    each replica    the sums over its own tiles           → all-reduce →  the sums over the picture
    each replica    the gradient through its own tiles    → all-reduce →  the gradient of the picture

A replica whose share is one tile keeps its features from the first line for the second.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Sequence

import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.losses.objective import Network, Objective, Targets, Terms, term_names
from neural_style_tf.models import architecture
from neural_style_tf.tiling.tiled import (
    Tile,
    TiledObjective,
    compute_targets_tiled,
    cut,
    plan_tiles,
    pull_back,
)

MORE = 4
"""How many more rows and columns of tiles than necessary are tried for the sake of equal shares."""


def window_area(tile: Tile) -> int:
    """Return the cost of a tile, in pixels that the network sees."""
    top, bottom, left, right = tile.window
    return (bottom - top) * (right - left)


def share_out(plan: Sequence[Tile], replicas: int) -> tuple[tuple[Tile, ...], ...]:
    """Give each tile, the largest first, to the replica with the least to do.

    Args:
        plan: All tiles.
        replicas: How many share them.

    Returns:
        The tiles of each replica, at least one: with nothing else to do, one without a core.
    """
    shares: list[list[Tile]] = [[] for _ in range(replicas)]
    loads = [(0, number) for number in range(replicas)]
    for tile in sorted(plan, key=window_area, reverse=True):
        load, number = loads[0]
        shares[number].append(tile)
        heapq.heapreplace(loads, (load + window_area(tile), number))
    idle = Tile((0, 0, 0, 0), min(plan, key=window_area).window)
    return tuple(tuple(sorted(share)) or (idle,) for share in shares)


def plan_shares(
    config: Config, height: int, width: int, *, tile: int | None, replicas: int
) -> tuple[tuple[Tile, ...], ...]:
    """Divide a picture into tiles so that the replica with the most to do has as little as possible.

    Args:
        config: Which layers.
        height: Of the picture.
        width: Likewise.
        tile: The longest side of a core; None: as large as the shares are.
        replicas: How many share it.

    Returns:
        The tiles of each replica.
    """
    stride, halo = architecture.alignment(config.layers)

    def spans(length: int, count: int) -> tuple[tuple[int, ...], ...]:
        longest = math.ceil(math.ceil(length / stride) / count) * stride
        column = plan_tiles(length, 1, longest, stride=stride, halo=halo)
        return tuple((*one.core[:2], *one.window[:2]) for one in column)

    if tile is None:
        longer = bands(max(height, width), replicas, stride=stride, halo=halo)
        whole = ((0, min(height, width), 0, min(height, width)),)
        return share_out(_grid(*((longer, whole) if height >= width else (whole, longer))), replicas)
    fewest = [math.ceil(math.ceil(side / stride) / (tile // stride)) for side in (height, width)]
    rows, columns = (
        {spans(side, count) for count in range(least, least + MORE)}
        for side, least in zip((height, width), fewest, strict=True)
    )
    shares = [share_out(_grid(row, column), replicas) for row in sorted(rows) for column in sorted(columns)]
    return min(shares, key=lambda share: (max(sum(map(window_area, part)) for part in share), len(share[0])))


def bands(length: int, count: int, *, stride: int, halo: int) -> tuple[tuple[int, int, int, int], ...]:
    """Divide a length so that windows, not cores, are equal: those at the ends have one halo only.

    Returns:
        (start, stop) of each core and of its window; fewer than `count` where the length is too short.
    """
    cells, margin = -(-length // stride), halo // stride
    window = (cells + 2 * margin * (count - 1)) / count
    stops = [round(k * (window - 2 * margin) + margin) for k in range(1, count)]
    if window <= 2 * margin + 1:
        stops = [cells * k // count for k in range(1, count)]
    edges = [stride * stop for stop in sorted({0, *stops})] + [length]
    return tuple(
        (start, stop, max(0, start - halo), min(length, stop + halo))
        for start, stop in itertools.pairwise(edges)
    )


def _grid(rows: Sequence[tuple[int, ...]], columns: Sequence[tuple[int, ...]]) -> tuple[Tile, ...]:
    return tuple(Tile(row[:2] + column[:2], row[2:] + column[2:]) for row in rows for column in columns)


def smallest_tile(cluster: Cluster, tile: int | None) -> int | None:
    """Return the tile that all workers take: the smallest that one of them needs for its memory."""
    return min((one for one in cluster.tell(tile) if one), default=None)


def make_shared_objective(
    cluster: Cluster,
    network: Network,
    content: tf.Tensor,
    style: tf.Tensor,
    config: Config,
    *,
    tile: int | None,
) -> Objective:
    """Compute the targets together and return the objective that all replicas evaluate together.

    Args:
        cluster: The replicas.
        network: A model from `vgg.vgg19`, made in the cluster's scope.
        content: The content picture, mean-subtracted RGB [1, H, W, 3].
        style: The style picture, likewise, of any size.
        config: All settings.
        tile: The longest side of a core; None where the picture would fit in one piece.

    Returns:
        image [1, H, W, 3] → (terms, gradient), the same on every worker.
    """
    workers, rank = cluster.place.workers, cluster.place.rank
    tile = smallest_tile(cluster, tile)
    longest = max(*content.shape[1:3], *style.shape[1:3])
    smallest = architecture.stride(architecture.deepest(config.layers))
    found = compute_targets_tiled(
        network,
        content,
        style,
        config,
        tile=tile or max(smallest, -(-longest // workers)),
        share=lambda plan: share_out(plan, workers)[rank],
    )
    targets = Targets(
        content={name: cluster.total(part) for name, part in found.content.items()},
        style={name: cluster.total(part) for name, part in found.style.items()},
        energy={name: cluster.total(part) for name, part in found.energy.items()},
    )
    shares = plan_shares(config, *content.shape[1:3], tile=tile, replicas=cluster.replicas)
    return SharedObjective(
        cluster, tuple(TiledObjective(network, targets, config, share) for share in shares)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class SharedObjective:
    """The objective, evaluated by all replicas together.

    Attributes:
        cluster: The replicas.
        parts: What each of them is to do.
    """

    cluster: Cluster
    parts: Sequence[TiledObjective]

    def __call__(self, image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        """Return the terms and the gradient [1, H, W, 3] of an image [1, H, W, 3], in a graph."""
        values, gradient = self.cluster.run(self._on_replica, image)
        names = term_names(self.parts[0].config)
        return dict(zip(names, tf.unstack(values), strict=True)), gradient

    def _on_replica(self, number: int, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        part = self.parts[number]
        evaluate = self._in_one_pass if len(part.plan) == 1 else self._in_two_passes
        terms, gradient = evaluate(part, image)
        values = tf.stack([terms[name] for name in term_names(part.config)])
        # The chief's terms, lest machines that round differently decide differently.
        values = self.cluster.sum(values if number == 0 else tf.zeros_like(values))
        return values, self.cluster.sum(gradient)

    def _in_two_passes(self, part: TiledObjective, image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        sums = self.cluster.sum(part.sums(image))
        terms, slopes = part.score(sums, image.shape)
        with tf.control_dependencies(tf.nest.flatten(sums)):
            image = tf.identity(image)
        return terms, part.gradient(image, slopes)

    def _in_one_pass(self, part: TiledObjective, image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        top, bottom, left, right = part.plan[0].window
        box = tf.constant(part.plan[0], tf.int32)
        seen = cut(image, box[1])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(seen)
            here = part.sums_of_core(seen, box)
        terms, slopes = part.score(self.cluster.sum(here), image.shape)
        outside = [[0, 0], [top, image.shape[1] - bottom], [left, image.shape[2] - right], [0, 0]]
        return terms, tf.pad(pull_back(tape, here, slopes, seen), outside)
