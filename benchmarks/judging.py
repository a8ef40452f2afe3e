"""What the comparisons share: a judge of pictures, what is saved of them, and when a curve reaches a loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def make_judge(content: object, style: object, config: object, weights: object) -> Callable:
    """Return pixels [H, W, 3] → total loss of the float32 objective."""
    import tensorflow as tf

    from neural_style_tf.losses import objective as objectives
    from neural_style_tf.models.vgg19 import vgg19

    shape = {"pooling": config.pooling, "padding": config.padding}
    network = vgg19(weights.kernels, weights.biases, outputs=config.layers, **shape)
    pictures = (objectives.preprocess(picture) for picture in (content, style))
    targets = objectives.compute_targets(network, *pictures, config)
    terms_of = objectives.make_terms(network, targets, config)
    total = tf.function(lambda image: terms_of(image)["total"], autograph=False)
    return lambda pixels: float(total(objectives.preprocess(pixels)))


def as_saved(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as a picture file holds them: clipped to 0–255 and in 8 bits, [H, W, 3] of float32."""
    from neural_style_tf.images import to_picture

    return np.asarray(to_picture(pixels), np.float32)


def time_to(points: list, loss: float) -> float | None:
    """Return when a curve of (seconds, loss) first reaches a loss, or None."""
    return next((seconds for seconds, value in points if value <= loss), None)
