"""L-BFGS against SciPy's on standard functions and on the real objective; its line search at its worst."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from neural_style_tf import objective as objectives
from neural_style_tf.config import Config
from neural_style_tf.optim import make_optimizer
from neural_style_tf.solver import Solver
from neural_style_tf.vgg import vgg19

HISTORY = 10


def rosenbrock(x):
    return tf.reduce_sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def ill_conditioned(x):
    return tf.reduce_sum(tf.constant(np.logspace(0, 4, 100), x.dtype) * x * x) / 2


def quartic(x):
    return tf.reduce_sum(x**4) + 10 * tf.reduce_sum((x[1:] - x[:-1]) ** 2) + tf.reduce_sum(tf.exp(-x))


STARTS = {
    rosenbrock: np.tile([-1.2, 1.0], 50),
    ill_conditioned: np.random.default_rng(0).standard_normal(100),
    quartic: 5 * np.random.default_rng(1).standard_normal(200),
}


def as_objective(function):
    def objective(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = function(tf.reshape(image, [-1]))
        return {"total": total}, tape.gradient(total, image)

    return objective


def make(objective, start, names=("total",), dtype=tf.float64):
    image = tf.Variable(tf.constant(np.reshape(start, (1, 1, -1, 1)) if start.ndim == 1 else start, dtype))
    config = Config(optimizer="lbfgs", history=HISTORY)
    solver = Solver(objective, make_optimizer(config, image), image, names)
    assert solver.start()
    return solver


def advance_to(solver, evaluations):
    while int(solver.optimizer.evaluations) < evaluations:
        assert solver.advance(tf.constant(1, tf.int64))
    return float(solver.best_total)


def scipy_best(objective, start, evaluations):
    """The least value SciPy sees within some evaluations."""
    seen = []

    def function(x):
        terms, gradient = objective(tf.constant(x.reshape(start.shape)))
        seen.append(float(terms["total"]))
        return seen[-1], gradient.numpy().astype(float).ravel()

    fmin_l_bfgs_b(function, start.ravel(), m=HISTORY, factr=0, pgtol=0, maxfun=evaluations, maxiter=10**6)
    return min(seen[:evaluations])


@pytest.mark.parametrize("function", STARTS)
@pytest.mark.parametrize("evaluations", [30, 100])
def test_as_good_as_scipy_on_standard_functions(function, evaluations):
    """What SciPy reaches in n evaluations is reached in 1.1 n."""
    start = STARTS[function].reshape(1, 1, -1, 1)
    theirs = scipy_best(as_objective(function), start, evaluations)
    ours = advance_to(make(as_objective(function), start), round(1.1 * evaluations))
    assert ours <= theirs * (1 + 1e-9) or (function is ill_conditioned and ours <= 1.1 * theirs)


def test_as_good_as_scipy_on_the_real_objective(pictures, narrow_weights):
    config = Config()
    network = vgg19(narrow_weights.kernels, narrow_weights.biases, outputs=config.layers, dtype="float64")
    content, style = (objectives.preprocess(picture, "float64") for picture in pictures)
    targets = objectives.compute_targets(network, content, style, config)
    objective = tf.function(objectives.make_objective(network, targets, config), autograph=False)
    theirs = scipy_best(objective, content.numpy(), 60)
    ours = advance_to(make(objective, content.numpy(), objectives.term_names(config)), 66)
    assert ours <= theirs


def test_it_solves_a_quadratic_exactly():
    solver = make(as_objective(lambda x: tf.reduce_sum((x - 3) ** 2)), np.zeros(7))
    solver.advance(tf.constant(5, tf.int64))
    assert solver.image.numpy().ravel() == pytest.approx(np.full(7, 3.0), abs=1e-9)


def test_it_never_rises_and_never_stops_after_one_step():
    solver = make(as_objective(rosenbrock), STARTS[rosenbrock])
    totals = [float(solver.values[0])]
    for _ in range(60):
        assert solver.advance(tf.constant(1, tf.int64))
        totals.append(float(solver.values[0]))
    assert np.all(np.diff(totals) <= 0)
    assert np.sum(np.diff(totals) < 0) >= 59


def test_a_wall_of_nan_is_walked_around():
    """Beyond 1 there is no number: the search must shorten its step and still get near."""

    def function(x):
        value = tf.reduce_sum((x - 1.001) ** 2)
        return tf.where(tf.reduce_max(x) > 1, tf.constant(float("nan"), x.dtype), value)

    solver = make(as_objective(function), np.full(4, -30.0))
    for _ in range(60):
        assert solver.advance(tf.constant(1, tf.int64))
    assert solver.image.numpy().ravel() == pytest.approx(np.ones(4), abs=0.3)


def test_at_a_minimum_it_stays_and_does_not_fail():
    solver = make(as_objective(lambda x: tf.reduce_sum(x**2)), np.zeros(5))
    assert solver.advance(tf.constant(3, tf.int64))
    np.testing.assert_array_equal(solver.image.numpy().ravel(), np.zeros(5))
    assert int(solver.step) == 3


def test_saved_state_continues_to_the_same_bits(tmp_path):
    one = make(as_objective(rosenbrock), STARTS[rosenbrock], dtype=tf.float32)
    one.advance(tf.constant(13, tf.int64))
    path = tf.train.Checkpoint(solver=one).write(str(tmp_path / "state"))
    one.advance(tf.constant(20, tf.int64))
    other = make(as_objective(rosenbrock), STARTS[rosenbrock], dtype=tf.float32)
    tf.train.Checkpoint(solver=other).read(path).assert_consumed()
    other.advance(tf.constant(20, tf.int64))
    np.testing.assert_array_equal(one.image, other.image)
