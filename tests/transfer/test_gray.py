"""--keep_gray: grey pictures give a grey result, and colour pictures are not touched by it."""

import numpy as np
import pytest
from narrow import SHALLOW, warm_stylize

from neural_style_tf.config.schema import Config


def colour_noise(pixels):
    """Return the mean of |R−G| + |G−B|, in levels."""
    red, green, blue = np.moveaxis(np.asarray(pixels, np.float64), -1, 0)
    return float(np.mean(np.abs(red - green) + np.abs(green - blue)))


@pytest.fixture(scope="module")
def grey_pictures(pictures):
    return [np.repeat(picture.mean(-1, keepdims=True), 3, -1) for picture in pictures]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "init": "noise"},
        pytest.param({"optimizer": "adam", "tile": "16", "averaging": 0.8}, marks=pytest.mark.slow),
        pytest.param({"optimizer": "lbfgs", "init": "content", "clamp": True}, marks=pytest.mark.slow),
    ],
)
def test_grey_pictures_stay_grey(settings, grey_pictures, narrow_weights):
    config = Config(**SHALLOW, **settings, iterations=12, log_every=12, save_every=0, image_size=0)
    for keep_gray in (True, False):
        changed = config.replace(keep_gray=keep_gray)
        *_, record = warm_stylize(*grey_pictures, changed, weights=narrow_weights)
        noise = [colour_noise(record.image), colour_noise(record.best)]
        if keep_gray:
            assert max(noise) < 0.01
            # It is painted, not merely left alone.
            assert np.abs(record.image - grey_pictures[0]).mean() > 1
        else:
            assert min(noise) > 1


def test_colours_in_one_of_the_pictures_are_used(pictures, grey_pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=3, log_every=3, save_every=0, image_size=0, init="content")
    for content, style in (
        (grey_pictures[0], pictures[1]),
        (pictures[0], grey_pictures[1]),
    ):
        results = []
        for keep_gray in (True, False):
            changed = config.replace(keep_gray=keep_gray)
            *_, record = warm_stylize(content, style, changed, weights=narrow_weights)
            results.append(record.image)
        assert np.array_equal(*results)


def test_the_roundings_of_jpeg_are_no_colours(grey_pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=1, save_every=0, image_size=0, init="content", keep_gray=True)
    rounded = [picture + np.array([1, -1, 2], np.float32) for picture in grey_pictures]
    *_, record = warm_stylize(*rounded, config, weights=narrow_weights)
    assert colour_noise(record.image) < 0.01
