"""Style losses on Gram matrices, alone (Eq. 4) or with means and standard deviations."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.term import Moments, Term
from neural_style_tf.losses.view import View

SMALLEST_SQUARE = 1e-6
"""Smallest variance of a channel, relative to the mean square of all channels: √0 has no gradient."""


@dataclasses.dataclass(frozen=True)
class Gram(Term):
    """E_l, the distance between the Gram matrices of image and style picture at one layer (Eq. 4).

    Args:
        form: `mean`, `gatys` or `relative`; see `functional.style_distance`.
        normalization: `positions` divides Gram matrices by M_l; `elements` by M_l N_l (the original
            repository).
    """

    form: str = "mean"
    normalization: str = "elements"

    def look(self, view: View) -> Moments:
        return view.moments(self.layer, self.region, first=False)

    def target(self, statistic: Moments) -> tf.Tensor:
        return functional.normalize_gram(statistic.second, statistic.count, self.normalization)

    def loss(self, statistic: Moments, target: tf.Tensor) -> tf.Tensor:
        return functional.style_distance(self.target(statistic), target, self.form)


@dataclasses.dataclass(frozen=True)
class GramAndMoments(Term):
    """Σ(G−A)²/ΣA² + Σ(μ−μ')²/Σμ'² + Σ(σ−σ')²/Σσ'² of one layer.

    G = FᵀF / M, μ and σ are the image's Gram matrix, and mean and standard deviation of each channel. A, μ'
    and σ' are those of the style picture. Each of the three is relative to the energy of its target, so that
    one weight serves every layer, network and picture. Differs from Gatys et al., who compare Gram matrices
    alone.
    """

    def look(self, view: View) -> Moments:
        return view.moments(self.layer, self.region)

    def target(self, statistic: Moments) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        squares = tf.linalg.diag_part(statistic.gram)
        smallest = SMALLEST_SQUARE * tf.reduce_mean(squares) + 1e-12
        deviation = tf.sqrt(tf.maximum(squares - tf.square(statistic.mean), smallest))
        return statistic.gram, statistic.mean, deviation

    def loss(self, statistic: Moments, target: tuple[tf.Tensor, ...]) -> tf.Tensor:
        pairs = zip(self.target(statistic), target, strict=True)
        return sum(functional.style_distance(ours, theirs, "relative") for ours, theirs in pairs)
