"""Base class of a loss term: what it sums over positions, and the loss it makes of the sums.

Everything that a loss needs of an image adds over its positions. A term says so in two steps: `sums` of one
core, which are added over all cores, and `loss`, a scalar from the sums of the whole image. Whoever evaluates
the objective (in one piece, in tiles, on several replicas) needs nothing else of a term.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from neural_style_tf.losses.view import View
from neural_style_tf.models import architecture

Target = Mapping[str, tf.Tensor]
"""Leaf → tensor: what a term compares the image with."""
Sums = Any
"""A tensor, or a nest of tensors, that adds over cores."""
Shape = tuple[int | tf.Tensor, ...]
"""Of an image, [1, H, W, 3]; H and W are tensors in a graph that serves all sizes."""


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the objective: static and hashable; what differs between pictures is in its target.

    Args:
        layer: The layer whose features it looks at; `""` for pixels alone.

    Attributes:
        part: The part of the objective that it counts in: `content`, `style`, `tv` or `temporal`.
        source: The picture that its target is made of: `content`, `style`, or `""` for no target.
    """

    part: ClassVar[str]
    source: ClassVar[str] = ""

    layer: str = ""

    @property
    def name(self) -> str:
        """Its name in logs, such as `style/relu3_1`."""
        return f"{self.part}/{self.layer}" if self.layer else self.part

    @property
    def maps(self) -> Mapping[str, str]:
        """The leaves of its target that are maps over the picture → the layer at whose positions they are."""
        return {}

    def target_maps(self, view: View) -> Target:
        """Return the core's part of each of `maps`, of the picture that is the source."""
        return {}

    def target_sums(self, view: View) -> Sums:
        """Return what else the target is made of, of one core of the source."""
        return ()

    def fit(self, sums: Sums, count: float) -> Target:
        """Return the leaves of the target that are no maps.

        Args:
            sums: From `target_sums`, over all of the source.
            count: How many positions of the layer they are sums over.
        """
        return {}

    def sums(self, view: View, target: Target) -> Sums:
        """Return what the loss is made of, of one core; differentiable."""
        raise NotImplementedError

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        """Return the sums of no core at all."""
        raise NotImplementedError

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        """Return the loss, a scalar ≥ 0, from the sums over an image of `shape` [1, H, W, 3]."""
        raise NotImplementedError


def loss_parts(terms: Sequence[Term]) -> tuple[str, ...]:
    """Return the parts of an objective: the three of every picture, and what else the terms have."""
    return tuple(dict.fromkeys(("content", "style", "tv", *(term.part for term in terms))))


@dataclasses.dataclass(frozen=True)
class StyleTerm(Term):
    """Base class of a style term: statistics of a layer's features, in all of the picture or in a region.

    The target of a region has two leaves that no `fit` makes: `guide`, a map [1, H_l, W_l, 1] of 0–1, and
    `count`, its sum. See `guides`.

    Args:
        layer: Whose features are looked at.
        region: Number of the region, from 1; 0 for all of the picture.
    """

    part: ClassVar[str] = "style"
    source: ClassVar[str] = "style"

    region: int = 0

    @property
    def name(self) -> str:
        """Its name in logs, such as `style/relu3_1` or `style/relu3_1/region2`."""
        return f"{self.part}/{self.layer}" + (f"/region{self.region}" if self.region else "")

    @property
    def place(self) -> int:
        """The number of its region among those of `guides.Guidance`, from 0."""
        return max(self.region - 1, 0)

    @property
    def maps(self) -> Mapping[str, str]:
        """See `Term.maps`."""
        return {"guide": self.layer} if self.region else {}

    def count(self, target: Target, shape: Shape) -> int | tf.Tensor:
        """Return M_l, the positions of an image of `shape` [1, H, W, 3], or the sum of the guide."""
        return target["count"] if self.region else architecture.positions(self.layer, shape[1], shape[2])
