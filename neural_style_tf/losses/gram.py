"""Style losses on Gram matrices, alone (Eq. 4) or with means and standard deviations."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.term import Moments, Term
from neural_style_tf.losses.view import View

SMALLEST_SQUARE = 1e-6
"""Lower limit of the variance of a channel, divided by the mean square of all channels: a square root has no
gradient at 0."""


@dataclasses.dataclass(frozen=True)
class Gram(Term):
    """Style loss E_l: the distance of the Gram matrices of image and style picture at one layer (Eq. 4).

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
    """Style loss Σ(G−A)²/ΣA² + Σ(μ−μ')²/Σμ'² + Σ(σ−σ')²/Σσ'² of one layer.

    G = FᵀF / M is the Gram matrix of the image; μ and σ are the mean and the standard deviation of each
    channel. A, μ' and σ' are the same of the style picture. Each of the three distances is divided by the sum
    of squares of its target, so that one weight serves every layer, network and picture.

    Differs from Gatys et al., who compare Gram matrices alone.
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
