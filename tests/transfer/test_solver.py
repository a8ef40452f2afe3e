"""The compiled loop: what a step is, what the best is, and what happens when numbers go bad."""

import numpy as np
import pytest
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.optim import make_optimizer
from neural_style_tf.transfer.solver import Solver

NAMES = ("total", "style/relu1_1")


def bowl(image):
    total = tf.reduce_sum(tf.square(image))
    return {"total": total, "style/relu1_1": total}, 2 * image


def make(objective=bowl, start=3.0, **settings):
    image = tf.Variable(np.full((1, 2, 2, 3), start, np.float32))
    return Solver(objective, make_optimizer(Config(**settings).optimization, image), image, NAMES)


def count(number):
    return tf.constant(number, tf.int64)


def test_the_terms_are_those_of_the_image():
    solver = make(learning_rate=0.1)
    solver.start()
    for steps in (0, 1, 3):
        solver.advance(count(steps))
        assert solver.values[0].numpy() == pytest.approx(np.sum(solver.image.numpy() ** 2), rel=1e-6)
    assert int(solver.step) == 4


def test_steps_can_be_cut_anyhow():
    one, many = make(), make()
    one.start(), many.start()
    one.advance(count(12))
    for steps in (1, 4, 0, 7):
        many.advance(count(steps))
    np.testing.assert_array_equal(one.image, many.image)


def test_the_best_is_of_all_steps():
    """Adam at rate 10 jumps across the bowl from 3 to −7: step 0 stays the best."""
    solver = make(learning_rate=10)
    solver.start()
    solver.advance(count(1))
    assert int(solver.step) == 1
    assert int(solver.best_step) == 0
    np.testing.assert_array_equal(solver.best_image, np.full((1, 2, 2, 3), 3, np.float32))
    gentle = make(learning_rate=0.1)
    gentle.start()
    gentle.advance(count(2))
    assert int(gentle.best_step) == 2
    np.testing.assert_array_equal(gentle.best_image, gentle.image)


def cliff(image):
    """A bowl whose loss is not a number left of −1."""
    terms, gradient = bowl(image)
    bad = tf.where(tf.reduce_min(image) < -1, tf.constant(float("nan")), 0.0)
    return {"total": terms["total"] + bad, "style/relu1_1": terms["total"] + bad}, gradient


def test_a_bad_step_is_taken_back():
    solver = make(cliff, learning_rate=10)
    solver.start()
    assert not solver.advance(count(5))
    assert int(solver.step) == 0
    np.testing.assert_array_equal(solver.image, np.full((1, 2, 2, 3), 3, np.float32))
    assert solver.values[0].numpy() == pytest.approx(108)
    assert np.isnan(solver.rejected.numpy()).all()


def test_retreat_halves_the_rate_and_forgets():
    solver = make(cliff, learning_rate=10)
    solver.start()
    solver.advance(count(1))
    for _ in range(2):
        solver.retreat()
    assert solver.optimizer.keras.learning_rate.numpy() == pytest.approx(2.5)
    assert int(solver.optimizer.keras.iterations) == 0
    assert solver.advance(count(1))
    # Adam's first step is the learning rate itself.
    np.testing.assert_allclose(solver.image, np.full((1, 2, 2, 3), 0.5), rtol=1e-4)


def test_a_gradient_that_is_not_finite_is_a_fault_too():
    def spike(image):
        terms, gradient = bowl(image)
        return terms, tf.where(image < 0, tf.constant(float("inf")), gradient)

    solver = make(spike)
    assert solver.start()
    assert not solver.advance(count(1))
    assert np.isfinite(solver.rejected.numpy()).all()


def test_a_bad_start_is_told():
    assert not make(cliff, start=-2.0).start()


def test_a_checkpoint_holds_everything(tmp_path):
    solver = make(learning_rate=1)
    solver.start()
    solver.advance(count(3))
    path = tf.train.Checkpoint(solver=solver).write(str(tmp_path / "state"))
    solver.advance(count(4))
    other = make(start=50.0)
    tf.train.Checkpoint(solver=other).read(path).assert_consumed()
    other.advance(count(4))
    np.testing.assert_array_equal(other.image, solver.image)
    assert int(other.best_step) == int(solver.best_step)
    assert other.optimizer.keras.learning_rate.numpy() == 1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_image_that_has_gone_bad_is_not_accepted_and_the_best_comes_back(optimizer):
    solver = make(optimizer=optimizer, learning_rate=1)
    solver.start()
    solver.advance(count(2))
    best, step = solver.best_image.numpy(), int(solver.best_step)
    solver.image.assign(solver.image * float("nan"))
    assert not solver.advance(count(1))
    assert solver.retreat()
    np.testing.assert_array_equal(solver.image, best)
    assert int(solver.step) == step and solver.values[0] == solver.best_total
    assert solver.advance(count(1)) and int(solver.step) == step + 1
