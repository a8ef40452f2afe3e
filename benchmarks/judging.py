"""What the comparisons share: a judge of pictures, what is saved of them, and when a curve reaches a loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def make_judge(content: object, style: object, config: object, weights: object) -> Callable:
    """Return pixels [H, W, 3] → total loss of the float32 objective, of a run with these pictures.

    The pictures are taken at the sizes at which such a run sees them.
    """
    from neural_style_tf.images import resize
    from neural_style_tf.losses.catalogue import make_terms
    from neural_style_tf.losses.objective import Objective
    from neural_style_tf.losses.pixels import preprocess
    from neural_style_tf.models.network import build_network
    from neural_style_tf.transfer.scales import fit_content, style_size

    content = fit_content(content, config)
    style = resize(style, style_size(style.shape[:2], content.shape[:2], config))
    shape = {"pooling": config.network.pooling, "padding": config.network.padding}
    network = build_network(weights.kernels, weights.biases, outputs=config.loss.layers, **shape)
    objective = Objective(network, make_terms(config.loss), content=content, styles=[style])
    return lambda pixels: float(objective(preprocess(pixels))[0]["total"])


def as_saved(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as a picture file holds them: clipped to 0–255 and in 8 bits, [H, W, 3] of float32."""
    from neural_style_tf.images import to_picture

    return np.asarray(to_picture(pixels), np.float32)


def time_to(points: list, loss: float) -> float | None:
    """Return when a curve of (seconds, loss) first reaches a loss, or None."""
    return next((seconds for seconds, value in points if value <= loss), None)
