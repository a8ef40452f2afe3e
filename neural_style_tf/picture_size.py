"""The sizes at which content and style are looked at."""

from __future__ import annotations

import numpy as np

from neural_style_tf.config import Config
from neural_style_tf.errors import UserError
from neural_style_tf.images import fit_size, resize
from neural_style_tf.layers import deepest, stride


def fit_content(content: np.ndarray, config: Config) -> np.ndarray:
    """Return the content picture at the size of the result; see `fit_picture`."""
    return fit_picture(content, config.image_size, config, "content")


def fit_style(style: np.ndarray, config: Config) -> np.ndarray:
    """Return the style picture at the size it is looked at; see `fit_picture`."""
    size = config.image_size if config.style_size == -1 else config.style_size
    return fit_picture(style, size, config, "style")


def fit_picture(pixels: np.ndarray, longest: int, config: Config, role: str) -> np.ndarray:
    """Return `pixels` reduced to a longest side, as float32 [H, W, 3].

    Raises:
        UserError: They are not [H, W, 3], or a side is shorter than the network's stride.
    """
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise UserError(f"the {role} picture must be an array [H, W, 3], not {list(pixels.shape)}")
    height, width = fit_size(pixels.shape[:2], longest)
    needed = stride(deepest(config.layers))
    if min(height, width) < needed:
        raise UserError(
            f"the {role} picture would be {width}×{height} pixels; {deepest(config.layers)} needs sides of "
            f"at least {needed}: use a larger picture, a larger --image_size, or shallower layers"
        )
    if (height, width) == pixels.shape[:2]:
        return np.asarray(pixels, np.float32)
    return resize(np.asarray(pixels, np.float32), (height, width))
