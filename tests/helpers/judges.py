"""What L-BFGS is judged by: SciPy's, within as many evaluations, and the real objective in float64."""

import objectives as by_hand
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from neural_style_tf.config.schema import Config
from neural_style_tf.losses import pixels
from neural_style_tf.models.network import build_network


def real_objective(pictures, weights, **layers):
    """The original's objective on a pair of pictures, the content picture, and the names of its losses."""
    config = Config(**layers)
    network = build_network(weights.kernels, weights.biases, outputs=config.loss.layers, dtype="float64")
    content, style = (pixels.preprocess(picture, "float64") for picture in pictures)
    objective = by_hand.objective_of(network, content, style, config)
    return by_hand.compiled(objective), content.numpy(), by_hand.names(config)


def scipy_best(objective, start, evaluations, *, history, bounds=None):
    """The least value SciPy sees within some evaluations."""
    seen = []

    def function(x):
        terms, gradient = objective(tf.constant(x.reshape(start.shape)))
        seen.append(float(terms["total"]))
        return seen[-1], gradient.numpy().astype(float).ravel()

    limits = {"m": history, "factr": 0, "pgtol": 0, "maxfun": evaluations, "maxiter": 10**6}
    fmin_l_bfgs_b(function, start.ravel(), bounds=bounds, **limits)
    return min(seen[:evaluations])


def advance_to(solver, evaluations):
    """The least total of a solver after at least some evaluations."""
    while int(solver.state["optimizer"]["evaluations"]) < evaluations:
        assert solver.advance()
    return float(solver.state["best_total"])
