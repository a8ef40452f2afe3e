"""Find the scenes of a clip before it is painted. Without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from neural_style_tf.config.schema import Config
from neural_style_tf.transfer.scales import fit_content
from neural_style_tf.video.flow import CUT, Flow, reliability
from neural_style_tf.video.read import Frame


def find_scenes(frames: Iterable[Frame], config: Config, flow: Flow) -> list[tuple[int, int]]:
    """Return the numbers of the first and the last frame of each scene, as `paint_clip` tells them apart.

    Args:
        frames: Those that are to be painted.
        config: `sizes`: flow is looked at in the size of the painting.
        flow: Between two frames.

    Raises:
        RunError: A frame cannot be read.
    """
    scenes: list[tuple[int, int]] = []
    before: np.ndarray | None = None
    for frame in frames:
        source = fit_content(frame.pixels, config)
        same = before is not None and before.shape == source.shape
        if same:
            backward, forward = flow(scenes[-1][1], frame.number, before, source)
            same = reliability(backward, forward).mean() >= CUT
        begin = scenes.pop()[0] if same else frame.number
        scenes.append((begin, frame.number))
        before = source
    return scenes
