"""`Term`, one loss of the objective, and the statistics that terms compute.

A term computes a statistic of a picture, which is a sum over positions. Statistics of tiles, of replicas and
of styles can be added up. So a class of a few lines works with all of these, and with masks. Its methods, in
the order of their use:

    look(source picture)        returns a statistic; used for the target
    target(statistic)           returns the target; called once for each scale
    blend(several statistics)   returns the target of several styles in one place
    compare(image, target)      returns a statistic; differentiable
    loss(statistic, target)     returns a scalar

A statistic is a tensor, a `Moments`, or a tuple or dict of tensors. A term that compares features position by
position wraps them in a `Map`.
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
"""A tensor, a `Map`, or a dict or tuple of trees."""


class Moments(NamedTuple):
    """Raw moments of the features of a layer: sums over its positions, not yet divided by `count`.

    In the formulas, f [N] are the features at a position, and m is its weight in the mask (1 without a mask).

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
        """The mean of the features, μ = Σ m f / Σ m [N]."""
        return self.first / self.count

    @property
    def gram(self) -> tf.Tensor:
        """The Gram matrix divided by the number of positions, G = Σ m f fᵀ / Σ m [N, N]."""
        return self.second / self.count

    @property
    def covariance(self) -> tf.Tensor:
        """The covariance of the features, G − μ μᵀ [N, N]."""
        return self.gram - self.mean[:, tf.newaxis] * self.mean[tf.newaxis, :]


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Values at each position of a layer, which are kept instead of summed.

    Maps of tiles are joined to a map of the whole picture. For a tile, a map is cropped to the tile.

    Attributes:
        values: [1, H_l, W_l, N]: rows, columns and channels of the layer.
        layer: Name of the layer; `""` for pixels.
    """

    values: tf.Tensor
    layer: str = ""

    def __tf_flatten__(self) -> tuple[tuple[str], tuple[tf.Tensor]]:
        """Return the static part and the tensors; `tf.nest` calls this."""
        return (self.layer,), (self.values,)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[str], components: tuple[tf.Tensor]) -> Map:
        """Return the map with this static part and these tensors; `tf.nest` calls this."""
        return cls(*components, *metadata)


def map_leaves(function: Callable[..., Any], *trees: Tree) -> Tree:
    """Call `function(layer, *leaves)` for corresponding leaves of `trees`; return the tree of the results.

    For a `Map`, `function` receives the layer and the values; its result replaces the `Map`. For any other
    leaf, `layer` is None.
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
    """One loss of the objective. It is static and hashable; what depends on a picture is in its target.

    A subclass defines `look` and `loss`, and overrides `target`, `blend` or `compare` where the defaults do
    not fit. A subclass without a source defines `compare` instead of `look`. Add fields for settings. Terms
    with equal fields share a compiled step.

    Args:
        layer: Name of the layer whose features are compared; `""` for pixels.
        weight: Factor of the loss in the total, ≥ 0. A term of weight 0 is left out.
        region: Name of the mask that weights the positions; `""` for weight 1 everywhere.

    Attributes:
        part: Name of the sum in the log to which the loss is added: `content`, `style`, `tv`, `temporal`, or
            a name of your own.
        source: The pictures with which `look` is called: `content`, `style`, or `""` for none.
    """

    part: ClassVar[str] = "style"
    source: ClassVar[str] = "style"

    layer: str = ""
    weight: float = 1.0
    region: str = ""

    @property
    def name(self) -> str:
        """The name of the term in logs, such as `style/relu3_1` or `style/relu3_1/region2`."""
        return "/".join(filter(None, (self.part, self.layer, self.region)))

    def look(self, view: View) -> Tree:
        """Return the statistic of a source picture, or of one tile of it.

        Args:
            view: Features, moments and pixels of the picture or tile.
        """
        raise NotImplementedError

    def target(self, statistic: Tree) -> Tree:
        """Return the target, with which the image is compared; called once for each scale.

        Args:
            statistic: From `look`, summed over the whole picture. With several styles, their weighted mean.
        """
        return statistic

    def blend(self, statistics: Sequence[Tree], shares: Sequence[float], counts: Sequence[float]) -> Tree:
        """Return the target of one style, or of several styles that are painted in the same place.

        By default it is `target` of the weighted mean of the statistics. Targets themselves are not averaged:
        a mean of raw moments is right, a mean of covariances or of their roots is not. A term whose statistic
        consists of samples must override this method.

        Args:
            statistics: From `look`, for each style.
            shares: The weight of each style; the weights add up to 1.
            counts: The number of positions of each style. Statistics are divided by it before they are
                averaged.
        """
        if len(statistics) == 1:
            return self.target(statistics[0])
        factors = [share / count for share, count in zip(shares, counts, strict=True)]
        return self.target(map_leaves(functools.partial(_weighted_sum, factors), *statistics))

    def compare(self, view: View, target: Tree) -> Tree:
        """Return the statistic of the image, or of one tile of it; it must be differentiable.

        Args:
            view: Features, moments and pixels of the image or tile.
            target: From `target`. Each `Map` in it is replaced by a tensor, for a tile the part at its
                positions.
        """
        return self.look(view)

    def loss(self, statistic: Tree, target: Tree) -> tf.Tensor:
        """Return the loss, a scalar ≥ 0.

        Args:
            statistic: From `compare`, summed over the whole image.
            target: From `target`. A `Map` in it covers the whole image: do not use it here, it may be very
                large.
        """
        raise NotImplementedError


def _weighted_sum(factors: Sequence[float], _: str | None, *leaves: tf.Tensor) -> tf.Tensor:
    pairs = zip(leaves, factors, strict=True)
    return sum(leaf * tf.constant(factor, leaf.dtype) for leaf, factor in pairs)
