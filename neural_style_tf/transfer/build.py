"""Build a solver from pictures: the network, targets, initial image and optimiser."""

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
from neural_style_tf.tiling.planner import plan_memory
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
    networks: Networks | None = None,
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
        networks: Those of the coarser scales, of the same settings; default: none yet.

    Returns:
        A solver that is ready to `start`.
    """
    cluster, size = cluster or Cluster(), pictures[0].shape[:2]
    convolution = winograd.select_convolution(
        config.network.convolution, config.network.precision, size[0] * size[1]
    )
    networks = networks or Networks(config, weights, cluster)
    network = networks(convolution)
    tile, before = plan_memory(config, size).tile, known()
    if cluster.replicas > 1:
        objective = make_shared_objective(cluster, network, *pictures, config, tile=tile)
    else:
        # XLA would compile for the style picture's shape, too: longer than its one pass takes.
        once = None if convolution == "direct" else networks("direct")
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
    cluster.broadcast_variables([image])
    optimizer = make_optimizer(
        config.optimization, image, cluster.broadcast_from_chief, iterations=config.iterations
    )
    if coarser is not None:
        optimizer.inherit(coarser.optimizer)
    return Solver(objective, optimizer, image, loss_names(make_terms(config.loss)))


class Networks:
    """The networks of a run, which serve all its scales; each is made when it is first asked for.

    Args:
        config: `network`, and the layers of `loss`.
        weights: Of VGG-19.
        cluster: The replicas that read them.
    """

    def __init__(self, config: Config, weights: Weights, cluster: Cluster) -> None:
        self._config, self._weights, self._cluster = config, weights, cluster
        self._made: dict[str, keras.Model] = {}

    def __call__(self, convolution: str) -> keras.Model:
        """Return the network with `direct` or `winograd` convolutions."""
        if convolution not in self._made:
            with self._cluster.scope():
                self._made[convolution] = self._make(convolution)
        return self._made[convolution]

    def _make(self, convolution: str) -> keras.Model:
        settings = self._config.network
        return vgg19(
            self._weights.kernels,
            self._weights.biases,
            outputs=self._config.loss.layers,
            pooling=settings.pooling,
            padding=settings.padding,
            transpose_kernels=settings.transpose_kernels,
            convolution=convolution,
            compute_dtype=compute_dtype(settings.precision),
        )
