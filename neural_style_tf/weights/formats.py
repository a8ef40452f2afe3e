"""The formats of weight files: MatConvNet's .mat, Keras' HDF5, ONNX, and this program's .npz.

Each reader returns two dicts by layer name: kernels [3, 3, N_in, N_out], for RGB, and biases. Readers check
nothing, and may raise any exception.

An .npz that this program writes is the converted form of another file: its convolutions, and a record of that
file.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.errors import UserError
from neural_style_tf.utils.files import atomic_file
from neural_style_tf.weights.registry import HOW_TO_INSTALL
from neural_style_tf.weights.structure import Arrays, WrongFile

if TYPE_CHECKING:
    import h5py

SUFFIX = ".converted.npz"
"""Appended to the name of the original file."""
CONVERTED_FORMAT = 2
"""Version of the converted form. Files of another version are converted again."""
_RECORD = "record"

_LAYER = re.compile(r"block(\d)_conv(\d)", re.ASCII)

_KERNEL = re.compile(r"functional_1/block(\d)_conv(\d)_1/convolution/ReadVariableOp:0", re.ASCII)
_BIAS = re.compile(r"functional_1/block(\d)_conv(\d)_1/Squeeze:0", re.ASCII)


def read_matconvnet(path: Path) -> tuple[Arrays, Arrays]:
    """Read a .mat file of any release of MatConvNet."""
    import scipy.io

    # Other variables, such as the mean picture and the names of classes, are not parsed.
    content = scipy.io.loadmat(path, variable_names=["layers"], simplify_cells=True)
    if "layers" not in content:
        raise WrongFile("a MATLAB file without MatConvNet's list of layers")
    kernels, biases = {}, {}
    # Releases differ in the order of the fields and in the shape of a bias.
    for layer in content["layers"]:
        pair = layer.get("weights", ())
        if "filters" in layer:
            pair = layer["filters"], layer["biases"]
        if len(pair) == 2:
            kernels[layer["name"]], biases[layer["name"]] = pair[0], pair[1].reshape(-1)
    return kernels, biases


def read_keras(path: Path) -> tuple[Arrays, Arrays]:
    """Read an HDF5 file of Keras 2 or 3; its kernels for BGR become kernels for RGB."""
    import h5py

    kernels, biases = {}, {}
    # On a file system without locks HDF5 would call the file damaged.
    with h5py.File(path, "r", locking=False) as file:
        for name, group in _groups(file).items():
            arrays = [item[()] for item in _members(group).values() if isinstance(item, h5py.Dataset)]
            shapes = sorted(array.ndim for array in arrays)
            if shapes != [1, 4]:
                raise WrongFile(f"{name} has {len(arrays)} arrays, expected a kernel and a bias")
            biases[name], kernels[name] = sorted(arrays, key=lambda array: array.ndim)
    if "conv1_1" in kernels:
        kernels["conv1_1"] = kernels["conv1_1"][:, :, ::-1]
    return kernels, biases


def _groups(file: h5py.File) -> dict[str, h5py.Group]:
    groups: dict[str, h5py.Group] = {}
    for path, item in _members(file).items():
        # Keras 3 numbers its groups and keeps the layer's name in an attribute.
        layer = _LAYER.fullmatch(str(item.attrs.get("name", path.rsplit("/", 1)[-1])))
        if layer and hasattr(item, "visititems"):
            # Only the first group of a name counts: inner groups and the optimiser's state repeat the names.
            groups.setdefault(f"conv{layer[1]}_{layer[2]}", item)
    return groups


def _members(group: h5py.Group) -> dict[str, Any]:
    items: dict[str, Any] = {}
    group.visititems(items.__setitem__)
    return items


def read_onnx(path: Path) -> tuple[Arrays, Arrays]:
    """Read the constants of an ONNX model without executing it."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise UserError(
            f"The package onnx, which reads the bundled network, is missing; {HOW_TO_INSTALL}"
        ) from None
    kernels, biases = {}, {}
    for constant in onnx.load(path, load_external_data=False).graph.initializer:
        if match := _KERNEL.fullmatch(constant.name):
            # ONNX stores [out, in, rows, columns].
            kernels[f"conv{match[1]}_{match[2]}"] = numpy_helper.to_array(constant).transpose(2, 3, 1, 0)
        elif match := _BIAS.fullmatch(constant.name):
            biases[f"conv{match[1]}_{match[2]}"] = numpy_helper.to_array(constant)
    if "conv1_1" in kernels:
        # From BGR to RGB.
        kernels["conv1_1"] = kernels["conv1_1"][:, :, ::-1]
    return kernels, biases


def read_npz(path: Path) -> tuple[Arrays, Arrays]:
    """Read an .npz whose arrays are named `conv1_1.kernel`, `conv1_1.bias` and so on."""
    kernels: Arrays = {}
    biases: Arrays = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            layer, _, kind = name.partition(".")
            if kind in ("kernel", "bias"):
                (kernels if kind == "kernel" else biases)[layer] = archive[name]
    return kernels, biases


@dataclasses.dataclass(frozen=True)
class Origin:
    """The file that weights come from; most fields are described in `Weights`."""

    origin: str
    source: str
    sha256: str
    generation: str
    # Size of the file in bytes and its modification time in nanoseconds, by which a change is noticed.
    stamp: tuple[int, int] = (0, 0)


def converted_path(original: Path) -> Path:
    """Return the path of the converted form, beside the original file."""
    return original.with_name(original.name + SUFFIX)


def write_converted(path: Path, kernels: Arrays, biases: Arrays, origin: Origin) -> None:
    """Write the converted form to `path`; raise `OSError` if that fails."""
    arrays = {f"{name}.kernel": array for name, array in kernels.items()}
    arrays |= {f"{name}.bias": array for name, array in biases.items()}
    record = json.dumps({"format": CONVERTED_FORMAT, **dataclasses.asdict(origin)})
    with atomic_file(path) as file:
        np.savez(file, **{_RECORD: np.array(record)}, **arrays)


def read_origin(path: Path) -> Origin:
    """Return the origin that a converted file records; its arrays are not read.

    Raise `WrongFile` if the file is damaged, or was written by another version or another program.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            record = json.loads(str(archive[_RECORD][()]))
        if record.pop("format") == CONVERTED_FORMAT:
            return Origin(**record | {"stamp": tuple(record["stamp"])})
    except Exception as error:
        # Zip, zlib, NumPy and JSON raise errors of their own.
        raise WrongFile(f"damaged, or not converted by this program ({type(error).__name__})") from None
    raise WrongFile("converted by another version of this program")
