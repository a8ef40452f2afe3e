"""The temporal term against NumPy, finite differences, tiles, and the sum over several earlier frames."""

import numpy as np
import pytest
import tensorflow as tf
from objectives import objective_of
from style_losses import RNG, network

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.temporal import Warped

CONFIG = Config(content_layers="relu1_1", style_layers=(), temporal_weight=3.0)


def make_warped(height=24, width=36):
    return Warped(
        RNG.uniform(0, 255, (height, width, 3)).astype(np.float32),
        (RNG.uniform(0, 1, (height, width)) > 0.4).astype(np.float32),
    )


def evaluate(warped, image, config=CONFIG, tile=None):
    content, style = (tf.fill([1, 24, 36, 3], level) for level in (20.0, -20.0))
    return objective_of(network, content, style, config, tile=tile, warped=warped)(image)


def test_the_term_is_the_mean_square_where_it_is_reliable():
    warped, pixels = make_warped(), RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32)
    losses, _ = evaluate(warped, preprocess(pixels))
    apart = pixels.astype(float) - warped.picture
    expected = sum((warped.reliable * apart[..., channel] ** 2).sum() for channel in range(3))
    assert float(losses["temporal"]) == pytest.approx(expected / (24 * 36 * 3), rel=1e-5)
    parts = 5 * losses["content"] + 100 * losses["tv"] + 3 * losses["temporal"]
    assert float(losses["total"]) == pytest.approx(float(parts), rel=1e-6)


def test_its_gradient_is_that_of_the_total():
    warped, pixels = make_warped(), RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32)
    image = preprocess(pixels)
    without = CONFIG.replace(temporal_weight=0.0)
    difference = evaluate(warped, image)[1] - evaluate(warped, image, without)[1]
    apart = pixels - warped.picture
    expected = 3 * 2 * warped.reliable[..., np.newaxis] * apart / (24 * 36 * 3)
    np.testing.assert_allclose(difference[0], expected, atol=2e-5 * np.abs(expected).max() + 2e-4)


def test_in_tiles_it_is_the_same():
    warped, image = make_warped(), preprocess(RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32))
    whole, tiled = (evaluate(warped, image, tile=tile) for tile in (None, 8))
    assert float(tiled[0]["temporal"]) == pytest.approx(float(whole[0]["temporal"]), rel=1e-6)
    np.testing.assert_allclose(tiled[1], whole[1], atol=1e-6 * np.abs(whole[1]).max())
