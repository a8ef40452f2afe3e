"""Style loss on moments: Gram matrix, means and standard deviations of a layer's features.

Each of the three is relative to the energy of its target, so that one weight serves every layer, network and
picture.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.base import Sums, Target, Term
from neural_style_tf.losses.view import View
from neural_style_tf.models import architecture
from neural_style_tf.models.precision import at_least_float32

SMALLEST = 1e-6
"""Smallest variance of a channel, as a share of the mean square of all: its root has no gradient at 0."""


@dataclasses.dataclass(frozen=True)
class MomentsTerm(Term):
    """Σ(G−A)²/ΣA² + Σ(μ−μ')²/Σμ'² + Σ(σ−σ')²/Σσ'² of one layer.

    G = FᵀF / M, μ and σ are the image's Gram matrix, and mean and standard deviation of each channel; A, μ'
    and σ' are those of the style picture. Differs from Gatys et al., who compare Gram matrices alone.

    Args:
        layer: Whose features are looked at.
    """

    part: ClassVar[str] = "style"
    source: ClassVar[str] = "style"

    def target_sums(self, view: View) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the raw moments Σ f [N] and Σ f fᵀ [N, N]."""
        features = view.features(self.layer)
        return tf.reduce_sum(at_least_float32(features), [0, 1, 2]), functional.gram_sum(features)

    def fit(self, sums: tuple[tf.Tensor, tf.Tensor], shape: tuple[int, ...]) -> Target:
        gram, mean, deviation = self._statistics(sums, shape)
        return {"gram": gram, "mean": mean, "deviation": deviation}

    def sums(self, view: View, target: Target) -> tuple[tf.Tensor, tf.Tensor]:
        return self.target_sums(view)

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        return tf.zeros_like(target["mean"]), tf.zeros_like(target["gram"])

    def loss(self, sums: Sums, target: Target, shape: tuple[int, ...]) -> tf.Tensor:
        gram, mean, deviation = self._statistics(sums, shape)
        return (
            functional.style_distance(gram, target["gram"], "relative")
            + functional.style_distance(mean, target["mean"], "relative")
            + functional.style_distance(deviation, target["deviation"], "relative")
        )

    def _statistics(
        self, sums: tuple[tf.Tensor, tf.Tensor], shape: tuple[int, ...]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        positions = tf.cast(architecture.positions(self.layer, shape[1], shape[2]), sums[0].dtype)
        mean, gram = sums[0] / positions, sums[1] / positions
        squares = tf.linalg.diag_part(gram)
        smallest = SMALLEST * tf.reduce_mean(squares) + 1e-12
        return gram, mean, tf.sqrt(tf.maximum(squares - tf.square(mean), smallest))
