"""From pictures to a solver: the network, its targets, the initial image and what moves it."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.distributed.sharding import make_shared_objective
from neural_style_tf.images import resize
from neural_style_tf.losses.objective import deprocess, preprocess
from neural_style_tf.losses.terms import loss_names, make_terms
from neural_style_tf.models import winograd
from neural_style_tf.models.precision import compute_dtype
from neural_style_tf.models.vgg19 import vgg19
from neural_style_tf.optim import Optimizer, make_optimizer
from neural_style_tf.optim.projections import make_bounds
from neural_style_tf.tiling.adaptive import make_local_objective
from neural_style_tf.tiling.planner import plan_room
from neural_style_tf.transfer.initial import initial_pixels
from neural_style_tf.transfer.solver import Solver
from neural_style_tf.utils.gradient_registry import forget, known
from neural_style_tf.weights import Weights


class Coarser(NamedTuple):
    """What one scale leaves to the next; a `Solver` has both, too."""

    image: tf.Variable
    optimizer: Optimizer


def make_solver(
    pictures: list[np.ndarray],
    config: Config,
    weights: Weights,
    *,
    coarser: Coarser | None = None,
    initial: np.ndarray | None = None,
    cluster: Cluster | None = None,
) -> Solver:
    """Build the network, its targets, the initial image and what moves it.

    Args:
        pictures: Content and style, each [H, W, 3], RGB 0–255, used at this size. The list is emptied as
            soon as they are not needed, so that a large picture does not stay in memory.
        config: All settings.
        weights: The network.
        coarser: Of the next coarser scale, whose image is taken up.
        initial: The picture to begin with otherwise; default: what `config.init` names.
        cluster: The replicas that share the work; default: this process alone.

    Returns:
        A solver that is ready to `start`.
    """
    cluster, size = cluster or Cluster(), pictures[0].shape[:2]
    convolution = winograd.choose(config.network.convolution, config.network.precision, size[0] * size[1])
    with cluster.scope():
        network = _make_network(config, weights, convolution)
    tile, before = plan_room(config, size).tile, known()
    if cluster.replicas > 1:
        objective = make_shared_objective(cluster, network, *pictures, config, tile=tile)
    else:
        # XLA would compile for the style picture's shape, too: longer than its one pass takes.
        once = None if convolution == "direct" else _make_network(config, weights, "direct")
        objective = make_local_objective(network, *pictures, config, tile=tile, style_network=once)
        del once
    # No gradient will be taken of the targets.
    forget(known() - before)
    if coarser is not None:
        initial = deprocess(coarser.image).numpy()
    elif initial is None:
        initial = initial_pixels(config, *pictures)
    pictures.clear()
    bounds = make_bounds(tf.float32, clamp=config.optimization.clamp)
    image = tf.Variable(bounds.clip(preprocess(resize(initial, size))))
    del initial
    cluster.share([image])
    optimizer = make_optimizer(config.optimization, image, cluster.agree, iterations=config.iterations)
    if coarser is not None:
        optimizer.inherit(coarser.optimizer)
    return Solver(objective, optimizer, image, loss_names(make_terms(config.loss)))


def _make_network(config: Config, weights: Weights, convolution: str) -> keras.Model:
    return vgg19(
        weights.kernels,
        weights.biases,
        outputs=config.loss.layers,
        pooling=config.network.pooling,
        padding=config.network.padding,
        transpose_kernels=config.network.transpose_kernels,
        convolution=convolution,
        compute_dtype=compute_dtype(config.network.precision),
    )
