"""`View`: what a term sees of a picture, or of one tile of it: features, moments and pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import tensorflow as tf

from neural_style_tf.losses.functional import fan_out, gram_sum, guided_moment_sums, moment_sums
from neural_style_tf.losses.guides import CONTENT
from neural_style_tf.losses.term import Map, Moments, Tree, map_leaves
from neural_style_tf.models.architecture import Architecture

Guides = Mapping[str, Mapping[str, tf.Tensor]]
"""Dict from each layer to a dict from the name of a region to its guide: the weight of each position of the
whole picture [1, H_l, W_l, 1]."""


class Network(Protocol):
    """Function from an image [1, H, W, 3], mean-subtracted RGB, to a dict of features by layer.

    The features of a layer l are [1, H_l, W_l, N_l]: H_l rows and W_l columns of positions, and N_l channels.

    Attributes:
        architecture: Layers, strides and receptive fields of the network.
    """

    architecture: Architecture

    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return a dict from each layer to its features."""


class View:
    """The features and pixels of a whole picture, or of the core of one tile.

    Args:
        network: Computes the features.
        window: The pixels that the network sees [1, H, W, 3], mean-subtracted RGB.
        box: The `Tile` (core and window) as an int32 tensor [2, 4]; None if `window` is the whole picture.
        guides: Guides of the whole picture. A region without a guide at a layer has weight 1 everywhere.
    """

    def __init__(
        self, network: Network, window: tf.Tensor, box: tf.Tensor | None = None, guides: Guides | None = None
    ) -> None:
        self._architecture = network.architecture
        self._box, self._guides = box, guides or {}
        self._inside = None if box is None else box[0] - tf.gather(box[1], [0, 0, 2, 2])
        # Several terms may use the same features: `fan_out` fixes the order in which their gradients are
        # added.
        self._features = {
            layer: fan_out(features) if box is None else self._cut(features, self._inside, layer)
            for layer, features in network(window).items()
        }
        self._pixels = fan_out(window)
        self._guided: dict[str, dict[str, Moments]] = {}

    def features(self, layer: str) -> tf.Tensor:
        """Return the features of `layer` [1, H_l, W_l, N_l]."""
        return self._features[layer]

    def pixels(self, *, below: int = 0, right: int = 0) -> tf.Tensor:
        """Return the pixels [1, H, W, 3] of the picture, or of the core of the tile.

        For a tile, `below` more rows and `right` more columns are returned, as far as the picture has them.
        """
        if self._box is None:
            return self._pixels
        return cut(self._pixels, self._inside + tf.constant([0, below, 0, right]))

    def guide(self, region: str, layer: str) -> tf.Tensor | None:
        """Return the weight of each position in `region` [1, H_l, W_l, 1]; None for weight 1 everywhere."""
        guide = self._guides.get(layer, {}).get(region)
        return None if guide is None else self.crop(Map(guide, layer))

    def moments(self, layer: str, region: str = "", *, first: bool = True) -> Moments:
        """Return the raw moments of the features of `layer` in `region`.

        Args:
            layer: A layer of the network.
            region: Name of the region. If it has no guide at the layer, every position has weight 1.
            first: Whether to compute first moments, too. With a guide they are always computed.
        """
        features = self._features[layer]
        if region in self._guides.get(layer, {}):
            if layer not in self._guided:
                self._guided[layer] = self._moments_of_regions(layer)
            return self._guided[layer][region]
        if first:
            sums, second = moment_sums(features)
        else:
            second = gram_sum(features)
            sums = tf.zeros([0], second.dtype)
        positions = tf.reduce_prod(tf.shape(features, tf.int64)[1:3])
        return Moments(tf.cast(positions, second.dtype), sums, second)

    def crop(self, tree: Tree) -> Tree:
        """Return `tree` with each `Map` replaced by a tensor; for a tile, by the part at its core."""
        return map_leaves(
            lambda layer, leaf: (
                leaf if layer is None or self._box is None else self._cut(leaf, self._box[0], layer)
            ),
            tree,
        )

    def _moments_of_regions(self, layer: str) -> dict[str, Moments]:
        """Return a dict from each region to its moments; computing all together is much faster."""
        guides = {region: self.guide(region, layer) for region in self._guides[layer] if region != CONTENT}
        sums = guided_moment_sums(self._features[layer], list(guides.values()))
        return {
            region: Moments(tf.cast(tf.reduce_sum(guide), second.dtype), first, second)
            for (region, guide), (first, second) in zip(guides.items(), sums, strict=True)
        }

    def _cut(self, tensor: tf.Tensor, box: tf.Tensor, layer: str) -> tf.Tensor:
        return cut(tensor, box, self._architecture.stride(layer))


def cut(tensor: tf.Tensor, box: tf.Tensor, step: int = 1) -> tf.Tensor:
    """Return the part of `tensor` [1, H, W, N] that lies in `box` (top, bottom, left, right, in pixels).

    Neighbouring positions of `tensor` are `step` pixels apart.
    """
    top, left = box[0] // step, box[2] // step
    bottom = tf.minimum(-(-box[1] // step), tf.shape(tensor)[1])
    right = tf.minimum(-(-box[3] // step), tf.shape(tensor)[2])
    # The gradient of `tf.slice` is faster than that of indexing.
    return tf.slice(tensor, [0, top, left, 0], [1, bottom - top, right - left, tensor.shape[-1]])


def put(tensor: tf.Tensor, part: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Return `tensor` with `part` written to where `cut` would read it with `box` and step 1.

    If nothing else holds `tensor`, it is changed in place, without a copy.
    """
    _, height, width, depth = tf.unstack(tf.shape(part))
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=tensor,
        begin=[0, box[0], box[2], 0],
        end=[1, box[0] + height, box[2] + width, depth],
        strides=[1, 1, 1, 1],
        value=part,
    )


def zeros(shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """Return zeros that can be changed in place; `tf.zeros` becomes a constant, which is copied first."""
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True)
