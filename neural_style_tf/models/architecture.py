"""The architecture of VGG-19: layers, strides and receptive fields; without TensorFlow.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
(arXiv 1409.1556), configuration E, without its fully connected part.
"""

from __future__ import annotations

import re

from neural_style_tf.errors import UserError
from neural_style_tf.utils.text import did_you_mean

VGG19_LAYERS = (
    "conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1",
    "conv2_1", "relu2_1", "conv2_2", "relu2_2", "pool2",
    "conv3_1", "relu3_1", "conv3_2", "relu3_2", "conv3_3", "relu3_3", "conv3_4", "relu3_4", "pool3",
    "conv4_1", "relu4_1", "conv4_2", "relu4_2", "conv4_3", "relu4_3", "conv4_4", "relu4_4", "pool4",
    "conv5_1", "relu5_1", "conv5_2", "relu5_2", "conv5_3", "relu5_3", "conv5_4", "relu5_4",
)  # fmt: skip

CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}
"""N_l of the convolutions of each block."""

WINOGRAD_BLOCKS = (3, 4)
"""Where Winograd's method pays. With fewer channels its sums take most of what its products save; block 5
is a fortieth of the multiplications, and takes as long to compile."""

MEAN_RGB = (123.68, 116.779, 103.939)
"""What the network expects to be subtracted from RGB values in 0–255 (the mean of its training pictures)."""


_KERAS_NAME = re.compile(r"block(\d)_(?:conv(\d)|(pool))", re.ASCII)
_TORCHVISION_NAME = re.compile(r"(?:features[._])?(\d{1,9})", re.ASCII)


def check_layer(name: str) -> str:
    """Return `name` if it is a layer of VGG-19.

    Raises:
        UserError: It is not; the message names the nearest one.
    """
    if name not in VGG19_LAYERS:
        raise UserError(
            f"no layer {name!r} in VGG-19{_meant(name)}; "
            "layers are conv1_1 … conv5_4, relu1_1 … relu5_4 and pool1 … pool4"
        )
    return name


def _meant(name: str) -> str:
    """Return which layer another library's name or number for one may mean."""
    if keras := _KERAS_NAME.fullmatch(name.lower()):
        layer = f"pool{keras[1]}" if keras[3] else f"relu{keras[1]}_{keras[2]}"
        if layer in VGG19_LAYERS:
            why = "" if keras[3] else "; its output is after the ReLU"
            return f" (did you mean {layer!r}, which Keras calls {name!r}{why}?)"
        return " (Keras' networks have it; this one ends at relu5_4)" if layer == "pool5" else ""
    if torchvision := _TORCHVISION_NAME.fullmatch(name.lower()):
        # The same layers in the same order, and one pool more at the end.
        number = int(torchvision[1])
        if number < len(VGG19_LAYERS):
            return f" (did you mean {VGG19_LAYERS[number]!r}, number {number} of torchvision's features?)"
        return " (layers have names here, not torchvision's numbers)"
    return did_you_mean(name, VGG19_LAYERS)


def up_to(deepest: str) -> tuple[str, ...]:
    """Return the layers from the image up to and including `deepest`, in order."""
    return VGG19_LAYERS[: VGG19_LAYERS.index(check_layer(deepest)) + 1]


def deepest(names: tuple[str, ...]) -> str:
    """Return whichever of `names` comes last in the network."""
    return max(names, key=lambda name: VGG19_LAYERS.index(check_layer(name)))


def stride(name: str) -> int:
    """Return how many image pixels lie between neighbouring positions of a layer."""
    return 2 ** sum(layer.startswith("pool") for layer in up_to(name))


def halo(name: str) -> int:
    """Return how many pixels beyond its own stride cell a position of a layer sees, on one side.

    A 3×3 convolution at stride s adds s pixels on each side; a 2×2 pooling only widens the cell.
    """
    reach, step = 0, 1
    for layer in up_to(name):
        if layer.startswith("conv"):
            reach += step
        elif layer.startswith("pool"):
            step *= 2
    return reach


def alignment(names: tuple[str, ...]) -> tuple[int, int]:
    """Return the stride and the halo of the deepest of `names`, the halo rounded up to the stride.

    Pooling cells of all layers begin at multiples of that stride: 16, and 80, for relu5_1, which sees 70.
    """
    step = stride(deepest(names))
    return step, -(-halo(deepest(names)) // step) * step


def channels(name: str) -> int:
    """Return N_l, the number of feature maps of a layer."""
    return CHANNELS[block(name)]


def block(name: str) -> int:
    """Return the block of a layer, 1 to 5: 4 for relu4_2 and pool4."""
    return int(check_layer(name).partition("_")[0][-1])


def positions(name: str, height: int, width: int) -> int:
    """Return M_l, the number of positions of a layer on a picture, with ceil (SAME) pooling.

    Height and width may be integer tensors, and so is M_l then.
    """
    step = stride(name)
    return -(-height // step) * -(-width // step)
