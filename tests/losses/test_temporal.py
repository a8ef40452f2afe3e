"""The temporal term against NumPy, finite differences, tiles, and the sum over several earlier frames."""

import numpy as np
import pytest
import tensorflow as tf
from narrow import SHALLOW
from objectives import compute_targets, make_objective

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.pixels import preprocess
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.models.network import build_network

RNG = np.random.default_rng(7)
CONFIG = Config(**SHALLOW, temporal_weight=3.0)


@pytest.fixture(scope="module")
def network(narrow_weights):
    return build_network(narrow_weights.kernels, narrow_weights.biases, outputs=CONFIG.loss.layers)


def make_warped(height=24, width=36):
    return Warped(
        RNG.uniform(0, 255, (height, width, 3)).astype(np.float32),
        (RNG.uniform(0, 1, (height, width)) > 0.4).astype(np.float32),
    )


def evaluate(network, warped, image, config=CONFIG, tile=None):
    content, style = (RNG.uniform(-100, 100, (1, 24, 36, 3)).astype(np.float32) for _ in range(2))
    content, style = tf.constant(0 * content + 20), tf.constant(0 * style - 20)
    targets = compute_targets(network, content, style, config, warped=warped)
    return make_objective(network, targets, config, image.shape, tile=tile, warped=warped)(image)


def test_the_term_is_the_mean_square_where_it_is_reliable(network):
    warped, pixels = make_warped(), RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32)
    losses, _ = evaluate(network, warped, preprocess(pixels))
    expected = 0.0
    for row in range(24):
        for column in range(36):
            for channel in range(3):
                apart = float(pixels[row, column, channel]) - warped.picture[row, column, channel]
                expected += warped.reliable[row, column] * apart**2
    assert float(losses["temporal"]) == pytest.approx(expected / (24 * 36 * 3), rel=1e-5)
    parts = 5 * losses["content"] + 100 * losses["style"] + 100 * losses["tv"] + 3 * losses["temporal"]
    assert float(losses["total"]) == pytest.approx(float(parts), rel=1e-6)


def test_its_gradient_is_that_of_the_total(network):
    warped, pixels = make_warped(), RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32)
    image = preprocess(pixels)
    without = CONFIG.replace(temporal_weight=0.0)
    difference = evaluate(network, warped, image)[1] - evaluate(network, warped, image, without)[1]
    apart = pixels - warped.picture
    expected = 3 * 2 * warped.reliable[..., np.newaxis] * apart / (24 * 36 * 3)
    np.testing.assert_allclose(difference[0], expected, atol=2e-5 * np.abs(expected).max() + 2e-4)


def test_in_tiles_it_is_the_same(network):
    warped, image = make_warped(), preprocess(RNG.uniform(0, 255, (24, 36, 3)).astype(np.float32))
    config = CONFIG.replace(style_layers=())
    whole, tiled = (evaluate(network, warped, image, config, tile) for tile in (None, 8))
    assert float(tiled[0]["temporal"]) == pytest.approx(float(whole[0]["temporal"]), rel=1e-6)
    np.testing.assert_allclose(tiled[1], whole[1], atol=1e-6 * np.abs(whole[1]).max())


def test_a_weight_of_zero_takes_it_out_of_the_total(network):
    warped = make_warped()
    warped = Warped(warped.picture * np.float32("nan"), warped.reliable)
    losses, gradient = evaluate(
        network, warped, preprocess(np.zeros((24, 36, 3))), CONFIG.replace(temporal_weight=0.0)
    )
    assert np.isfinite(float(losses["total"])) and np.isfinite(gradient).all()
