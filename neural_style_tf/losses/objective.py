"""The objective: image → (its losses, their gradient)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.losses import functional
from neural_style_tf.models import architecture

Terms = dict[str, tf.Tensor]
Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Objective = Callable[[tf.Tensor], tuple[Terms, tf.Tensor]]
"""image [1, H, W, 3] → ({name: scalar}, gradient [1, H, W, 3] of `total`); see `term_names`."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the image is compared with; computed once.

    Attributes:
        content: Layer → P_l [1, H_l, W_l, N_l] of the content picture; bfloat16 if computed so.
        style: Layer → A_l [N_l, N_l] of the style picture, normalised.
        energy: Layer → Σ P², where it is known: to sum it anew takes as much memory as P_l.
    """

    content: Mapping[str, tf.Tensor]
    style: Mapping[str, tf.Tensor]
    energy: Mapping[str, tf.Tensor] = dataclasses.field(default_factory=dict)


def term_names(config: Config) -> tuple[str, ...]:
    """Return the names of the terms of an objective, in the order in which they are logged.

    `total` is the weighted sum that is minimised; `content`, `style` and `tv` are its unweighted parts
    (each a sum over layers of w_l times the layer's term); `content/…` and `style/…` are layers' terms.
    """
    per_layer = [f"content/{name}" for name, _ in config.content_layers]
    per_layer += [f"style/{name}" for name, _ in config.style_layers]
    return ("total", "content", "style", "tv", *per_layer)


def compute_targets(
    network: Network,
    content: tf.Tensor,
    style: tf.Tensor,
    config: Config,
    *,
    style_network: Network | None = None,
) -> Targets:
    """Compute what the losses compare with.

    Args:
        network: A model from `vgg.vgg19` with all of `config.layers`.
        content: The content picture, mean-subtracted RGB [1, H, W, 3].
        style: The style picture, likewise, of any size.
        config: Which layers, and how Gram matrices are normalised.
        style_network: Sees the style picture instead of `network`.

    Returns:
        The targets.
    """
    style_network = network if style_network is None else style_network

    # Always inside a graph: oneDNN's cache of reordered filters is per kernel, and eager calls of equal
    # shape share one kernel.
    @tf.function(autograph=False)
    def content_features(image: tf.Tensor) -> dict[str, tf.Tensor]:
        features = network(image)
        return {name: features[name] for name, _ in config.content_layers}

    @tf.function(autograph=False)
    def style_grams(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return image_grams(style_network(image), config)

    return Targets(content=content_features(content), style=style_grams(style))


def image_grams(features: Mapping[str, tf.Tensor], config: Config) -> dict[str, tf.Tensor]:
    """Return layer → normalised Gram matrix [N_l, N_l] of the style layers."""
    grams = {}
    for name, _ in config.style_layers:
        positions = tf.reduce_prod(tf.shape(features[name])[1:3])
        grams[name] = functional.normalize_gram(functional.gram_sum(features[name]), positions, config.gram)
    return grams


def score(
    errors: Mapping[str, tf.Tensor],
    grams: Mapping[str, tf.Tensor],
    variation: tf.Tensor,
    targets: Targets,
    config: Config,
) -> Terms:
    """Make every term out of what was summed over positions.

    Args:
        errors: Content layer → Σ (F−P)².
        grams: Style layer → normalised Gram matrix of the image.
        variation: Total variation of the image.
        targets: What to compare with.
        config: Weights and forms of the losses.

    Returns:
        Every name of `term_names` → scalar.
    """
    content = {
        name: functional.content_distance(
            error, targets.content[name], config.content_loss, squares=targets.energy.get(name)
        )
        for name, error in errors.items()
    }
    style = {
        name: functional.style_distance(gram, targets.style[name], config.style_loss)
        for name, gram in grams.items()
    }
    zero = tf.zeros([], variation.dtype)
    content_total = sum((weight * content[name] for name, weight in config.content_layers), zero)
    style_total = sum((weight * style[name] for name, weight in config.style_layers), zero)
    # A weight of 0 leaves its term out of the sum, so that a term no one asked for cannot spoil it.
    weighted = (
        (config.content_weight, content_total),
        (config.weighted_style, style_total),
        (config.tv_weight, variation),
    )
    total = sum((weight * term for weight, term in weighted if weight), zero)
    return (
        {"total": total, "content": content_total, "style": style_total, "tv": variation}
        | {f"content/{name}": term for name, term in content.items()}
        | {f"style/{name}": term for name, term in style.items()}
    )


def make_terms(network: Network, targets: Targets, config: Config) -> Callable[[tf.Tensor], Terms]:
    """Return the losses of Eq. 7, L = α L_content + β L_style, with total variation.

    Args:
        network: A model from `vgg.vgg19` with all of `config.layers`.
        targets: From `compute_targets`.
        config: Layers, weights and forms of the losses.

    Returns:
        image [1, H, W, 3] → terms.
    """

    def terms_of(image: tf.Tensor) -> Terms:
        features = {name: functional.branch(layer) for name, layer in network(image).items()}
        errors = {
            name: functional.content_error(features[name], targets.content[name])
            for name, _ in config.content_layers
        }
        grams = image_grams(features, config)
        return score(errors, grams, functional.total_variation(functional.branch(image)), targets, config)

    return terms_of


def make_objective(network: Network, targets: Targets, config: Config) -> Objective:
    """Return the losses of `make_terms`, whose arguments it takes, with their gradient.

    Returns:
        image [1, H, W, 3] → (terms, gradient). Only the gradient with respect to the image is computed.
    """
    terms_of = make_terms(network, targets, config)

    @apart
    def objective(image: tf.Tensor) -> tuple[Terms, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            terms = terms_of(image)
        return terms, tape.gradient(terms["total"], image)

    return objective


def apart(function: Callable) -> Callable:
    """Return a `tf.function` that stays one within the graph of its caller.

    In the graph of a loop, TensorFlow 2.21 leaves the gradient of max pooling to its own kernel, many times
    slower than oneDNN's: it goes through the operations in an order that a loop upsets, and puts oneDNN's
    only where it has already put the pooling itself. A function that is called has a graph without loops.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def preprocess(pixels: tf.Tensor, dtype: str = "float32") -> tf.Tensor:
    """Turn pixels [H, W, 3], RGB 0–255, into the network's image [1, H, W, 3] by subtracting its mean."""
    return (tf.convert_to_tensor(pixels, dtype) - tf.constant(architecture.MEAN_RGB, dtype))[tf.newaxis]


def deprocess(image: tf.Tensor) -> tf.Tensor:
    """Turn an image [1, H, W, 3] back into pixels [H, W, 3], RGB, not clipped to 0–255."""
    return image[0] + tf.constant(architecture.MEAN_RGB, image.dtype)
