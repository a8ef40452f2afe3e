"""The interface of an objective (image → losses and gradient), and the mean-subtracted form of an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from neural_style_tf.losses.evaluate import Losses, Targets
from neural_style_tf.models import architecture


class Objective(Protocol):
    """What is minimised: image → (losses, gradient of `total`).

    It is static: what differs between runs that share a compiled step comes as arguments.

    Attributes:
        tile: The longest side of a tile's core; None for one piece.
    """

    tile: int | None

    def __call__(self, image: tf.Tensor, *arguments: Any) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient [1, H, W, 3] of an image [1, H, W, 3]; in a graph.

        Args:
            image: Mean-subtracted RGB.
            *arguments: Those of `tiling.adaptive` and `distributed.sharding` take the targets, from
                `targets.compute_targets`, and the weights, from `terms.term_weights`.
        """

    def smaller(self, size: tuple[int, int]) -> Objective | None:
        """Return the same function of images of `size` (H, W) in less memory, or None if there is no such."""


@dataclasses.dataclass(frozen=True, eq=False)
class GrayObjective:
    """An objective whose gradient is the same in all three colours, so that a grey image stays grey.

    Differs from Gatys et al., whose pixels are free: what a network of colour pictures asks of a grey one has
    colour, which appears as noise.

    Attributes:
        whole: The objective of images in colour.
    """

    whole: Objective

    def __call__(self, image: tf.Tensor, *arguments: Any) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the mean of the gradient's colours; see `Objective`."""
        losses, gradient = self.whole(image, *arguments)
        return losses, gray(gradient)

    @property
    def tile(self) -> int | None:
        """The longest side of a tile's core; None for one piece."""
        return self.whole.tile

    def smaller(self, size: tuple[int, int]) -> GrayObjective | None:
        """Return the same function in less memory, or None if there is no such."""
        smaller = self.whole.smaller(size)
        return None if smaller is None else type(self)(smaller)


class HeldObjective(GrayObjective):
    """An objective whose gradient is 0 where the frame of a clip is still, so that pixels stay there.

    Attributes:
        whole: The objective of images whose pixels are free.
    """

    def __call__(
        self, image: tf.Tensor, targets: Targets, weights: Mapping[str, Any]
    ) -> tuple[Losses, tf.Tensor]:
        """Return the losses and the gradient of the pixels that are free; see `Objective`."""
        losses, gradient = self.whole(image, targets, weights)
        return losses, tf.where(targets["temporal"]["still"] > 0, tf.zeros_like(gradient), gradient)


def gray(values: tf.Tensor) -> tf.Tensor:
    """Return the mean of the colours of [..., 3] in each of them."""
    return tf.broadcast_to(tf.reduce_mean(values, -1, keepdims=True), tf.shape(values))


def preprocess(pixels: tf.Tensor, dtype: str = "float32") -> tf.Tensor:
    """Turn pixels [H, W, 3], RGB 0–255, into the network's image [1, H, W, 3] by subtracting its mean."""
    return (tf.convert_to_tensor(pixels, dtype) - tf.constant(architecture.MEAN_RGB, dtype))[tf.newaxis]


def deprocess(image: tf.Tensor) -> tf.Tensor:
    """Turn an image [1, H, W, 3] back into pixels [H, W, 3], RGB, not clipped to 0–255."""
    return image[0] + tf.constant(architecture.MEAN_RGB, image.dtype)
