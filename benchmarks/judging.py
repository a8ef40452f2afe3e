"""What the comparisons share: a judge of pictures, what is saved of them, and when a curve reaches a loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def make_judge(content: object, style: object, config: object, weights: object) -> Callable:
    """Return pixels [H, W, 3] → total loss of the float32 objective, of a run with these pictures.

    The pictures are taken at the sizes at which such a run sees them.
    """
    import tensorflow as tf
    from neural_style_tf.losses.terms import make_terms, term_weights
    from neural_style_tf.models.vgg19 import vgg19

    from neural_style_tf.images import resize
    from neural_style_tf.losses.evaluate import evaluate
    from neural_style_tf.losses.guides import EVERYWHERE
    from neural_style_tf.losses.objective import preprocess
    from neural_style_tf.losses.targets import compute_targets, make_sources
    from neural_style_tf.transfer.picture_sizes import fit_content, style_size

    content = fit_content(content, config)
    style = resize(style, style_size(style.shape[:2], content.shape[:2], config))
    shape = {"pooling": config.network.pooling, "padding": config.network.padding}
    network = vgg19(weights.kernels, weights.biases, outputs=config.loss.layers, **shape)
    pictures = [preprocess(picture) for picture in (content, style)]
    terms = make_terms(config.loss)
    sources = make_sources(terms, pictures[0], pictures[1:], guidance=EVERYWHERE)
    targets = compute_targets(network, terms, sources)

    @tf.function(autograph=False)
    def total(image: tf.Tensor) -> tf.Tensor:
        return evaluate(network, terms, image, targets, term_weights(config.loss), None)[0]["total"]

    return lambda pixels: float(total(preprocess(pixels)))


def as_saved(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as a picture file holds them: clipped to 0–255 and in 8 bits, [H, W, 3] of float32."""
    from neural_style_tf.images import to_picture

    return np.asarray(to_picture(pixels), np.float32)


def time_to(points: list, loss: float) -> float | None:
    """Return when a curve of (seconds, loss) first reaches a loss, or None."""
    return next((seconds for seconds, value in points if value <= loss), None)
