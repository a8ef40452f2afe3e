"""Divide the tiles of a picture among replicas, and sum their losses and gradients.

    each replica    the sums over its own tiles           → all-reduce →  the sums over the picture
    each replica    the gradient through its own tiles    → all-reduce →  the gradient of the picture

A replica whose share is one tile keeps its features from the first line for the second.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.losses.base import Target, Term
from neural_style_tf.losses.evaluate import Losses, Targets, evaluate
from neural_style_tf.losses.targets import Look, Source, compile_look, finish_targets, gather_targets
from neural_style_tf.losses.terms import loss_names
from neural_style_tf.losses.tile import Tile
from neural_style_tf.losses.view import Network
from neural_style_tf.tiling.adaptive import plan_looks, prepare_window, with_less_memory
from neural_style_tf.tiling.grid import alignment_of, plan_tiles
from neural_style_tf.tiling.memory_model import smaller_tile

MORE = 4
"""How many more rows and columns of tiles than necessary are tried to make the shares equal."""


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
    top, bottom, left, right = min(plan, key=window_area).window
    # Where a core of nothing lies within its window.
    idle = Tile((0, 0, 0, 0), (0, bottom - top, 0, right - left))
    return tuple(tuple(sorted(share)) or (idle,) for share in shares)


def plan_shares(
    terms: Sequence[Term], height: int, width: int, *, tile: int | None, replicas: int
) -> tuple[tuple[Tile, ...], ...]:
    """Divide a picture into tiles so that the replica with the most to do has as little as possible.

    Args:
        terms: What looks at the picture.
        height: Of the picture.
        width: Likewise.
        tile: The longest side of a core; None: as large as the shares are.
        replicas: How many share it.

    Returns:
        The tiles of each replica.
    """
    stride, halo = alignment_of(terms)

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
    return min((one for one in cluster.all_gather(tile) if one), default=None)


def compute_shared_targets(
    cluster: Cluster,
    network: Network,
    terms: tuple[Term, ...],
    sources: Sequence[Source],
    *,
    size: tuple[int, int],
    tile: int | None,
    given: Mapping[str, Target] | None = None,
    look: Look = compile_look,
) -> tuple[Targets, int | None, tuple[str, ...]]:
    """Compute the targets, each worker a share of them; the same on every worker.

    Args:
        cluster: The replicas.
        network: A model from `models.vgg19`, made in the cluster's scope.
        terms: Whose targets.
        sources: The pictures, content first, each [1, H, W, 3], RGB 0–255.
        size: (H, W) of the image.
        tile: The longest side of a core, the same on all workers; None where the picture fits in one piece.
        given: See `losses.targets.given_leaves`.
        look: See `losses.targets.gather_targets`.

    Returns:
        The targets, the tile that sufficed, and a note if it is not `tile`.
    """
    workers, rank = cluster.worker.workers, cluster.worker.rank
    stride, _ = alignment_of(terms)
    # Without tiles each worker looks at about its share.
    longest = max((side for source in sources for side in source.size), default=0)
    of_targets = tile or max(stride, -(-longest // workers))

    def gathered(tile: int) -> Any:
        plans = [share_out(plan, workers)[rank] for plan in plan_looks(terms, sources, size, tile)]
        return gather_targets(network, sources, plans=plans, prepare=prepare_window, look=look)

    # Of several workers the others would wait in vain; see `SharedObjective.smaller`.
    if workers == 1:
        found, used, notes = with_less_memory(gathered, of_targets, size)
        tile = used if notes else tile
    else:
        found, notes = gathered(of_targets), ()
    added = tf.nest.map_structure(cluster.all_reduce_sum, found)
    return finish_targets(terms, sources, added, given or {}), tile, notes


@dataclasses.dataclass(frozen=True, eq=False)
class SharedObjective:
    """The objective, evaluated by all replicas together; see `losses.objective.Objective`.

    Attributes:
        cluster: The replicas.
        network, terms, size, tile: As for `tiling.adaptive.LocalObjective`; without a tile the picture is
            divided into as many bands as there are replicas.
    """

    cluster: Cluster
    network: Network
    terms: tuple[Term, ...]
    size: tuple[int, int]
    tile: int | None

    def __call__(
        self, image: tf.Tensor, targets: Targets, weights: Mapping[str, Any]
    ) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient [1, H, W, 3] of an image [1, H, W, 3], in a graph."""
        shares = plan_shares(self.terms, *self.size, tile=self.tile, replicas=self.cluster.replicas)
        names = loss_names(self.terms)

        def on_replica(
            number: int, image: tf.Tensor, targets: Targets, weights: Mapping[str, Any]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            losses, gradient = evaluate(
                self.network, self.terms, image, targets, weights, shares[number], self.cluster.sum
            )
            values = tf.stack([losses[name] for name in names])
            # All use the chief's losses: machines that round differently would decide differently.
            return self.cluster.sum(values if number == 0 else tf.zeros_like(values)), gradient

        values, gradient = self.cluster.run(on_replica, image, targets, weights)
        return dict(zip(names, tf.unstack(values), strict=True)), gradient

    def smaller(self, size: tuple[int, int]) -> SharedObjective | None:
        """Return the same function in smaller tiles, or None if there are none.

        Only where all replicas are in this process: when one of several workers runs out of memory, the
        others wait in a collective operation that TensorFlow cannot begin anew.
        """
        if self.cluster.worker.workers > 1:
            return None
        tile = smaller_tile(self.tile, size)
        return None if tile is None else dataclasses.replace(self, tile=tile)
