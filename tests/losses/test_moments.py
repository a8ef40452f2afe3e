"""The moments loss against a twin in NumPy, by finite differences, and at its edges."""

import numpy as np
import pytest
from style_losses import (
    RNG,
    assert_finite_where_constant,
    assert_gradient,
    assert_twins,
    config_of,
    loss_of,
)

from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.gram import GramAndMoments
from neural_style_tf.losses.term import Term

CONFIG = config_of("moments")


def twin(image, style):
    def moments(picture):
        flat = picture.reshape(-1, 3)
        return flat.T @ flat / len(flat), flat.mean(0), flat.std(0)

    pairs = zip(moments(image), moments(style), strict=True)
    return sum(((ours - theirs) ** 2).sum() / (theirs**2).sum() for ours, theirs in pairs)


def test_it_is_the_twin_whose_gradient_it_has():
    image, style = RNG.uniform(1, 9, (1, 24, 16, 3)), RNG.uniform(0, 5, (1, 20, 17, 3))
    assert_twins("moments", twin, image, style)
    assert_gradient("moments", twin, image, style)
    assert_finite_where_constant("moments")


def test_the_mean_counts_where_gram_matrices_agree():
    """Two pictures of one Gram matrix, of which only one has a mean: Gram matrices cannot tell them apart."""
    signs = np.where(RNG.permutation(256) < 128, 1.0, -1.0).reshape(1, 16, 16, 1)
    even, alternating = np.ones((1, 16, 16, 3)), np.broadcast_to(signs, (1, 16, 16, 3)).copy()
    assert float(loss_of("relative", alternating, even)[0]["style"]) == pytest.approx(0, abs=1e-12)
    assert float(loss_of("moments", alternating, even)[0]["style"]) > 0.5


def test_terms_are_static_values():
    """What is compiled is keyed by them: equal settings make equal terms, and others do not."""
    terms = make_terms(CONFIG.loss)
    assert terms == make_terms(CONFIG.loss) and hash(terms) == hash(make_terms(CONFIG.loss))
    assert terms != make_terms(CONFIG.replace(style_loss="mean").loss)
    assert all(isinstance(term, Term) for term in terms)
    assert GramAndMoments("relu1_1").name == "style/relu1_1"
