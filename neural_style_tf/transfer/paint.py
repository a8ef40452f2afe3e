"""`paint`: paint a picture by one call."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from neural_style_tf.config.schema import Config
from neural_style_tf.images import load_image, save_image
from neural_style_tf.images.exr import Original
from neural_style_tf.transfer.session import stylize
from neural_style_tf.weights import Weights

PRESET = "balanced"
"""Default preset of `paint`. `original`, the default of `Config`, is faithful but less beautiful."""


@dataclasses.dataclass(frozen=True, eq=False)
class Painting:
    """The result of `paint`.

    Attributes:
        pixels: The picture, float32 [H, W, 3], RGB, not clipped to 0–255.
        losses: Name → value of the losses at the last step: `total` and its parts.
        original: The content picture if it is an OpenEXR file, whose other channels such a file keeps.
    """

    pixels: np.ndarray
    losses: dict[str, float]
    original: Original | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the picture; an existing file is replaced.

        Args:
            path: Its suffix names the format, as for `save_image`.

        Raises:
            UserError: The suffix is unknown, or the folder does not exist.
            RunError: Writing failed, for example because the disk is full.
        """
        save_image(path, self.pixels, original=self.original)


def paint(
    content: str | os.PathLike[str] | np.ndarray,
    style: str | os.PathLike[str] | np.ndarray,
    *,
    size: int | None = None,
    weights: Weights | None = None,
    **settings: Any,
) -> Painting:
    """Paint `content` in the manner of `style`, by default with the preset `balanced`.

    Args:
        content: A picture file, or an array [H, W, 3], RGB 0–255.
        style: A picture file, or an array [H, W, 3], RGB 0–255.
        size: The longest side of the result in pixels; default: the setting `image_size`.
        weights: The weights of the network; default: `load_weights("auto")`.
        **settings: Settings of `Config`, such as `iterations` or `preset`.

    Returns:
        The painting.

    Raises:
        UserError: A picture cannot be read or is too small, or a setting is out of range.
        RunError: The loss was not finite, and restarting from the best image did not help.
    """
    settings = {"preset": PRESET} | settings | ({} if size is None else {"image_size": size})
    config = Config(**settings)
    original = None
    if not isinstance(content, np.ndarray):
        photo = load_image(content, longest=config.sizes.image_size)
        content, original = photo.pixels, photo.original
    if not isinstance(style, np.ndarray):
        style = load_image(style, longest=config.sizes.image_size).pixels
    *_, last = stylize(content, style, config, weights=weights)
    return Painting(last.best, dict(last.terms), original)
