"""Temporal loss of a clip: how far a frame is from the one painted before it, moved along with the scene.

Notation, after Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (arXiv 1604.08610):

    ω   what was painted before, warped to the frame   [H, W, 3]
    c   where the warp is reliable, 0 or 1             [H, W]
    D   number of values, 3 H W
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from neural_style_tf.losses.base import Shape, Sums, Target, Term
from neural_style_tf.losses.functional import as_count
from neural_style_tf.losses.view import View


@dataclasses.dataclass(frozen=True, eq=False)
class Warped:
    """What a frame should stay close to.

    Attributes:
        picture: ω, float32 [H, W, 3], RGB 0–255.
        reliable: c, float32 [H, W], 0–1; 0 where nothing is known.
        still: Where the frame shows what the one before showed, bool [H, W]; None for nowhere. A frame that
            begins with ω keeps it there.
    """

    picture: np.ndarray
    reliable: np.ndarray
    still: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class TemporalTerm(Term):
    """L_temporal = 1/D Σ c (x − ω)² (Ruder et al., Eq. 7), in squared grey levels.

    Their long-term loss (Eq. 9) sums this over several earlier frames, each weighted by 1 where no nearer one
    is reliable. So each pixel has one ω at most, and one target holds them all.
    """

    part: ClassVar[str] = "temporal"

    @property
    def maps(self) -> Mapping[str, str]:
        return {"warped": "", "reliable": ""}

    def sums(self, view: View, target: Target) -> Sums:
        warped, reliable = (view.crop(target[leaf], "") for leaf in ("warped", "reliable"))
        return tf.reduce_sum(reliable * tf.square(view.pixels() - warped))

    def zeros(self, target: Target, dtype: tf.DType) -> Sums:
        return tf.zeros([], dtype)

    def loss(self, sums: Sums, target: Target, shape: Shape) -> tf.Tensor:
        _, height, width, depth = shape
        return sums / as_count(height * width * depth, sums.dtype)
