"""Scenes of a clip are divided as painting divides them."""

from fractions import Fraction

import numpy as np
import pytest
from clips import moving_frames

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.sweeps.scenes import Scenes, find_scenes
from neural_style_tf.utils.console import Console
from neural_style_tf.video.flow import dis_flow
from neural_style_tf.video.read import Frame


def test_scenes_are_found():
    clip = [*moving_frames(3, 48, 64, seed=1), *moving_frames(2, 48, 64, seed=9)]
    frames = [Frame(number, Fraction(number), np.float32(picture)) for number, picture in enumerate(clip, 7)]
    assert find_scenes(frames, Config(), dis_flow) == [(7, 9), (10, 11)]
    assert find_scenes(frames[2:], Config(), dis_flow) == [(9, 9), (10, 11)]
    assert find_scenes([], Config(), dis_flow) == []


def test_regions_are_those_of_a_whole_clip():
    with pytest.raises(UserError, match="leave out --match"):
        Scenes(Config(match="regions"), Job(content="clip.mp4", style=("s.png",)), Console())
