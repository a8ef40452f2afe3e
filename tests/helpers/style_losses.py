"""A style loss on the pixels themselves, and what holds of every such loss with a twin in NumPy."""

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.guides import EVERYWHERE

RNG = np.random.default_rng(0)


@by_hand.Network
def network(image):
    """Features that are the pixels themselves: what a twin computes is plain to see."""
    return {"relu1_1": image, "relu4_2": image[:, ::8, ::8]}


def config_of(style_loss):
    weights = {"content_weight": 0.0, "tv_weight": 0.0, "style_weight": 1.0}
    return Config(style_loss=style_loss, style_layers=(("relu1_1", 1.0),), **weights)


def correlated(*size):
    """Return a picture [1, H, W, 3] whose channels are not independent."""
    return RNG.normal(3, 2, (1, *size, 3)) @ RNG.normal(0, 1, (3, 3))


def loss_of(style_loss, image, style, guidance=EVERYWHERE, **settings):
    """Return losses and gradient; `style` may be a list."""
    config = config_of(style_loss).replace(**settings)
    image = tf.constant(image)
    return by_hand.objective_of(network, image, style, config, guidance=guidance)(image)


def assert_twins(style_loss, twin, image, style):
    losses, _ = loss_of(style_loss, image, style)
    assert float(losses["style/relu1_1"]) == pytest.approx(twin(image, style), rel=1e-9)
    assert float(losses["total"]) == float(losses["style"]) == float(losses["style/relu1_1"])


def assert_gradient(style_loss, twin, image, style):
    """By finite differences of the twin."""
    direction, h = RNG.standard_normal(image.shape), 1e-6
    _, gradient = loss_of(style_loss, image, style)
    ahead, behind = (twin(image + sign * h * direction, style) for sign in (1, -1))
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def assert_finite_where_constant(style_loss):
    """A channel without variance: the root of its variance has no gradient at 0."""
    other = RNG.uniform(0, 5, (1, 16, 16, 3))
    for level in (0.0, 3.0):
        flat = np.full((1, 16, 16, 3), level)
        for image, style in ((flat, other), (other, flat), (flat, flat)):
            losses, gradient = loss_of(style_loss, image, style)
            assert np.isfinite(float(losses["total"])) and np.isfinite(gradient).all()
        assert float(losses["total"]) == pytest.approx(0, abs=1e-9)
