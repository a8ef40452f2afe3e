"""The whole objective and the compiled step against the twin; exact properties."""

import numpy as np
import objectives as by_hand
import pytest
import reference
import tensorflow as tf
from narrow import SHALLOW, make_narrow_weights

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config
from neural_style_tf.losses import pixels
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.models.network import build_network

WEIGHTS64 = make_narrow_weights(dtype="float64")


def make(pictures, config=None, dtype="float64"):
    config = config or Config()
    network = build_network(
        WEIGHTS64.kernels,
        WEIGHTS64.biases,
        outputs=config.loss.layers,
        pooling=config.network.pooling,
        dtype=dtype,
    )
    content, style = (pixels.preprocess(picture, dtype) for picture in pictures)
    return by_hand.objective_of(network, content, style, config)


@pytest.fixture(scope="module")
def pictures(pictures):
    """Parts of the pictures: the twin takes its time."""
    content, style = pictures
    return content[:20, :24], style[:17, :26]


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal((1, *shape))


@pytest.fixture(scope="module")
def twin(pictures):
    content, style = (picture.astype(float) for picture in pictures)
    return reference.OriginalObjective(content, style, WEIGHTS64, VGG19.up_to("relu5_1"))


def test_terms_and_gradient_equal_the_twin(pictures, twin):
    image = 20 * noise(pictures[0].shape)
    terms, gradient = make(pictures)(tf.constant(image))
    expected, expected_gradient = twin(image[0])
    for name in ("total", "content", "style", "tv"):
        assert terms[name].numpy() == pytest.approx(expected[name], rel=1e-9), name
    assert np.abs(gradient[0] - expected_gradient).max() < 1e-9 * np.abs(expected_gradient).max()


@pytest.mark.parametrize(
    "preset",
    [
        name if name in ("gatys", "balanced") else pytest.param(name, marks=pytest.mark.slow)
        for name in PRESETS
    ],
)
def test_gradient_equals_finite_differences(pictures, preset):
    function = make(pictures, PRESETS[preset])
    image = 20 * noise(pictures[0].shape)
    direction = noise(pictures[0].shape, seed=5)
    terms, gradient = function(tf.constant(image))
    assert tuple(terms) == by_hand.names(PRESETS[preset]), "in the order of the log"
    h = 1e-6
    ahead, behind = (function(tf.constant(image + s * h * direction))[0]["total"].numpy() for s in (1, -1))
    assert np.vdot(gradient.numpy(), direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


def test_adam_steps_equal_the_twin(pictures, twin):
    start = noise(pictures[0].shape)
    solver = by_hand.solver_of(make(pictures), start, Config(), by_hand.names(Config()))
    assert solver.start()
    totals = [solver.losses["total"]]
    for _ in range(5):
        assert solver.advance()
        totals.append(solver.losses["total"])
    expected_image, expected_totals = reference.adam(twin, start[0], 5)
    assert totals == pytest.approx(expected_totals, rel=1e-9)
    assert np.abs(solver.image[0].numpy() - expected_image).max() < 1e-6


def test_no_gradient_where_everything_is_equal(pictures):
    content, _ = pictures
    config = Config(**SHALLOW, tv_weight=0)
    terms, gradient = make((content, content), config)(pixels.preprocess(content, "float64"))
    assert terms["total"].numpy() == pytest.approx(0, abs=1e-18)
    assert np.abs(gradient).max() < 1e-9


def test_total_is_the_weighted_sum(pictures):
    config = Config(
        content_layers=(("relu2_2", 0.5), ("conv2_2", 2.0)), style_layers=(("relu1_1", 3.0), ("pool2", 0.25))
    )
    terms, _ = make(pictures, config)(tf.constant(noise(pictures[0].shape)))
    t = {name: value.numpy() for name, value in terms.items()}
    assert t["content"] == pytest.approx(0.5 * t["content/relu2_2"] + 2 * t["content/conv2_2"])
    assert t["style"] == pytest.approx(3 * t["style/relu1_1"] + 0.25 * t["style/pool2"])
    assert t["total"] == pytest.approx(5 * t["content"] + 100 * t["style"] + 100 * t["tv"])


def test_a_term_of_weight_zero_is_left_out():
    config = Config(style_layers=(("relu1_1", 1.0), ("relu2_1", 0.0)), content_weight=0.0, tv_weight=1.0)
    assert [term.name for term in make_terms(config.loss)] == ["tv", "style/relu1_1"]


def test_strength_turns_the_weights_of_style_terms():
    layers = (("relu1_1", 1.0), ("relu2_1", 1.0))
    settings = {"style_layers": layers, "style_weight": 3.0, "strength": 1.0}
    terms = make_terms(Config(**settings, strength_range=2.0, strength_deepest=0.5).loss)
    assert [term.weight for term in terms if term.part == "style"] == [6, 3]
