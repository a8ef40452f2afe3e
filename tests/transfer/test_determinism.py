"""The same flags and seed give the same bits on the CPU, also where work is split between threads."""

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf
from narrow import SHALLOW, make_narrow_weights

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config
from neural_style_tf.models.network import build_network
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.session import Session

OVERLAP = Config(content_layers=(("relu2_1", 1.0), ("relu4_1", 1.0)))


@pytest.mark.slow
def test_gradient_has_the_same_bits_every_time():
    """At full width and some size: the graph optimiser reorders sums only where memory is short.

    With layers that are for content and for style, so that more than two gradients meet.
    """
    config = OVERLAP
    weights = make_narrow_weights(divisor=1)
    network = build_network(weights.kernels, weights.biases, outputs=config.loss.layers)
    rng = np.random.default_rng(0)
    content, style, image = (
        tf.constant(rng.uniform(-100, 100, (1, 384, 512, 3)).astype("float32")) for _ in range(3)
    )
    objective = by_hand.compiled(by_hand.objective_of(network, content, style, config))
    _, gradient = objective(image)
    for _ in range(3):
        np.testing.assert_array_equal(objective(image)[1], gradient)


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("original", SHALLOW),
        pytest.param("original", SHALLOW | {"optimizer": "lbfgs"}, marks=pytest.mark.slow),
        *(pytest.param(preset, {}, marks=pytest.mark.faults) for preset in ("slides", "gatys", "balanced")),
    ],
)
def test_deterministic_runs_are_the_same_twice(preset, settings, pictures, narrow_weights, put_back):
    config = PRESETS[preset].replace(**settings, deterministic=True, iterations=4, log_every=1)
    assert not put_back()
    runs, session = [[], []], Session(narrow_weights)
    for records in runs:
        # One that compiles, and one that finds it compiled.
        for record in session.run(Inputs(*pictures), config):
            records.append((record.terms, record.image.tobytes(), record.best.tobytes()))
    assert runs[0] == runs[1] and len(runs[0]) > 4 and put_back()
