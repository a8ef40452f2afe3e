"""The equations against naive twins, with the factors of the papers."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from objectives import Network

from neural_style_tf.losses import functional
from neural_style_tf.losses.variation import TotalVariation
from neural_style_tf.losses.view import View

RNG = np.random.default_rng(3)
F = RNG.standard_normal((1, 5, 4, 3))
P = RNG.standard_normal((1, 5, 4, 3))


def test_gram_sum_is_eq_3_adds_over_positions_and_does_not_see_their_order():
    shuffled = RNG.permutation(F.reshape(-1, 3)).reshape(F.shape)
    parts = functional.gram_sum(tf.constant(F[:, :2])) + functional.gram_sum(tf.constant(F[:, 2:]))
    for found in (functional.gram_sum(tf.constant(F)), functional.gram_sum(tf.constant(shuffled)), parts):
        np.testing.assert_allclose(found, reference.gram(F[0]), rtol=1e-12)


def test_style_distance_gatys_is_eq_4_with_its_quarter():
    n, m = 3, 20
    g, a = reference.gram(F[0]), reference.gram(P[0])
    paper = sum((g[i, j] - a[i, j]) ** 2 for i in range(n) for j in range(n)) / (4 * n**2 * m**2)
    normalised = [functional.normalize_gram(tf.constant(x), m, "positions") for x in (g, a)]
    assert functional.style_distance(*normalised, "gatys").numpy() == pytest.approx(paper, rel=1e-12)


def test_content_distance_has_its_half_and_its_mean():
    error = functional.content_error(tf.constant(F), tf.constant(P))
    squares = sum((f - p) ** 2 for f, p in zip(F.ravel(), P.ravel(), strict=True))
    count = tf.constant(60.0, tf.float64)
    half, mean = (functional.content_distance(error, count, form) for form in ("gatys", "mean"))
    assert float(half) == pytest.approx(squares / 2, rel=1e-12)
    assert float(mean) == pytest.approx(squares / 60, rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 7, 5, 3), (1, 1, 5, 3), (1, 7, 1, 3), (1, 1, 1, 3)])
def test_total_variation(shape):
    x = RNG.standard_normal(shape)
    view = View(Network(lambda image: {}), tf.constant(x))
    out = TotalVariation().loss(TotalVariation().compare(view, {}), {})
    assert float(out) == pytest.approx(reference.total_variation(x[0]), rel=1e-12)


def test_eq_6_style_gradient():
    """dE/dF = (1/N²M²) Fᵀ(G−A), the paper's own derivative, against automatic differentiation."""
    n, m = 3, 20
    a = tf.constant(reference.gram(P[0]) / m)
    f = tf.constant(F)
    with tf.GradientTape() as tape:
        tape.watch(f)
        g = functional.normalize_gram(functional.gram_sum(f), m, "positions")
        e = functional.style_distance(g, a, "gatys")
    flat = F.reshape(m, n)
    paper = flat @ (reference.gram(F[0]) - reference.gram(P[0])) / (n**2 * m**2)
    assert tape.gradient(e, f).numpy().reshape(m, n) == pytest.approx(paper, rel=1e-10)


def test_relative_forms_do_not_see_scale():
    for factor in (1.0, 1e3):
        error = functional.content_error(tf.constant(factor * F), tf.constant(factor * P))
        squares = functional.energy_sum(tf.constant(factor * P))
        count = tf.constant(60.0, tf.float64)
        content = functional.content_distance(error, count, "relative", squares=squares)
        assert content.numpy() == pytest.approx(np.sum((F - P) ** 2) / np.sum(P**2), rel=1e-12)
        g, a = factor * reference.gram(F[0]), factor * reference.gram(P[0])
        style = functional.style_distance(tf.constant(g), tf.constant(a), "relative")
        assert style.numpy() == pytest.approx(np.sum((g - a) ** 2) / np.sum(a**2), rel=1e-12)


def test_a_target_of_zeros_leaves_relative_forms_finite():
    error, nothing, four = tf.constant(1.0), tf.constant(0.0), tf.constant(4.0)
    assert np.isfinite(functional.content_distance(error, four, "relative", squares=nothing))
