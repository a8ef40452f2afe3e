"""The sizes of content, style and result, from the pictures and the settings."""

from __future__ import annotations

import math

import numpy as np

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.images import fit_size, resize
from neural_style_tf.models.architecture import VGG19


def content_size(size: tuple[int, int], config: Config) -> tuple[int, int]:
    """Return (H, W) of the result of a content picture of `size` (H, W); see `fit_content`.

    Raises:
        UserError: A side is shorter than the network's stride.
    """
    size = fit_size(size, config.sizes.image_size, enlarge=config.sizes.enlarge)
    _check_size(size, config, "content")
    return size


def style_size(size: tuple[int, int], result: tuple[int, int], config: Config) -> tuple[int, int]:
    """Return (H, W) at which a style picture is looked at, before `config.sizes.style_scale`.

    Args:
        size: (H, W) that it has.
        result: (H, W) of the result.
        config: `style_size`, which may name the size of the result.

    Raises:
        UserError: A side is shorter than the network's stride.
    """
    size = fit_size(size, max(result) if config.sizes.style_size == -1 else config.sizes.style_size)
    _check_size(size, config, "style")
    return size


def longest_of_style(result: tuple[int, int], config: Config, number: int = 0) -> int:
    """Return how many pixels of a style picture's longest side are of use; 0: all.

    Args:
        result: (H, W) of the result.
        config: `style_size` and `style_scale`.
        number: Of the style, from 0.
    """
    scales = config.sizes.style_scale
    longest = max(result) if config.sizes.style_size == -1 else config.sizes.style_size
    return math.ceil(longest * max(scales[number if number < len(scales) else 0], 1))


def fit_content(content: np.ndarray, config: Config) -> np.ndarray:
    """Return the content picture at the size of the result.

    Args:
        content: [H, W, 3], RGB 0–255.
        config: `image_size`, and `enlarge`, without which a small picture keeps its size.

    Returns:
        float32 [H, W, 3].

    Raises:
        UserError: A side is shorter than the network's stride.
    """
    return resize(np.asarray(content, np.float32), content_size(content.shape[:2], config))


def _check_size(size: tuple[int, int], config: Config, role: str) -> None:
    height, width = size
    layer = VGG19.deepest(config.loss.layers)
    flag = "style_size" if role == "style" and config.sizes.style_size > 0 else "image_size"
    needed = VGG19.stride(layer)
    if min(size) < needed:
        raise UserError(
            f"the {role} picture would be {width}×{height} pixels; {layer} needs sides of "
            f"at least {needed}: use a larger picture, a larger --{flag}, or shallower layers"
        )
