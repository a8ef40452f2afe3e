"""Style losses on the first two moments of a layer's features, and the raw moments that such losses sum.

`MomentsTerm` compares Gram matrices, means and standard deviations. Each of the three is relative to the
energy of its target, so that one weight serves every layer, network and picture.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.base import Shape, StyleTerm, Sums, Target
from neural_style_tf.losses.view import View

SMALLEST = 1e-6
"""Smallest variance of a channel, as a share of the mean square of all: its root has no gradient at 0."""


@dataclasses.dataclass(frozen=True)
class RawMomentsTerm(StyleTerm):
    """Base class of a style term on raw moments, which are linear: they add over cores, and may be blended.

    Its target has a leaf `mean` [N].

    Args:
        layer: Whose features are looked at.
    """

    def target_sums(self, view: View) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the raw moments Σ f [N] and Σ f fᵀ [N, N]."""
        return view.moment_sums(self.layer, self.region)

    def sums(self, view: View, target: Target) -> tuple[tf.Tensor, tf.Tensor]:
        return view.moment_sums(self.layer, self.region)

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        channels = target["mean"].shape[0]
        return tf.zeros([channels], dtype), tf.zeros([channels, channels], dtype)

    def averages(
        self, sums: tuple[tf.Tensor, tf.Tensor], count: float | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return μ = Σ f / M [N] and G = Σ f fᵀ / M [N, N] of sums over `count` positions."""
        positions = functional.as_count(count, sums[0].dtype)
        return sums[0] / positions, sums[1] / positions


@dataclasses.dataclass(frozen=True)
class MomentsTerm(RawMomentsTerm):
    """Σ(G−A)²/ΣA² + Σ(μ−μ')²/Σμ'² + Σ(σ−σ')²/Σσ'² of one layer.

    G = FᵀF / M, μ and σ are the image's Gram matrix, and mean and standard deviation of each channel; A, μ'
    and σ' are those of the style picture. Differs from Gatys et al., who compare Gram matrices alone.

    Args:
        layer: Whose features are looked at.
    """

    def fit(self, sums: tuple[tf.Tensor, tf.Tensor], count: float) -> Target:
        gram, mean, deviation = self._statistics(sums, count)
        return {"gram": gram, "mean": mean, "deviation": deviation}

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        gram, mean, deviation = self._statistics(sums, self.count(target, shape))
        return (
            functional.style_distance(gram, target["gram"], "relative")
            + functional.style_distance(mean, target["mean"], "relative")
            + functional.style_distance(deviation, target["deviation"], "relative")
        )

    def _statistics(
        self, sums: tuple[tf.Tensor, tf.Tensor], count: float | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        mean, gram = self.averages(sums, count)
        squares = tf.linalg.diag_part(gram)
        smallest = SMALLEST * tf.reduce_mean(squares) + 1e-12
        return gram, mean, tf.sqrt(tf.maximum(squares - tf.square(mean), smallest))
