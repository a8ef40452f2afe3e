"""The moments loss against a twin in NumPy, by finite differences, and at its edges."""

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.gram import GramAndMoments
from neural_style_tf.losses.term import Term

CONFIG = Config(
    style_loss="moments",
    style_layers=(("relu1_1", 1.0),),
    content_weight=0.0,
    tv_weight=0.0,
    style_weight=1.0,
)
RNG = np.random.default_rng(0)


@by_hand.Network
def network(image):
    """Features that are the pixels themselves: what the twin computes is plain to see."""
    return {"relu1_1": image, "relu4_2": image[:, ::8, ::8]}


def loss_of(image, style):
    shape = image.shape
    targets = by_hand.compute_targets(network, tf.constant(image), tf.constant(style), CONFIG)
    return by_hand.make_objective(network, targets, CONFIG, shape)(tf.constant(image))


def twin(image, style):
    def moments(picture):
        flat = picture.reshape(-1, 3)
        return flat.T @ flat / len(flat), flat.mean(0), flat.std(0)

    pairs = zip(moments(image), moments(style), strict=True)
    return sum(((ours - theirs) ** 2).sum() / (theirs**2).sum() for ours, theirs in pairs)


def test_it_is_the_twin():
    image, style = RNG.uniform(1, 9, (1, 24, 16, 3)), RNG.uniform(0, 5, (1, 20, 17, 3))
    losses, _ = loss_of(image, style)
    assert float(losses["style/relu1_1"]) == pytest.approx(twin(image, style), rel=1e-9)
    assert float(losses["total"]) == float(losses["style"]) == float(losses["style/relu1_1"])


def test_gradient_by_finite_differences():
    image, style = RNG.uniform(1, 9, (1, 16, 16, 3)), RNG.uniform(0, 5, (1, 16, 16, 3))
    direction, h = RNG.standard_normal(image.shape), 1e-6
    _, gradient = loss_of(image, style)
    ahead, behind = (twin(image + sign * h * direction, style) for sign in (1, -1))
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_constant_pictures_have_finite_losses_and_gradients(level):
    """A channel without variance: the root of its variance has no gradient at 0."""
    flat, other = np.full((1, 16, 16, 3), level), RNG.uniform(0, 5, (1, 16, 16, 3))
    for image, style in ((flat, other), (other, flat), (flat, flat)):
        losses, gradient = loss_of(image, style)
        assert np.isfinite(float(losses["total"])) and np.isfinite(gradient).all()
    assert float(loss_of(flat, flat)[0]["total"]) == 0


def test_the_mean_counts_where_gram_matrices_agree():
    """Two pictures of one Gram matrix, of which only one has a mean: Gram matrices cannot tell them apart."""
    signs = np.where(RNG.permutation(256) < 128, 1.0, -1.0).reshape(1, 16, 16, 1)
    even, alternating = np.ones((1, 16, 16, 3)), np.broadcast_to(signs, (1, 16, 16, 3)).copy()
    gram = CONFIG.replace(style_loss="relative")
    targets = by_hand.compute_targets(network, tf.constant(even), tf.constant(even), gram)
    blind = by_hand.make_objective(network, targets, gram, even.shape)(tf.constant(alternating))
    assert float(blind[0]["style"]) == pytest.approx(0, abs=1e-12)
    assert float(loss_of(alternating, even)[0]["style"]) > 0.5


def test_terms_are_static_values():
    """What is compiled is keyed by them: equal settings make equal terms, and others do not."""
    terms = make_terms(CONFIG.loss)
    assert terms == make_terms(CONFIG.loss) and hash(terms) == hash(make_terms(CONFIG.loss))
    assert terms != make_terms(CONFIG.replace(style_loss="mean").loss)
    assert all(isinstance(term, Term) for term in terms)
    assert GramAndMoments("relu1_1").name == "style/relu1_1"
