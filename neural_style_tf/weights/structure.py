"""Check the arrays of a weight file, and scale VGG-16 to the magnitudes of VGG-19."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from neural_style_tf.models.architecture import VGG16, VGG19, Architecture

Arrays = dict[str, np.ndarray]

# Factor c_l of each block of VGG-16; see `gain`.
_BLOCKS = {"1": 1.0, "2": 0.643, "3": 0.481, "4": 3.63, "5": 2.0}


class WrongFile(ValueError):
    """A file holds no network that this program knows. The message says why, but does not name the file."""


def check_network(kernels: Arrays, biases: Arrays) -> tuple[Arrays, Arrays, Architecture]:
    """Return kernels and biases as contiguous float32 in network order, and their network.

    The numbers of channels may differ from the published network. A missing layer, a wrong shape, NaN and
    infinity raise `WrongFile`.
    """
    names = {name for name in kernels if name in biases and name.startswith("conv")}
    network = VGG19 if "conv3_4" in names or "conv4_4" in names else VGG16
    layers = [name for name, _ in network.channels]
    if missing := [name for name in layers if name not in names]:
        raise WrongFile(f"no {_listing(missing)}, as {network.name} has; it has {_listing(sorted(names))}")
    inputs = 3
    for name in layers:
        shape = kernels[name].shape
        if len(shape) != 4 or shape[:3] != (3, 3, inputs):
            raise WrongFile(f"{name} has a kernel of shape {_shape(shape)}, expected 3×3×{inputs}×N")
        inputs = shape[3]
        if biases[name].shape != (inputs,):
            raise WrongFile(f"{name} has a bias of shape {_shape(biases[name].shape)}, expected {inputs}")
    arrays = ({name: _to_float32(source[name], name) for name in layers} for source in (kernels, biases))
    return *arrays, network


def gain(layer: str) -> float:
    """Return c_l, the factor by which the output of the convolution `layer` (l) of VGG-16 is multiplied.

    Activations of VGG-16 and VGG-19 differ in magnitude, and published loss weights depend on it. With these
    factors a noise image has the losses that the INSTALL.md of jcjohnson/neural-style prints for VGG-19
    (compared by `benchmarks/calibration.py`), so that weights tuned for VGG-19 keep their meaning.
    """
    return 3.39 if layer == "conv4_1" else _BLOCKS[layer[4]]


def rescale(kernels: Arrays, biases: Arrays) -> tuple[Arrays, Arrays]:
    """Return kernels W' and biases b' of VGG-16 that multiply the output of each layer l by c_l; see `gain`.

    A network of convolutions and ReLUs is positively homogeneous, so that W'_l = (c_l / c_{l-1}) W_l and
    b'_l = c_l b_l are exact. `kernels` must be in network order.
    """
    scaled: Arrays = {}
    previous = 1.0
    for name, kernel in kernels.items():
        scaled[name] = kernel * np.float32(gain(name) / previous)
        previous = gain(name)
    return scaled, {name: bias * np.float32(gain(name)) for name, bias in biases.items()}


def _to_float32(array: np.ndarray, name: str) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise WrongFile(f"{name} holds {array.dtype}, expected floating-point numbers")
    # A float64 number too large for float32 becomes infinity, which is refused below.
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise WrongFile(f"NaN or infinity in {name}")
    return array


def _listing(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "no convolution") + rest


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "()"
