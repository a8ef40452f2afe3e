"""Read a weight file of any format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from neural_style_tf.errors import UserError, show
from neural_style_tf.weights import Weights, detect_format
from neural_style_tf.weights.cache_format import read_converted
from neural_style_tf.weights.keras_h5 import read_keras
from neural_style_tf.weights.provenance import Record, record_of, to_weights
from neural_style_tf.weights.registry import RETIRED, generation_of, hash_file, refusal
from neural_style_tf.weights.sandbox import Read, read_mat, read_once
from neural_style_tf.weights.stand_in import convert_bundled
from neural_style_tf.weights.structure import WIDTHS, WrongStructure


def read_file(
    path: str | os.PathLike[str],
    *,
    widths: Sequence[int] = WIDTHS,
    keep: bool = True,
    log: Callable[[str], None] | None = None,
) -> Weights:
    """Read the weights of VGG-19 from a file, whatever its form and its name.

    Args:
        path: A MatConvNet .mat, a Keras .h5, the bundled network's .onnx, or an .npz converted from one.
        widths: Filters of each of the sixteen convolutions; others than VGG-19's own for small tests.
        keep: Keep the converted form of a .mat beside it, and use it.
        log: Told what takes long, in one line.

    Returns:
        The weights.

    Raises:
        UserError: It is not there, cannot be read, or is not a VGG-19.
    """
    return read_with_record(path, widths=widths, keep=keep, log=log)[0]


def read_with_record(
    path: str | os.PathLike[str],
    *,
    widths: Sequence[int] = WIDTHS,
    keep: bool = True,
    log: Callable[[str], None] | None = None,
) -> tuple[Weights, Record]:
    """Read weights, and what is known of the file they first came from; see `read_file`."""
    path = Path(path)
    kind = detect_format.sniff(path)
    try:
        if kind == detect_format.MAT:
            read = read_mat(path, widths=widths, keep=keep, log=log)
        elif kind == detect_format.HDF5:
            read = _read_hdf5(path, widths)
        elif kind == detect_format.ONNX:
            read = convert_bundled(path)
        else:
            read = read_converted(path, widths=widths)
        return to_weights(*read), read[2]
    except WrongStructure as error:
        raise refusal(path, str(error)) from None
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None


def _read_hdf5(path: Path, widths: Sequence[int]) -> Read:
    stat, hashes = path.stat(), hash_file(path)
    if hashes.sha256 == RETIRED.sha256:
        raise WrongStructure(
            f"the network of {RETIRED.generation}, which is no longer used; --weights=bundled is now another"
        )
    if generation_of(hashes):
        kernels, biases, layout, _ = read_keras(path, widths=widths)
        return kernels, biases, record_of(path, stat, hashes, origin="keras", layout=layout)
    return read_once(path, "hdf5", widths=widths)
