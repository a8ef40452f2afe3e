"""The nearest-neighbour loss and its gradient against a twin in NumPy; samples, masks and blends."""

import numpy as np
import pytest
import tensorflow as tf
from style_losses import RNG, correlated, loss_of

from neural_style_tf.losses import nearest
from neural_style_tf.losses.guides import Guidance, Region


def twin(image, style):
    """Return the loss and its gradient, with every position of the style as a sample."""
    features, samples = (picture.reshape(-1, 3) - style.mean((0, 1, 2)) for picture in (image, style))
    samples = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / lengths
    cosines = unit @ samples.T
    best = cosines.max(1)
    gradient = -(samples[cosines.argmax(1)] - best[:, np.newaxis] * unit) / lengths / len(unit)
    return np.mean(1 - best), gradient.reshape(image.shape)


def test_loss_and_gradient_are_the_twins():
    image, style = correlated(13, 9), correlated(7, 8)
    losses, gradient = loss_of("nearest", image, style)
    expected, expected_gradient = twin(image, style)
    assert float(losses["style/relu1_1"]) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)
    # The same features in other places are as good.
    turned = loss_of("nearest", style, style[:, ::-1].copy())
    assert float(turned[0]["total"]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_blocks_of_samples_are_all_of_them(block, monkeypatch):
    monkeypatch.setattr(nearest, "NEAREST_BLOCK", block)
    features, samples = RNG.normal(size=(20, 3)), RNG.normal(size=(11, 3))
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    found = nearest.nearest_distances(tf.constant(features), tf.constant(samples))
    cosines = features @ samples.T / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(found, 1 - cosines.max(1), atol=1e-12)


def test_features_of_nothing_have_a_loss_and_a_gradient():
    """A flat style has only its mean, which has no direction."""
    flat = np.full((1, 8, 8, 3), 4.0)
    for image, style in ((correlated(8, 8), flat), (flat, correlated(8, 8)), (flat, flat)):
        losses, gradient = loss_of("nearest", image, style)
        assert np.isfinite(float(losses["total"])) and np.isfinite(gradient).all()


def target_of(style, guide=None, samples=4096):
    term = nearest.Nearest("relu1_1", samples=samples)
    guide = np.ones((*style.shape[:3], 1)) if guide is None else guide
    maps = {"features": style, "guide": guide}
    return term.target({name: nearest.Map(tf.constant(values), "relu1_1") for name, values in maps.items()})


def test_samples_are_drawn_once_without_repetition_and_only_where_the_mask_is():
    style = correlated(30, 30)
    all_of_it, few = target_of(style, samples=900)["samples"].numpy(), target_of(style, samples=50)
    assert len(np.unique(all_of_it, axis=0)) == 900
    np.testing.assert_array_equal(few["samples"], all_of_it[:50])
    np.testing.assert_array_equal(few["samples"], target_of(style, samples=50)["samples"])
    # Fewer positions than samples are repeated: the shape does not depend on the picture.
    assert target_of(style)["samples"].shape == (4096, 3)
    guide = np.zeros((1, 30, 30, 1))
    guide[:, :10], guide[:, 10:20] = 0.8, 0.3
    masked, cut_out = target_of(style, guide), target_of(style[:, :10])
    for name in ("samples", "mean"):
        np.testing.assert_allclose(masked[name], cut_out[name], atol=1e-12)


def test_a_blend_is_the_weighted_mean_of_the_losses():
    image, styles = correlated(10, 12), [correlated(6, 8), correlated(9, 5)]
    guidance = Guidance((Region(None, (0, 1)),), (None, None))
    losses, gradient = loss_of("nearest", image, styles, guidance, style_blend=(3.0, 1.0))
    (first, of_first), (second, of_second) = (twin(image, style) for style in styles)
    assert float(losses["total"]) == pytest.approx(0.75 * first + 0.25 * second, rel=1e-12)
    np.testing.assert_allclose(gradient, 0.75 * of_first + 0.25 * of_second, atol=1e-12)
