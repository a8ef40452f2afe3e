"""What a loss term sees of an image: features and pixels of all of it, or of one tile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from neural_style_tf.losses.functional import fan_out, gram_sum, guided_moment_sums, moment_sums
from neural_style_tf.models import architecture

Network = Callable[[tf.Tensor], dict[str, tf.Tensor]]
"""image [1, H, W, 3], mean-subtracted RGB → {layer: features [1, H_l, W_l, N_l]}, as `models.vgg19`."""


class View:
    """The features and the pixels of one core.

    Each map is handed out as one tensor, whose gradients are summed in one order (`functional.fan_out`).

    Args:
        network: Gives the features.
        seen: The window [1, H, W, 3], mean-subtracted RGB.
        box: `Tile` as an int32 tensor [2, 4]; None where `seen` is the whole picture.
        guides: Layer → number of a region → how much each position of the whole picture counts there
            [1, H_l, W_l, 1]; what is missing counts everywhere alike.
    """

    def __init__(
        self,
        network: Network,
        seen: tf.Tensor,
        box: tf.Tensor | None = None,
        guides: Mapping[str, Mapping[int, tf.Tensor]] | None = None,
    ) -> None:
        self._seen, self._box, self._guides = seen, box, guides or {}
        self._inside = None if box is None else box[0] - tf.gather(box[1], [0, 0, 2, 2])
        self._features = {
            layer: fan_out(found) if box is None else cut(found, self._inside, layer)
            for layer, found in network(seen).items()
        }
        self._pixels = fan_out(seen)
        self._guided: dict[str, dict[int, tuple[tf.Tensor, tf.Tensor]]] = {}

    def features(self, layer: str) -> tf.Tensor:
        """Return the features [1, H_l, W_l, N_l] of the core."""
        return self._features[layer]

    def pixels(self, *, below: int = 0, right: int = 0) -> tf.Tensor:
        """Return the pixels [1, H, W, 3] of the core, with rows below and columns right of it, if any."""
        if self._box is None:
            return self._pixels
        return cut(self._pixels, self._inside + tf.constant([0, below, 0, right]))

    def moment_sums(self, layer: str, region: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the raw moments Σ m f [N_l] and Σ m f fᵀ [N_l, N_l] of the core; see `functional`.

        Args:
            layer: Whose features f.
            region: Number of the region whose guide is m; without a guide m is 1.
        """
        guides = self._guides.get(layer, {})
        if region not in guides:
            return moment_sums(self._features[layer])
        if layer not in self._guided:
            # Those of all regions at once, which is much faster; see there.
            cropped = [self.crop(guide, layer) for guide in guides.values()]
            sums = guided_moment_sums(self._features[layer], cropped)
            self._guided[layer] = dict(zip(guides, sums, strict=True))
        return self._guided[layer][region]

    def gram_sum(self, layer: str, region: int = 0) -> tf.Tensor:
        """Return the second of `moment_sums` alone."""
        if region in self._guides.get(layer, {}):
            return self.moment_sums(layer, region)[1]
        return gram_sum(self._features[layer])

    def crop(self, whole_map: tf.Tensor, layer: str) -> tf.Tensor:
        """Return the core's part of a map of the whole picture at the positions of a layer."""
        return whole_map if self._box is None else cut(whole_map, self._box[0], layer)


def cut(tensor: tf.Tensor, box: tf.Tensor, layer: str = "") -> tf.Tensor:
    """Return the rows and columns of an image, or of a layer's features, that a box in pixels covers."""
    step = architecture.stride(layer) if layer else 1
    top, left = box[0] // step, box[2] // step
    bottom = tf.minimum(-(-box[1] // step), tf.shape(tensor)[1])
    right = tf.minimum(-(-box[3] // step), tf.shape(tensor)[2])
    # `tf.slice`, because the gradient of indexing is slower.
    return tf.slice(tensor, [0, top, left, 0], [1, bottom - top, right - left, tensor.shape[-1]])


def put(tensor: tf.Tensor, part: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Return an image with `part` where `cut` cuts; in place, if nothing else holds the tensor."""
    _, height, width, depth = tf.unstack(tf.shape(part))
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=tensor,
        begin=[0, box[0], box[2], 0],
        end=[1, box[0] + height, box[2] + width, depth],
        strides=[1, 1, 1, 1],
        value=part,
    )


def shape_of(tensor: tf.Tensor) -> tuple[int | tf.Tensor, ...]:
    """Return the shape of a tensor: numbers where the graph knows them, else scalars."""
    known, found = tensor.shape, tf.unstack(tf.shape(tensor))
    return tuple(scalar if one is None else one for one, scalar in zip(known, found, strict=True))


def zeros(shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """Return zeros to be written to in place: `tf.zeros` becomes a constant, which is copied first."""
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=True)
