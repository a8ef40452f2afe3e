"""Content loss: compare the image with the features of the photo, position by position (Eq. 1)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import tensorflow as tf

from neural_style_tf.losses import functional
from neural_style_tf.losses.guides import CONTENT
from neural_style_tf.losses.term import Map, Term, Tree
from neural_style_tf.losses.view import View


@dataclasses.dataclass(frozen=True)
class Content(Term):
    """Content loss L_content of one layer (Eq. 1). A content mask gives each position a weight.

    Args:
        form: `gatys`, `mean` or `relative`; see `functional.content_distance`.
    """

    part: ClassVar[str] = "content"
    source: ClassVar[str] = "content"

    form: str = "mean"

    def look(self, view: View) -> Tree:
        features = view.features(self.layer)
        squares = functional.energy_sum(features) if self.form == "relative" else tf.zeros([])
        count = tf.cast(tf.size(features, tf.int64), squares.dtype)
        return {"features": Map(features, self.layer), "squares": squares, "count": count}

    def compare(self, view: View, target: Tree) -> tf.Tensor:
        guide = view.guide(CONTENT, self.layer)
        return functional.content_error(view.features(self.layer), target["features"], guide)

    def loss(self, statistic: tf.Tensor, target: Tree) -> tf.Tensor:
        count, squares = (tf.cast(target[leaf], statistic.dtype) for leaf in ("count", "squares"))
        return functional.content_distance(statistic, count, self.form, squares=squares)
