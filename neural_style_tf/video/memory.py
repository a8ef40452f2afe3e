"""What other frames, and a run that goes on, need of a painted frame. Without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from neural_style_tf.transfer.masks import Masks

SPARE = 2
"""Frames whose earlier passes and states are kept beside those that the next frame needs, should the newest
state be damaged."""


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """What other frames, and later passes, need of one that is painted.

    Attributes:
        number: Of the frame.
        scene: Number of the first frame of its scene.
        source: The frame itself, float32 [H, W, 3], RGB 0–255, at the size of the painting; where it is
            still, the one that was painted there.
        painted: What it became, likewise, before `--colors`.
        masks: Of the frame, if they move and there is a further pass.
    """

    number: int
    scene: int
    source: np.ndarray
    painted: np.ndarray
    masks: Masks | None = None


def needed(lags: Sequence[int]) -> int:
    """Return how many painted frames must be kept."""
    return max(lags, default=1)
