"""Total variation loss, which smooths noise."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import tensorflow as tf

from neural_style_tf.losses.functional import neighbour_differences
from neural_style_tf.losses.term import Term, Tree
from neural_style_tf.losses.view import View


class Differences(NamedTuple):
    """Squared differences of vertical (`down`) and horizontal (`right`) neighbours, summed.

    `count_down` and `count_right` are the numbers of pairs of neighbours.
    """

    down: tf.Tensor
    right: tf.Tensor
    count_down: tf.Tensor
    count_right: tf.Tensor


@dataclasses.dataclass(frozen=True)
class TotalVariation(Term):
    """Total variation, the mean of dy² plus the mean of dx²; the slides propose it against noise.

    Here dy and dx are the differences of vertical and of horizontal neighbours. A mean without pairs is 0.

    Differs from Gatys et al., whose objective has no such term; the original repository adds it.
    """

    part: ClassVar[str] = "tv"
    source: ClassVar[str] = ""

    def compare(self, view: View, target: Tree) -> Differences:
        # A tile also reads the row below its core and the column to the right, so that each pair counts once.
        below, beside = view.pixels(below=1), view.pixels(right=1)
        down, right = neighbour_differences(below)
        if below is not beside:
            right = neighbour_differences(beside)[1]
        return Differences(down, right, _pairs(below, 1), _pairs(beside, 2))

    def loss(self, statistic: Differences, target: Tree) -> tf.Tensor:
        down, right, count_down, count_right = statistic
        return down / tf.maximum(count_down, 1) + right / tf.maximum(count_right, 1)


def _pairs(pixels: tf.Tensor, axis: int) -> tf.Tensor:
    """Return the number of pairs of neighbours along `axis`, in the type of `pixels`."""
    side = tf.shape(pixels, tf.int64)[axis]
    return tf.cast(tf.size(pixels, tf.int64) // side * (side - 1), pixels.dtype)
