"""The compiled loop: what a step is, what the best is, and what happens when numbers go bad."""

import numpy as np
import pytest
import tensorflow as tf
from objectives import solver_of

from neural_style_tf.config.schema import Config

NAMES = ("total", "style/relu1_1")


def bowl(image):
    total = tf.reduce_sum(tf.square(image))
    return {"total": total, "style/relu1_1": total}, 2 * image


def make(objective=bowl, start=3.0, **settings):
    return solver_of(objective, np.full((1, 2, 2, 3), start, np.float32), Config(**settings), NAMES)


def test_the_terms_are_those_of_the_image():
    solver = make(learning_rate=0.1)
    solver.start()
    for steps in (0, 1, 3):
        solver.advance(steps)
        assert solver.losses["total"] == pytest.approx(np.sum(solver.image.numpy() ** 2), rel=1e-6)
    assert solver.steps == 4


def test_steps_can_be_cut_anyhow():
    one, many = make(), make()
    one.start(), many.start()
    one.advance(12)
    for steps in (1, 4, 0, 7):
        many.advance(steps)
    np.testing.assert_array_equal(one.image, many.image)


def test_the_best_is_of_all_steps():
    """Adam at rate 10 jumps across the bowl from 3 to −7: step 0 stays the best."""
    solver = make(learning_rate=10)
    solver.start()
    solver.advance(1)
    assert solver.steps == 1
    assert int(solver.state["best_step"]) == 0
    np.testing.assert_array_equal(solver.state["best_image"], np.full((1, 2, 2, 3), 3, np.float32))
    gentle = make(learning_rate=0.1)
    gentle.start()
    gentle.advance(2)
    assert int(gentle.state["best_step"]) == 2
    np.testing.assert_array_equal(gentle.state["best_image"], gentle.image)


def cliff(image):
    """A bowl whose loss is not a number left of −1."""
    terms, gradient = bowl(image)
    bad = tf.where(tf.reduce_min(image) < -1, tf.constant(float("nan")), 0.0)
    return {"total": terms["total"] + bad, "style/relu1_1": terms["total"] + bad}, gradient


def test_a_bad_step_is_taken_back():
    solver = make(cliff, learning_rate=10)
    solver.start()
    assert not solver.advance(5)
    assert solver.steps == 0
    np.testing.assert_array_equal(solver.image, np.full((1, 2, 2, 3), 3, np.float32))
    assert solver.losses["total"] == pytest.approx(108)
    assert np.isnan(solver.state["rejected"].numpy()).all()


def test_retreat_halves_the_rate_and_forgets():
    solver = make(cliff, learning_rate=10)
    solver.start()
    solver.advance(1)
    for _ in range(2):
        solver.retreat()
    assert solver.state["optimizer"]["rate"].numpy() == pytest.approx(2.5)
    assert int(solver.state["optimizer"]["t"]) == 0
    assert solver.advance(1)
    # Adam's first step is the learning rate itself.
    np.testing.assert_allclose(solver.image, np.full((1, 2, 2, 3), 0.5), rtol=1e-4)


def test_a_gradient_that_is_not_finite_is_a_fault_too():
    def spike(image):
        terms, gradient = bowl(image)
        return terms, tf.where(image < 0, tf.constant(float("inf")), gradient)

    solver = make(spike)
    assert solver.start()
    assert not solver.advance(1)
    assert np.isfinite(solver.state["rejected"].numpy()).all()


def test_a_bad_start_is_told():
    assert not make(cliff, start=-2.0).start()


def test_a_checkpoint_holds_everything(tmp_path):
    solver = make(learning_rate=1)
    solver.start()
    solver.advance(3)
    path = tf.train.Checkpoint(solver=solver.state).write(str(tmp_path / "state"))
    solver.advance(4)
    other = make(start=50.0)
    tf.train.Checkpoint(solver=other.state).read(path).assert_consumed()
    other.advance(4)
    np.testing.assert_array_equal(other.image, solver.image)
    assert int(other.state["best_step"]) == int(solver.state["best_step"])
    assert other.state["optimizer"]["rate"].numpy() == 1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_image_that_has_gone_bad_is_not_accepted_and_the_best_comes_back(optimizer):
    solver = make(optimizer=optimizer, learning_rate=1)
    solver.start()
    solver.advance(2)
    best, step = solver.state["best_image"].numpy(), int(solver.state["best_step"])
    solver.image.assign(solver.image * float("nan"))
    assert not solver.advance(1)
    assert solver.retreat()
    np.testing.assert_array_equal(solver.image, best)
    assert solver.steps == step and solver.losses["total"] == solver.state["best_total"].numpy()
    assert solver.advance(1) and solver.steps == step + 1
