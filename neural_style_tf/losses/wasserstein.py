"""Style loss as a Wasserstein distance: features of image and style picture as samples of two Gaussians.

Notation of this file: μ and Σ are mean and covariance of a layer's features in the image, μ' and T those in
the style picture, R a root of T with T = R Rᵀ, and K = Rᵀ Σ R.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.term import Moments, Term
from neural_style_tf.losses.view import View

RIDGE = 1e-4
"""ε, added to both covariances, as a share of the mean variance of a channel: where a layer has fewer
positions than channels, its covariance is singular, and the root of it has no gradient."""
BLOCK = 256
"""Principal components of T whose covariances are compared as a whole: the time of a root grows with the
third power of their number."""


@dataclasses.dataclass(frozen=True)
class Wasserstein(Term):
    """W₂² between the Gaussians of a layer's features in image and style picture, of the style's energy.

    W₂² = ‖μ−μ'‖² + tr Σ + tr T − 2 tr (T^½ Σ T^½)^½, divided by tr T + ‖μ'‖². Differs from Gatys et al., who
    compare Gram matrices entry by entry. Source of the loss: V. Marron, style_transfer (2018); of W₂ between
    Gaussians: Dowson and Landau (1982).
    """

    def look(self, view: View) -> Moments:
        return view.moments(self.layer, self.region)

    def target(self, statistic: Moments) -> dict[str, tf.Tensor]:
        mean, dtype = statistic.mean, statistic.second.dtype
        covariance = Moments(*(tf.cast(leaf, tf.float64) for leaf in statistic)).covariance
        trace = tf.maximum(tf.linalg.trace(covariance), 0)
        # Beside rounding; a constant picture has no variance at all.
        ridge = RIDGE * trace / covariance.shape[0] + 1e-12
        variances, directions = tf.linalg.eigh(covariance)
        variances = tf.maximum(variances, 0) + ridge
        # The largest variances first, so that blocks hold what varies alike.
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
    """Return tr Σ + tr T − 2 tr K^½, the part of W₂² that covariances make up.

    Its gradient I − R K^(−½) Rᵀ is written out: that of an eigendecomposition divides by the differences of
    eigenvalues, which may be 0. `BLOCK` principal components of T, and the next ones, are compared each among
    themselves: the sum of W₂² of the projections on these subspaces. It is 0 where Σ = T, and at most W₂².

    Args:
        covariance: Σ [N, N], symmetric.
        root: R [N, N], whose columns are √λ times the eigenvectors of T, of which λ are the eigenvalues, the
            largest first.
        ridge: ε > 0, which is added to the diagonal of Σ; T holds its own.

    Returns:
        A scalar ≥ 0.
    """
    channels = root.shape[0]
    firsts = range(0, channels, BLOCK)
    parts = [root[:, first : first + BLOCK] for first in firsts]
    spread = covariance + ridge * tf.eye(channels, dtype=covariance.dtype)
    # K is graded, from λ² of the largest component to that of the smallest: roots of it are taken in float64.
    middles = [tf.matmul(part, tf.matmul(spread, part), transpose_a=True) for part in parts]
    found = [tf.linalg.eigh(tf.cast(middle, tf.float64)) for middle in middles]
    smallest = tf.square(tf.cast(ridge, tf.float64))
    found = [(tf.maximum(values, smallest), vectors) for values, vectors in found]
    common = sum(tf.reduce_sum(tf.sqrt(values)) for values, _ in found)
    traces = tf.linalg.trace(tf.cast(spread, tf.float64)) + tf.reduce_sum(
        tf.square(tf.cast(root, tf.float64))
    )

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        plan = tf.eye(channels, dtype=covariance.dtype)
        for part, (values, vectors) in zip(parts, found, strict=True):
            half = tf.matmul(part, tf.cast(vectors * values**-0.25, part.dtype))
            plan -= tf.matmul(half, half, transpose_b=True)
        return upstream * plan, None, None

    return tf.cast(tf.maximum(traces - 2 * common, 0), covariance.dtype), gradient
