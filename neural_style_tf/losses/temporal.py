"""Temporal loss of a clip: how far a frame is from the one painted before it, moved along with the scene.

Notation, after Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (arXiv 1604.08610):

    ω   what was painted before, warped to the frame   [H, W, 3]
    c   where the warp is reliable, 0 or 1             [H, W]
    D   number of values, 3 H W
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.term import Map, Term
from neural_style_tf.losses.view import View


@dataclasses.dataclass(frozen=True, eq=False)
class Warped:
    """What a frame should stay close to.

    Attributes:
        picture: ω, float32 [H, W, 3], RGB 0–255.
        reliable: c, float32 [H, W], 0–1; 0 where nothing is known.
    """

    picture: np.ndarray
    reliable: np.ndarray


@dataclasses.dataclass(frozen=True)
class Temporal(Term):
    """L_temporal = 1/D Σ c (x − ω)² (Ruder et al., Eq. 7), in squared grey levels.

    Their long-term loss (Eq. 9) sums this over several earlier frames, each weighted by 1 where no nearer one
    is reliable. So each pixel has one ω at most, and one target holds them all.
    """

    part: ClassVar[str] = "temporal"
    source: ClassVar[str] = ""

    @staticmethod
    def target_of(warped: Warped) -> dict[str, Map]:
        """Return the target that holds a frame to what was painted before."""
        reliable = warped.reliable[np.newaxis, ..., np.newaxis]
        return {
            "warped": Map(preprocess(warped.picture)),
            "reliable": Map(tf.constant(reliable, tf.float32)),
        }

    def compare(self, view: View, target: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        error = target["reliable"] * tf.square(view.pixels() - target["warped"])
        return {"error": tf.reduce_sum(error), "values": tf.cast(tf.size(error, tf.int64), error.dtype)}

    def loss(self, statistic: dict[str, tf.Tensor], target: dict[str, Map]) -> tf.Tensor:
        return statistic["error"] / statistic["values"]
