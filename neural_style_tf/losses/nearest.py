"""Style loss by nearest neighbours: compare each feature of the image with the most similar of the style.

Notation of this file:

    F_i     features of the image at position i                        [N]
    M       number of positions
    μ'      mean of the style's features                               [N]
    f_i     centred features of the image at position i, F_i − μ'      [N]
    g_j     centred features of the style at position j                [N]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.functional import at_least_float32
from neural_style_tf.losses.term import Map, Term
from neural_style_tf.losses.view import View
from neural_style_tf.tiling.memory_model import NEAREST_BLOCK


@dataclasses.dataclass(frozen=True)
class Nearest(Term):
    """Nearest neighbour feature matching loss of one layer, Σ_i min_j (1 − cos(f_i, g_j)) / M.

    With several styles in one place, it is the weighted mean of their losses: samples cannot be averaged.
    Differs from Gatys et al., who compare statistics of the whole picture. Source: Zhang et al., "ARF:
    Artistic Radiance Fields" (2022), arXiv 2206.06360, Eq. 1, which does not subtract μ'.

    Args:
        samples: Number of positions of the style to compare with; they are drawn once, with a fixed seed.
    """

    samples: int = 4096

    def look(self, view: View) -> dict[str, Map]:
        features = at_least_float32(view.features(self.layer))
        guide = view.guide(self.region, self.layer)
        guide = tf.ones_like(features[..., :1]) if guide is None else guide
        return {"features": Map(features, self.layer), "guide": Map(guide, self.layer)}

    def target(self, statistic: dict[str, Map]) -> dict[str, tf.Tensor]:
        features, guide = statistic["features"].values, statistic["guide"].values.numpy().ravel()
        # Where the mask covers less than half of a position, the features are those of what is outside.
        inside = np.flatnonzero(guide >= guide.max() / 2)
        # `np.resize` repeats positions if there are too few, so that one compiled step serves all sizes.
        chosen = np.resize(np.random.default_rng(0).permutation(inside), self.samples)
        columns = tf.reshape(features, [-1, features.shape[-1]])
        mean = tf.reduce_mean(tf.gather(columns, inside), 0)
        return {"samples": tf.math.l2_normalize(tf.gather(columns, chosen) - mean, -1), "mean": mean}

    def blend(
        self, statistics: Sequence[dict[str, Map]], shares: Sequence[float], counts: Sequence[float]
    ) -> tuple[dict[str, tf.Tensor], ...]:
        targets = [self.target(statistic) for statistic in statistics]
        return tuple(
            target | {"share": tf.constant(share, target["mean"].dtype)}
            for target, share in zip(targets, shares, strict=True)
        )

    def compare(self, view: View, target: tuple[dict[str, tf.Tensor], ...]) -> dict[str, tf.Tensor]:
        features = at_least_float32(view.features(self.layer))
        columns = tf.reshape(features, [-1, features.shape[-1]])
        guide = view.guide(self.region, self.layer)
        weights = tf.ones_like(columns[:, 0]) if guide is None else tf.reshape(guide, [-1])
        weights = tf.cast(weights, columns.dtype)
        distance = 0.0
        for style in target:
            distances = nearest_distances(columns - style["mean"], style["samples"])
            distance += style["share"] * tf.reduce_sum(weights * distances)
        return {"distance": distance, "count": tf.reduce_sum(weights)}

    def loss(self, statistic: dict[str, tf.Tensor], target: tuple[dict[str, tf.Tensor], ...]) -> tf.Tensor:
        return statistic["distance"] / statistic["count"]


def nearest_distances(features: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
    """Return min_j (1 − cos(f_i, g_j)) [M] for `features` f [M, N] and `samples` g [S, N] of length 1.

    The gradient is that of the nearest sample alone. Similarities are needed only to find that sample, so
    they are computed without gradient, one block of samples after another.
    """
    features = tf.math.l2_normalize(features, -1)
    searched, best, nearest = tf.stop_gradient(features), None, None
    for first in range(0, samples.shape[0], NEAREST_BLOCK):
        part = samples[first : first + NEAREST_BLOCK]
        # Wait for the block before: otherwise all blocks would be in memory at once.
        with tf.control_dependencies([] if best is None else [best]):
            similarity = tf.matmul(searched, tf.identity(part), transpose_b=True)
        here, value = tf.argmax(similarity, -1, tf.int32) + first, tf.reduce_max(similarity, -1)
        nearest = here if best is None else tf.where(value > best, here, nearest)
        best = value if best is None else tf.maximum(value, best)
    return 1 - tf.reduce_sum(features * tf.gather(samples, nearest), -1)
