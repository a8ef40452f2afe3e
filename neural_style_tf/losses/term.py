"""`Term`, one loss of the objective, and the statistics that terms are made of.

A term computes a statistic of a picture that adds over positions. So one class of a few lines works in one
piece, in tiles, on several replicas, with several styles and with masks:

    look      source picture       → statistic      additive
    target    statistic            → target         once a scale
    blend     several statistics   → target         of several styles in one place
    compare   image, target        → statistic      additive, differentiable
    loss      statistic, target    → scalar

A statistic is a tensor, a tuple or a dict of tensors, or `Moments`. A term that needs the features
themselves, position by position, wraps them in a `Map`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from neural_style_tf.losses.view import View

Tree = Any
"""A tensor or `Map`, or a dict or tuple of trees."""


class Moments(NamedTuple):
    """Raw moments of features f over positions of weight m (1 without a mask).

    Attributes:
        count: Σ m, a scalar.
        first: Σ m f [N]; [0] if `View.moments` was called with `first=False`.
        second: Σ m f fᵀ [N, N].
    """

    count: tf.Tensor
    first: tf.Tensor
    second: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """μ = Σ m f / Σ m [N]."""
        return self.first / self.count

    @property
    def gram(self) -> tf.Tensor:
        """G = Σ m f fᵀ / Σ m [N, N], the Gram matrix divided by the number of positions."""
        return self.second / self.count

    @property
    def covariance(self) -> tf.Tensor:
        """Σ = G − μ μᵀ [N, N]."""
        return self.gram - self.mean[:, tf.newaxis] * self.mean[tf.newaxis, :]


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Values at the positions of a layer. Maps of tiles are joined, not added; each tile gets its crop.

    Attributes:
        values: [1, H_l, W_l, N].
        layer: The layer; `""` for pixels.
    """

    values: tf.Tensor
    layer: str = ""

    def __tf_flatten__(self) -> tuple[tuple[str], tuple[tf.Tensor]]:
        """Return the static part and the tensors, for `tf.nest`."""
        return (self.layer,), (self.values,)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[str], components: tuple[tf.Tensor]) -> Map:
        """Return the map with this static part and these tensors."""
        return cls(*components, *metadata)


def map_leaves(function: Callable[..., Any], *trees: Tree) -> Tree:
    """Return the tree of `function(layer, *leaves)`; `layer` is that of a `Map`, None for other leaves.

    `function` receives the values of a `Map`, and its result replaces the `Map`.
    """
    first = trees[0]
    if isinstance(first, Map):
        return function(first.layer, *(tree.values for tree in trees))
    if isinstance(first, dict):
        return {key: map_leaves(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple | list):
        parts = [map_leaves(function, *parts) for parts in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return function(None, *trees)


@dataclasses.dataclass(frozen=True)
class Term:
    """One loss of the objective: static and hashable. Whatever depends on a picture is in its target.

    Write a subclass with `look` and `loss`, and with `target` and `compare` where the defaults do not fit.
    Add fields for settings; terms with equal fields share a compiled step.

    Args:
        layer: The layer whose features it compares; `""` for pixels.
        weight: Its factor in the total loss, ≥ 0. A term of weight 0 is left out.
        region: The name of a mask, which weights the positions; `""` for weight 1 everywhere.

    Attributes:
        part: The sum in the log that it adds to: `content`, `style`, `tv`, `temporal`, or a name of your own.
        source: The pictures that `look` sees: `content`, `style`, or `""` for none.
    """

    part: ClassVar[str] = "style"
    source: ClassVar[str] = "style"

    layer: str = ""
    weight: float = 1.0
    region: str = ""

    @property
    def name(self) -> str:
        """Its name in logs, such as `style/relu3_1` or `style/relu3_1/region2`."""
        return "/".join(filter(None, (self.part, self.layer, self.region)))

    def look(self, view: View) -> Tree:
        """Return the statistic of a source picture, or of one tile of it.

        Args:
            view: Features, moments and pixels of the picture.
        """
        raise NotImplementedError

    def target(self, statistic: Tree) -> Tree:
        """Return what the image is compared with; computed once for each scale.

        Args:
            statistic: From `look`, of the whole picture; of several styles, the weighted mean of theirs.
        """
        return statistic

    def blend(self, statistics: Sequence[Tree], shares: Sequence[float], counts: Sequence[float]) -> Tree:
        """Return the target of one style, or of several in one place; default: `target` of their mean.

        Raw moments may be averaged; covariances and their roots may not. So statistics are averaged, not
        targets. A term whose statistic is samples must override this method.

        Args:
            statistics: Of each style, from `look`.
            shares: The weight of each style; their sum is 1.
            counts: The number of positions of each style, by which its statistic is divided.
        """
        if len(statistics) == 1:
            return self.target(statistics[0])
        factors = [share / count for share, count in zip(shares, counts, strict=True)]
        return self.target(map_leaves(functools.partial(_weighted_sum, factors), *statistics))

    def compare(self, view: View, target: Tree) -> Tree:
        """Return the statistic of the image, or of one tile of it; differentiable.

        Args:
            view: Features, moments and pixels of the image.
            target: From `target`; each `Map` in it is replaced by the tensor at the tile's positions.
        """
        return self.look(view)

    def loss(self, statistic: Tree, target: Tree) -> tf.Tensor:
        """Return the loss, a scalar ≥ 0.

        Args:
            statistic: From `compare`, of the whole image.
            target: From `target`. A `Map` in it covers the whole image; do not use it in large pictures.
        """
        raise NotImplementedError


def _weighted_sum(factors: Sequence[float], _: str | None, *leaves: tf.Tensor) -> tf.Tensor:
    pairs = zip(leaves, factors, strict=True)
    return sum(leaf * tf.constant(factor, leaf.dtype) for leaf, factor in pairs)
