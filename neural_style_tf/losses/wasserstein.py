"""Style loss as a Wasserstein distance between two Gaussians, of which the features are samples.

Notation of this file:

    μ, Σ    mean [N] and covariance [N, N] of a layer's features in the image
    μ', T   the same in the style picture
    R       a square root of T: T = R Rᵀ
    K       Rᵀ Σ R
    W₂      the Wasserstein distance of order 2 between the two Gaussians
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.term import Moments, Term
from neural_style_tf.losses.view import View

RIDGE = 1e-4
"""ε, divided by the mean variance of a channel. It is added to the diagonal of both covariances: with fewer
positions than channels a covariance is singular, and its square root has no gradient."""
BLOCK = 128
"""Number of principal components of T that are compared together. The time that a square root takes grows
with the cube of this number."""


@dataclasses.dataclass(frozen=True)
class Wasserstein(Term):
    """Style loss of one layer: W₂² between the Gaussians of image and style picture, divided by an energy.

    W₂² = ‖μ−μ'‖² + tr Σ + tr T − 2 tr (T^½ Σ T^½)^½; the energy is tr T + ‖μ'‖². Source of
    the loss: V. Marron, style_transfer (2018); of W₂ between Gaussians: Dowson and Landau (1982).

    Differs from Gatys et al., who compare Gram matrices entry by entry.
    """

    def look(self, view: View) -> Moments:
        return view.moments(self.layer, self.region)

    def target(self, statistic: Moments) -> dict[str, tf.Tensor]:
        mean, dtype = statistic.mean, statistic.second.dtype
        covariance = Moments(*(tf.cast(leaf, tf.float64) for leaf in statistic)).covariance
        trace = tf.maximum(tf.linalg.trace(covariance), 0)
        # 1e-12, which is above rounding errors, is for a constant picture: it has no variance.
        ridge = RIDGE * trace / covariance.shape[0] + 1e-12
        variances, directions = tf.linalg.eigh(covariance)
        variances = tf.maximum(variances, 0) + ridge
        # Put the largest variances first, so that each block holds similar variances.
        root = tf.reverse(directions * tf.sqrt(variances), [1])
        return {
            "mean": mean,
            "root": tf.cast(root, dtype),
            "ridge": tf.cast(ridge, dtype),
            "energy": functional.energy(mean) + tf.cast(tf.reduce_sum(variances), dtype),
        }

    def loss(self, statistic: Moments, target: dict[str, tf.Tensor]) -> tf.Tensor:
        distance = covariance_distance(statistic.covariance, target["root"], target["ridge"])
        return (tf.reduce_sum(tf.square(statistic.mean - target["mean"])) + distance) / target["energy"]


@tf.custom_gradient
def covariance_distance(
    covariance: tf.Tensor, root: tf.Tensor, ridge: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None, None]]]:
    """Return tr Σ + tr T − 2 tr K^½ ≥ 0 with K = Rᵀ Σ R, the part of W₂² that depends on covariances.

    The gradient I − R K^(−½) Rᵀ is written out: TensorFlow's gradient of an eigendecomposition divides by
    differences of eigenvalues, which may be 0. To save time, the principal components of T are compared in
    blocks of `BLOCK`. The result is then the sum of W₂² between the projections on each block: it is 0 for Σ
    = T, and at most W₂².

    Args:
        covariance: Σ [N, N], symmetric.
        root: R [N, N]. Each column is an eigenvector of T times the square root of its eigenvalue; the
            largest eigenvalue comes first.
        ridge: ε > 0, added to the diagonal of Σ. T already includes it.
    """
    channels = root.shape[0]
    firsts = range(0, channels, BLOCK)
    parts = [root[:, first : first + BLOCK] for first in firsts]
    spread = covariance + ridge * tf.eye(channels, dtype=covariance.dtype)
    # The eigenvalues of K are about the squares of those of T. Their range is so wide that the root needs
    # float64.
    middles = [tf.matmul(part, tf.matmul(spread, part), transpose_a=True) for part in parts]
    decomposed = [tf.linalg.eigh(tf.cast(middle, tf.float64)) for middle in middles]
    smallest = tf.square(tf.cast(ridge, tf.float64))
    decomposed = [(tf.maximum(values, smallest), vectors) for values, vectors in decomposed]
    common = sum(tf.reduce_sum(tf.sqrt(values)) for values, _ in decomposed)
    traces = tf.linalg.trace(tf.cast(spread, tf.float64)) + tf.reduce_sum(
        tf.square(tf.cast(root, tf.float64))
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        plan = tf.eye(channels, dtype=covariance.dtype)
        for part, (values, vectors) in zip(parts, decomposed, strict=True):
            half = tf.matmul(part, tf.cast(vectors * values**-0.25, part.dtype))
            plan -= tf.matmul(half, half, transpose_b=True)
        return upstream * plan, None, None

    return tf.cast(tf.maximum(traces - 2 * common, 0), covariance.dtype), gradient
