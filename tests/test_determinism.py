"""The same flags and seed give the same bits on the CPU, also where work is split between threads."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_narrow_weights

from neural_style_tf import objective as objectives
from neural_style_tf.config import Config
from neural_style_tf.vgg import vgg19

OVERLAP = Config(content_layers=(("relu2_1", 1.0), ("relu4_1", 1.0)))


@pytest.mark.parametrize("config", [Config(), OVERLAP], ids=["original", "overlap"])
def test_gradient_has_the_same_bits_every_time(config):
    """At full width and some size: the graph optimiser reorders sums only where memory is short."""
    weights = make_narrow_weights(divisor=1)
    network = vgg19(weights.kernels, weights.biases, outputs=config.layers)
    rng = np.random.default_rng(0)
    content, style, image = (
        tf.constant(rng.uniform(-100, 100, (1, 384, 512, 3)).astype("float32")) for _ in range(3)
    )
    targets = objectives.compute_targets(network, content, style, config)
    objective = tf.function(objectives.make_objective(network, targets, config), autograph=False)
    _, gradient = objective(image)
    for _ in range(8):
        np.testing.assert_array_equal(objective(image)[1], gradient)
