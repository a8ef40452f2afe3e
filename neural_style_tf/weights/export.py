"""Write weights as .npz, .mat or .h5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neural_style_tf.errors import UserError, show
from neural_style_tf.utils.atomic import atomic_file
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights import Weights
from neural_style_tf.weights.cache_format import write_converted
from neural_style_tf.weights.keras_h5 import KERAS_NAMES, RECORD_ATTRIBUTE
from neural_style_tf.weights.matconvnet import RECORD_VARIABLE
from neural_style_tf.weights.provenance import Record
from neural_style_tf.weights.structure import CONVOLUTIONS_PER_BLOCK

MEAN_RGB = (123.68, 116.779, 103.939)


def export(weights: Weights, record: Record, out: Path, *, overwrite: bool = False) -> None:
    """Write weights to a file in the form its ending names.

    Every form carries the record, so that the bundled network stays known as such.

    Args:
        weights: What to write.
        record: Where it comes from.
        out: Ends in `.npz` (ours), `.mat` (MatConvNet's newer layout, convolutions only) or `.h5` (Keras').
        overwrite: Replace a file that is there.

    Raises:
        UserError: Another ending, a file that is there, or a folder that cannot be written.
    """
    check_output(out, overwrite=overwrite)
    try:
        with atomic_file(out) as file:
            _WRITERS[out.suffix.lower()](file, weights, record)
    except OSError as error:
        raise UserError(f"{show(out)}: cannot be written: {error.strerror or error}") from None


def check_output(out: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that `export` could not write, before the input is read; see `export`."""
    if out.suffix.lower() not in _WRITERS:
        ending = out.suffix or "no ending"
        raise UserError(
            f"{show(out)}: {ending} is none of {', '.join(_WRITERS)}{did_you_mean(out.suffix, _WRITERS)}"
        )
    if not out.parent.is_dir():
        raise UserError(f"{show(out)}: there is no folder {show(out.parent)}")
    if out.exists() and not overwrite:
        raise UserError(f"{show(out)}: exists already; --overwrite replaces it")
    if out.is_dir():
        raise UserError(f"{show(out)}: this is a folder")


def _write_npz(file: BinaryIO, weights: Weights, record: Record) -> None:
    write_converted(file, weights.kernels, weights.biases, record)


def _write_h5(file: BinaryIO, weights: Weights, record: Record) -> None:
    import h5py

    with h5py.File(file, "w") as root:
        root.attrs["layer_names"] = [name.encode() for name in KERAS_NAMES]
        root.attrs[RECORD_ATTRIBUTE] = record.to_json()
        for keras_name, name in KERAS_NAMES.items():
            # Keras keeps BGR.
            kernel = weights.kernels[name][:, :, ::-1] if name == "conv1_1" else weights.kernels[name]
            arrays = {f"{keras_name}_W_1:0": kernel, f"{keras_name}_b_1:0": weights.biases[name]}
            group = root.create_group(keras_name)
            group.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, array in arrays.items():
                group.create_dataset(key, data=array)


def _write_mat(file: BinaryIO, weights: Weights, record: Record) -> None:
    import scipy.io

    layers: list[dict[str, Any]] = []
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, 1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            layers += [_conv(name, weights), {"name": f"relu{block}_{index}", "type": "relu"}]
        layers.append(
            {"name": f"pool{block}", "type": "pool", "method": "max", "pool": [[2.0, 2.0]], "stride": 2.0}
        )
    average = np.array(MEAN_RGB, np.float32).reshape(1, 1, 3)
    meta = {"normalization": {"imageSize": [[224.0, 224.0, 3.0]], "averageImage": average}}
    content = {"layers": _cell(layers), "meta": meta, RECORD_VARIABLE: record.to_json()}
    scipy.io.savemat(file, content, oned_as="column")


def _conv(name: str, weights: Weights) -> dict[str, Any]:
    kernel, bias = weights.kernels[name], weights.biases[name].reshape(-1, 1)
    return {
        "name": name,
        "type": "conv",
        "weights": _cell([kernel, bias]),
        "size": np.array([kernel.shape], np.float64),
        "pad": np.ones((1, 4)),
        "stride": np.ones((1, 2)),
    }


def _cell(items: list[Any]) -> np.ndarray:
    cell = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        cell[0, index] = item
    return cell


_WRITERS: dict[str, Callable[[BinaryIO, Weights, Record], None]] = {
    ".npz": _write_npz,
    ".mat": _write_mat,
    ".h5": _write_h5,
}
