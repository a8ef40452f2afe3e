"""The Wasserstein loss against a twin in NumPy, by finite differences, and where covariances are singular."""

import numpy as np
import pytest
import tensorflow as tf
from style_losses import RNG, assert_finite_where_constant, assert_gradient, assert_twins, correlated, loss_of

from neural_style_tf.losses import wasserstein


def root_of(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def distance(covariance, target):
    root = root_of(target)
    return np.trace(covariance) + np.trace(target) - 2 * np.trace(root_of(root @ covariance @ root))


def twin(image, style):
    def gaussian(picture):
        flat = picture.reshape(-1, picture.shape[-1])
        return flat.mean(0), np.cov(flat.T, bias=True)

    (mean, covariance), (target_mean, target) = gaussian(image), gaussian(style)
    ridge = (wasserstein.RIDGE * np.trace(target) / len(target) + 1e-12) * np.eye(len(target))
    energy = np.trace(target + ridge) + (target_mean**2).sum()
    return (((mean - target_mean) ** 2).sum() + distance(covariance + ridge, target + ridge)) / energy


def test_it_is_the_twin_whose_gradient_it_has():
    image, style = correlated(24, 16), correlated(20, 17)
    assert_twins("wasserstein", twin, image, style)
    assert_gradient("wasserstein", twin, image, style)
    assert_finite_where_constant("wasserstein")
    # Equal pictures of different sizes and another order of positions are equally good.
    turned = loss_of("wasserstein", style, style[:, ::-1].copy())
    assert float(turned[0]["total"]) == pytest.approx(0, abs=1e-9)


def test_it_has_no_scale():
    """One weight serves a network whose features are a thousand times larger."""
    image, style = correlated(24, 16), correlated(20, 17)
    one, other = (
        float(loss_of("wasserstein", scale * image, scale * style)[0]["total"]) for scale in (1, 1000)
    )
    assert one == pytest.approx(other, rel=1e-6)


def make_root(target):
    values, vectors = np.linalg.eigh(target)
    return (vectors * np.sqrt(values))[:, ::-1].copy()


def sample(channels, positions, rng=RNG):
    """Return the covariance of features with fewer or more positions than channels."""
    return np.cov(
        rng.normal(0, np.geomspace(10, 0.1, channels)[:, np.newaxis], (channels, positions)), bias=True
    )


@pytest.mark.parametrize("positions", [9, 200])
@pytest.mark.parametrize("block", [20, 7])
def test_covariances_of_many_channels(positions, block, monkeypatch):
    """Singular ones and others; in blocks of principal components the twin's distances are summed."""
    monkeypatch.setattr(wasserstein, "BLOCK", block)
    # Its own numbers, whatever ran before it in this process.
    channels, ridge, rng = 20, 1e-3, np.random.default_rng(0)
    target = sample(channels, positions, rng) + ridge * np.eye(channels)
    covariance, root = sample(channels, positions, rng), make_root(target)
    basis = root / np.linalg.norm(root, axis=0)

    def expected(covariance):
        whole = covariance + ridge * np.eye(channels)
        bases = [basis[:, first : first + block] for first in range(0, channels, block)]
        return sum(distance(b.T @ whole @ b, b.T @ target @ b) for b in bases)

    matrix = tf.constant(covariance)
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        found = wasserstein.covariance_distance(matrix, tf.constant(root), tf.constant(ridge, tf.float64))
    assert float(found) == pytest.approx(expected(covariance), rel=1e-8)
    # Along which a covariance stays one.
    change = sample(channels, 50, rng)
    h = 1e-4 * ridge
    slope = (expected(covariance + h * change) - expected(covariance - h * change)) / (2 * h)
    assert np.vdot(tape.gradient(found, matrix), change) == pytest.approx(slope, rel=1e-3)


def test_float32_is_near_float64():
    """In two blocks, with variances over four orders of magnitude."""
    channels, found = wasserstein.BLOCK + 44, []
    samples = [RNG.normal(0, np.geomspace(1, 1e-2, channels)[:, None], (channels, 700)) for _ in range(2)]
    covariance, target = (np.cov(one, bias=True) for one in samples)
    ridge = wasserstein.RIDGE * np.trace(target) / channels
    root = make_root(target + ridge * np.eye(channels))
    for dtype in ("float32", "float64"):
        matrix = tf.constant(covariance, dtype)
        with tf.GradientTape() as tape:
            tape.watch(matrix)
            value = wasserstein.covariance_distance(
                matrix, tf.constant(root, dtype), tf.constant(ridge, dtype)
            )
        found.append((float(value), tape.gradient(value, matrix).numpy()))
    (value, gradient), (exact, exact_gradient) = found
    assert value == pytest.approx(exact, rel=1e-4)
    assert np.linalg.norm(gradient - exact_gradient) < 1e-3 * np.linalg.norm(exact_gradient)
