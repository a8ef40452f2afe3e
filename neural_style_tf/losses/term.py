"""`Term`, one loss of the objective, and the statistics that terms are made of.

A term looks at a picture and returns a statistic, which adds over positions. So one class of a few lines
works in one piece, in tiles, on several replicas, with several styles and with masks:

    look      what the term needs of a source picture           additive
    target    what it compares with, made of that               once a scale
    compare   what it needs of the image being painted          additive, differentiable
    loss      a scalar from the statistic and the target

A statistic is a tensor, a tuple or a dict of tensors, or `Moments`. Where a term needs the features
themselves, place by place, it wraps them in a `Map`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import tensorflow as tf

if TYPE_CHECKING:
    from neural_style_tf.losses.view import View

Tree = Any
"""A tensor or `Map`, or a dict or tuple of trees."""


class Moments(NamedTuple):
    """Raw moments of features f over positions, each of which counts m times (1 without a mask).

    Attributes:
        count: Σ m, a scalar.
        first: Σ m f [N]; [0] where only second moments were asked for.
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
        """G = Σ m f fᵀ / Σ m [N, N], the Gram matrix over the positions."""
        return self.second / self.count

    @property
    def covariance(self) -> tf.Tensor:
        """Σ = G − μ μᵀ [N, N]."""
        return self.gram - self.mean[:, tf.newaxis] * self.mean[tf.newaxis, :]


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """Values laid out over a picture: put together from tiles, not added, and cropped with the tile.

    Attributes:
        values: [1, H_l, W_l, N].
        layer: At whose positions they are; `""` for pixels.
    """

    values: tf.Tensor
    layer: str = ""

    def __tf_flatten__(self) -> tuple[tuple[str], tuple[tf.Tensor]]:
        """Return what is static and what is a tensor, for `tf.nest`."""
        return (self.layer,), (self.values,)

    @classmethod
    def __tf_unflatten__(cls, metadata: tuple[str], components: tuple[tf.Tensor]) -> Map:
        """Return the map that was flattened."""
        return cls(*components, *metadata)


def map_leaves(function: Callable[..., Any], *trees: Tree) -> Tree:
    """Return the tree of `function(layer, *leaves)`; `layer` is that of a `Map`, and None for other leaves.

    What is returned for a `Map` stands in its place as it is.
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
    """One loss of the objective: static and hashable. What differs between pictures is in its target.

    Write a subclass with `look` and `loss`, and `target` and `compare` where the defaults do not fit. Add
    fields for settings; instances with equal fields share a compiled step.

    Args:
        layer: The layer whose features it looks at; `""` for pixels alone.
        weight: Its factor in the total loss, ≥ 0. A term of weight 0 is left out.
        region: The name of the mask that says which positions count; `""` for all alike.

    Attributes:
        part: The sum that it belongs to in logs: `content`, `style`, `tv`, `temporal`, or one of its own.
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
        """Return the statistic of a picture, or of one tile of it.

        Args:
            view: Features, moments and pixels of the picture.
        """
        raise NotImplementedError

    def target(self, statistic: Tree) -> Tree:
        """Return what the image is compared with; computed once for each scale.

        Args:
            statistic: From `look`, over all of the source. Of several styles, the weighted mean of theirs.
        """
        return statistic

    def compare(self, view: View, target: Tree) -> Tree:
        """Return the statistic of the image, or of one tile of it; differentiable.

        Args:
            view: Features, moments and pixels of the image.
            target: From `target`; each `Map` in it is the tensor of the tile's positions.
        """
        return self.look(view)

    def loss(self, statistic: Tree, target: Tree) -> tf.Tensor:
        """Return the loss, a scalar ≥ 0.

        Args:
            statistic: From `compare`, over all of the image.
            target: From `target`; a `Map` in it is whole, and best not used here.
        """
        raise NotImplementedError
