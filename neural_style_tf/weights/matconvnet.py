"""Read MatConvNet's .mat; only in the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_style_tf.weights.structure import (
    CONVOLUTIONS,
    WIDTHS,
    WrongStructure,
    check_names,
    check_shapes,
    check_structure,
    listing,
    to_float32,
)

RECORD_VARIABLE = "neural_style_tf"

Arrays = dict[str, np.ndarray]


def read_matconvnet(path: str, *, widths: Sequence[int] = WIDTHS) -> tuple[Arrays, Arrays, str, str]:
    """Read the convolutions of a MatConvNet file of any generation.

    Args:
        path: A MATLAB file of version 5.
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB, rows first; biases, layer name → [N_out]; the
        layout in words; the record that a file of ours carries, or `""`.

    Raises:
        WrongStructure: The file holds something else.
        Exception: Whatever SciPy raises on a damaged file.
    """
    import scipy.io

    variables = [name for name, _, _ in scipy.io.whosmat(path)]
    if "layers" not in variables:
        raise WrongStructure(
            f"not a MatConvNet network but a MATLAB file with {listing(variables) or 'nothing'}"
        )
    if "params" in variables:
        raise WrongStructure("a MatConvNet DagNN network")
    # The mean picture and the class names are not needed, and each would be parsed for nothing.
    content = scipy.io.loadmat(path, variable_names=["layers", RECORD_VARIABLE])
    kernels, biases, form = parse_layers(content["layers"], widths=widths)
    top = " ".join(name for name in ("layers", "classes", "normalization", "meta") if name in variables)
    layout = f"MatConvNet {top}, {content['layers'].size} layers, {form}"
    return kernels, biases, layout, _text(content.get(RECORD_VARIABLE))


def parse_layers(layers: np.ndarray, *, widths: Sequence[int] = WIDTHS) -> tuple[Arrays, Arrays, str]:
    """Take the convolutions out of MatConvNet's list of layers, by name.

    Args:
        layers: Object array of structs, [1, 43] in the published files.
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        Kernels and biases as in `read_matconvnet`, and the field form: `weights` or `filters/biases`.

    Raises:
        WrongStructure: It is not the list of layers of a VGG-19.
    """
    found: dict[str, tuple[Any, Any]] = {}
    forms = set()
    if not isinstance(layers, np.ndarray):
        raise WrongStructure("'layers' is not a list")
    for element in layers.reshape(-1):
        fields = _fields(element)
        name = _text(fields.get("name"))
        pair, form = _pair(fields)
        if pair is None:
            continue
        if name in found:
            raise WrongStructure(f"two layers named {name}")
        found[name] = pair
        forms.add(form)
    check_names(found)
    kernels, biases = {}, {}
    for name in CONVOLUTIONS:
        kernel, bias = (np.asarray(array) for array in found[name])
        # A bias is a row in the older layout and a column in the newer.
        bias = bias.reshape(-1)
        check_shapes(name, kernel.shape, bias.shape, widths=widths)
        kernels[name], biases[name] = to_float32(kernel, name), to_float32(bias, name)
    check_structure(kernels, biases, widths=widths)
    return kernels, biases, " and ".join(sorted(forms))


def _pair(fields: dict[str, Any]) -> tuple[tuple[Any, Any] | None, str]:
    if "weights" in fields:
        cell = fields["weights"]
        if isinstance(cell, np.ndarray) and cell.dtype == object and cell.size == 2:
            return tuple(cell.reshape(-1)), "weights"
    if "filters" in fields and "biases" in fields:
        return (fields["filters"], fields["biases"]), "filters/biases"
    return None, ""


def _fields(value: Any) -> dict[str, Any]:
    while isinstance(value, np.ndarray) and value.size == 1 and (value.dtype == object or value.dtype.names):
        value = value.reshape(-1)[0]
    names = getattr(getattr(value, "dtype", None), "names", None)
    if not names or not isinstance(value, np.void):
        raise WrongStructure("a MATLAB file whose 'layers' are not structs")
    return {name: value[name] for name in names}


def _text(value: Any) -> str:
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return str(value) if isinstance(value, str) else ""
