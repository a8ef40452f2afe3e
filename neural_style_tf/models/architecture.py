"""Descriptions of networks: layers, channels, strides and receptive fields. Does not import TensorFlow.

Source of `VGG16` and `VGG19`: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition" (arXiv 1409.1556), configurations D and E, without their fully connected part.
"""

from __future__ import annotations

import dataclasses
import re

from neural_style_tf.errors import UserError, did_you_mean

MEAN_RGB = (123.68, 116.779, 103.939)
"""Mean of the pictures that VGG's networks were trained on, which is subtracted from RGB 0–255."""

_KERAS_NAME = re.compile(r"block(\d)_(?:conv(\d)|(pool))", re.ASCII)
_TORCHVISION_NAME = re.compile(r"(?:features[._])?(\d{1,9})", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A plain stack of 3×3 convolutions, ReLUs and 2×2 poolings.

    It is static and hashable. Each network has an attribute `architecture`, from which the losses learn about
    its layers.

    Attributes:
        name: Name of the network in messages.
        layers: Names in order. `conv…` keeps the size, `relu…` follows a convolution, `pool…` halves both
            sides, rounded up.
        channels: (name, N_l) for each convolution l; N_l is the number of its output channels.
        mean: Mean RGB, which is subtracted from RGB 0–255 before the first layer.
        winograd: Names of the convolutions that Winograd's method speeds up.
    """

    name: str
    layers: tuple[str, ...]
    channels: tuple[tuple[str, int], ...]
    mean: tuple[float, float, float] = MEAN_RGB
    winograd: frozenset[str] = frozenset()

    def check(self, layer: str) -> str:
        """Return `layer` if the network has it.

        Raises:
            UserError: The network has no such layer. The message names the nearest one.
        """
        if layer not in self.layers:
            raise UserError(f"no layer {layer!r} in {self.name}{self._meant(layer)}; {self._summary()}")
        return layer

    def resolve(self, layer: str) -> str:
        """Return the layer of this network that corresponds to `layer` of VGG-19.

        If a block has fewer convolutions than in VGG-19, its last ReLU stands for the layers that it lacks:
        for conv4_4 and relu4_4, VGG-16 has relu4_3.

        Raises:
            UserError: No layer corresponds.
        """
        if layer in self.layers or layer not in VGG19.layers or layer.startswith("pool"):
            return self.check(layer)
        last = [name for name in self.layers if name.startswith(f"relu{layer[4]}_")]
        return last[-1] if last else self.check(layer)

    def up_to(self, deepest: str) -> tuple[str, ...]:
        """Return the layers from the image up to and including `deepest`, in order."""
        return self.layers[: self.layers.index(self.check(deepest)) + 1]

    def deepest(self, names: tuple[str, ...]) -> str:
        """Return the last of `names` in the order of the network."""
        return max(names, key=lambda name: self.layers.index(self.check(name)))

    def stride(self, layer: str) -> int:
        """Return the distance of neighbouring positions of `layer`, in pixels; 1 for `""`, the pixels."""
        return 2 ** sum(name.startswith("pool") for name in self.up_to(layer)) if layer else 1

    def halo(self, layer: str) -> int:
        """Return by how many pixels, on each side, the receptive field of `layer` is larger than a cell.

        The cell of a position is a square whose side is the stride. A 3×3 convolution at stride s adds s
        pixels on each side. A 2×2 pooling only makes the cell larger.
        """
        reach, step = 0, 1
        for name in self.up_to(layer):
            if name.startswith("conv"):
                reach += step
            elif name.startswith("pool"):
                step *= 2
        return reach

    def alignment(self, names: tuple[str, ...]) -> tuple[int, int]:
        """Return the stride and the halo of the deepest of `names`; the halo is rounded up to the stride.

        The cells of all layers begin at multiples of this stride, so tiles must, too. For VGG-19's relu5_1,
        whose halo is 70, the result is (16, 80). Without names it is that of the first layer, because total
        variation compares neighbouring pixels.
        """
        deepest = self.deepest(names) if names else self.layers[0]
        step = self.stride(deepest)
        return step, -(-self.halo(deepest) // step) * step

    def depth(self, layer: str) -> int:
        """Return N_l, the number of channels of `layer`."""
        of_convolutions = dict(self.channels)
        return of_convolutions[[name for name in self.up_to(layer) if name in of_convolutions][-1]]

    def positions(self, layer: str, height: int, width: int) -> int:
        """Return M_l, the number of positions of `layer` for a picture of `height` × `width` pixels."""
        step = self.stride(layer)
        return -(-height // step) * -(-width // step)

    def _summary(self) -> str:
        names = [[name for name in self.layers if name.startswith(kind)] for kind in ("conv", "relu", "pool")]
        return "layers are " + ", ".join(f"{kind[0]} … {kind[-1]}" for kind in names if kind)

    def _meant(self, name: str) -> str:
        """Return a hint: the layer that Keras or torchvision calls `name`, or a layer with a similar name."""
        if keras := _KERAS_NAME.fullmatch(name.lower()):
            layer = f"pool{keras[1]}" if keras[3] else f"relu{keras[1]}_{keras[2]}"
            if layer in self.layers:
                why = "" if keras[3] else "; its output is after the ReLU"
                return f" (did you mean {layer!r}, which Keras calls {name!r}{why}?)"
            return (
                f" (Keras' networks have it; this one ends at {self.layers[-1]})" if layer == "pool5" else ""
            )
        if torchvision := _TORCHVISION_NAME.fullmatch(name.lower()):
            # torchvision's network has the same layers in the same order, and one more pooling at the end.
            number = int(torchvision[1])
            if number < len(self.layers):
                return f" (did you mean {self.layers[number]!r}, number {number} of torchvision's features?)"
            return " (layers have names here, not torchvision's numbers)"
        return did_you_mean(name, self.layers)


def _vgg(name: str, convolutions: tuple[int, ...]) -> Architecture:
    """Return the VGG network whose five blocks have these numbers of `convolutions`."""
    layers: list[str] = []
    channels: list[tuple[str, int]] = []
    for block, (count, depth) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True), 1):
        layers += [f"pool{block - 1}"] if block > 1 else []
        for number in range(1, count + 1):
            layers += [f"conv{block}_{number}", f"relu{block}_{number}"]
            channels.append((f"conv{block}_{number}", depth))
    # Blocks 1 and 2 have few channels, so the additions of Winograd's method take most of the time that it
    # saves in multiplications. Block 5 has only a fortieth of all multiplications, but takes as long to
    # compile.
    winograd = frozenset(layer for layer, _ in channels if layer[4] in "34")
    return Architecture(name, tuple(layers), tuple(channels), winograd=winograd)


VGG16 = _vgg("VGG-16", (2, 2, 3, 3, 3))
VGG19 = _vgg("VGG-19", (2, 2, 4, 4, 4))
VGG19_LAYERS = VGG19.layers
