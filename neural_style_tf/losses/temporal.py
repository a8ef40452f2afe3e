"""Temporal loss of a clip: the distance of a frame from earlier ones, warped along the optical flow.

Notation, after Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (arXiv 1604.08610):

    x   the frame that is being painted                [H, W, 3]
    ω   earlier painted frames, warped to this one     [H, W, 3]
    c   1 where the warp is reliable, else 0           [H, W]
    D   number of values, 3 H W
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.evaluate import Arguments
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.term import Map, Term
from neural_style_tf.losses.view import View


@dataclasses.dataclass(frozen=True, eq=False)
class Warped:
    """Earlier painted frames, warped to a frame: from these `Temporal.target_of` makes the target."""

    picture: np.ndarray  # ω, float32 [H, W, 3], RGB 0–255
    reliable: np.ndarray  # c, float32 [H, W], 0–1; 0 where ω is unknown
    # True at pixels that are the same as in the frame before, bool [H, W]; None if there are none. A frame
    # that begins with ω keeps these pixels.
    still: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Temporal(Term):
    """Temporal loss 1/D Σ c (x − ω)² of a frame (Ruder et al., Eq. 7), in squared grey levels.

    The long-term loss of Ruder et al. (Eq. 9) sums this over several earlier frames. For each pixel it uses
    only the nearest frame whose warp is reliable there. So each pixel has at most one ω, and one target holds
    them all.
    """

    part: ClassVar[str] = "temporal"
    source: ClassVar[str] = ""

    @staticmethod
    def target_of(warped: Warped) -> dict[str, Map]:
        """Return the target that `compare` expects, from the `warped` frames."""
        still = np.zeros(warped.reliable.shape) if warped.still is None else warped.still
        reliable, still = (
            Map(tf.constant(values[np.newaxis, ..., np.newaxis], tf.float32))
            for values in (warped.reliable, still)
        )
        return {"warped": Map(preprocess(warped.picture)), "reliable": reliable, "still": still}

    def compare(self, view: View, target: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        error = target["reliable"] * tf.square(view.pixels() - target["warped"])
        return {"error": tf.reduce_sum(error), "values": tf.cast(tf.size(error, tf.int64), error.dtype)}

    def loss(self, statistic: dict[str, tf.Tensor], target: dict[str, Map]) -> tf.Tensor:
        return statistic["error"] / statistic["values"]


def hold_still(gradient: tf.Tensor, arguments: Arguments) -> tf.Tensor:
    """Set `gradient` to 0 at the still pixels of a frame, so that these pixels do not change."""
    still = arguments.targets[Temporal().name]["still"].values
    return tf.where(still > 0, tf.zeros_like(gradient), gradient)
