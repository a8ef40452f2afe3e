"""Scenes of a clip are divided as painting divides them."""

from fractions import Fraction

import numpy as np
from clips import moving_frames

from neural_style_tf.config.schema import Config
from neural_style_tf.sweeps.scenes import find_scenes
from neural_style_tf.video.flow import dis_flow
from neural_style_tf.video.read import Frame


def test_scenes_are_found():
    clip = [*moving_frames(3, 48, 64, seed=1), *moving_frames(2, 48, 64, seed=9)]
    frames = [Frame(number, Fraction(number), np.float32(picture)) for number, picture in enumerate(clip, 7)]
    assert find_scenes(frames, Config(), dis_flow) == [(7, 9), (10, 11)]
    assert find_scenes(frames[2:], Config(), dis_flow) == [(9, 9), (10, 11)]
    assert find_scenes([], Config(), dis_flow) == []
