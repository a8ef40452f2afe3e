"""`paint`: one call from two pictures to a third."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from neural_style_tf.config.schema import Config
from neural_style_tf.images import load_image, save_image
from neural_style_tf.transfer.session import stylize
from neural_style_tf.weights import Weights

PRESET = "balanced"
"""Preset of `paint`: `original`, the default of `Config`, is faithful but not beautiful."""


@dataclasses.dataclass(frozen=True, eq=False)
class Painting:
    """A result of `paint`.

    Attributes:
        pixels: float32 [H, W, 3], RGB, not clipped to 0–255.
        losses: `total` and its parts, of the last step.
    """

    pixels: np.ndarray
    losses: dict[str, float]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the picture; an existing file is replaced.

        Args:
            path: Its ending decides the format, as for `save_image`.

        Raises:
            UserError: An unknown ending, or a folder that is not there.
            RunError: Writing failed, as on a full disk.
        """
        save_image(path, self.pixels)


def paint(
    content: str | os.PathLike[str] | np.ndarray,
    style: str | os.PathLike[str] | np.ndarray,
    *,
    size: int | None = None,
    weights: Weights | None = None,
    **settings: Any,
) -> Painting:
    """Paint `content` in the manner of `style`; the preset is `balanced`.

    Args:
        content: A picture file, or [H, W, 3], RGB 0–255.
        style: Likewise, of any shape.
        size: The longest side of the result in pixels; default: that of `image_size`.
        weights: The network; default: what `load_weights("auto")` finds.
        **settings: Settings of `Config`, such as `iterations` or `preset`.

    Raises:
        UserError: A file that is no picture, or a setting that cannot be.
        RunError: The loss stopped being finite and did not recover.
    """
    settings = {"preset": PRESET} | settings | ({} if size is None else {"image_size": size})
    config = Config(**settings)
    pictures = [
        picture
        if isinstance(picture, np.ndarray)
        else load_image(picture, longest=config.sizes.image_size).pixels
        for picture in (content, style)
    ]
    *_, last = stylize(*pictures, config, weights=weights)
    return Painting(last.best, dict(last.terms))
