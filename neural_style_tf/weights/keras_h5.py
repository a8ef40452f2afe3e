"""Read the convolutions of a Keras HDF5 file, old or new form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.weights.structure import (
    CONVOLUTIONS,
    WIDTHS,
    WrongStructure,
    check_names,
    check_shapes,
    check_structure,
    printable,
    to_float32,
)

if TYPE_CHECKING:
    import h5py

RECORD_ATTRIBUTE = "neural_style_tf"

KERAS_NAMES = {f"block{name[4]}_conv{name[6]}": name for name in CONVOLUTIONS}
"""Keras' layer names → ours: `block1_conv1` → `conv1_1`."""

Arrays = dict[str, np.ndarray]


def read_keras(path: str | Path, *, widths: Sequence[int] = WIDTHS) -> tuple[Arrays, Arrays, str, str]:
    """Read a VGG-19 that Keras saved.

    Args:
        path: An HDF5 file.
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB; biases, layer name → [N_out]; the
        layout in words; the record that a file of ours carries, or `""`.

    Raises:
        WrongStructure: The file is damaged or holds something else.
    """
    kernels, biases, record = read_convolutions(path, CONVOLUTIONS, widths=widths)
    check_structure(kernels, biases, widths=widths)
    return kernels, biases, "Keras HDF5, BGR", record


def read_convolutions(
    path: str | Path, names: Sequence[str], *, widths: Sequence[int] = WIDTHS
) -> tuple[Arrays, Arrays, str]:
    """Read some of VGG-19's convolutions, found by layer name and by shape.

    Keras stores BGR; conv1_1 is turned to RGB here.

    Args:
        path: An HDF5 file.
        names: Which of `CONVOLUTIONS` to read.
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        Kernels, biases and record as in `read_keras`, without the check for finite numbers.

    Raises:
        WrongStructure: The file is damaged, or one of the layers is missing or of another shape.
    """
    import h5py

    kernels, biases = {}, {}
    try:
        # Nobody writes to it, and HDF5 calls a file damaged whose file system has no locks.
        with h5py.File(path, "r", locking=False) as file:
            groups = _groups(file)
            if not any(name in groups for name in names):
                raise WrongStructure("an HDF5 file without the layers block1_conv1 … block5_conv4")
            if len(names) == len(CONVOLUTIONS):
                check_names(groups)
            for name in names:
                if name not in groups:
                    raise WrongStructure(f"a network without {name}")
                kernel, bias = _pair(groups[name], name)
                # Before reading: a crafted shape could ask for any amount of memory.
                check_shapes(name, kernel.shape, bias.shape, widths=widths)
                kernels[name], biases[name] = to_float32(kernel[()], name), to_float32(bias[()], name)
            record = _text(file.attrs.get(RECORD_ATTRIBUTE))
    except WrongStructure:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        raise WrongStructure(f"a damaged or truncated HDF5 file ({printable(str(error), 80)})") from None
    if "conv1_1" in kernels:
        kernels["conv1_1"] = np.ascontiguousarray(kernels["conv1_1"][:, :, ::-1])
    return kernels, biases, record


def _groups(file: h5py.File) -> dict[str, h5py.Group]:
    import h5py

    found: dict[str, h5py.Group] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            # Keras 3 numbers its groups and keeps the layer's name in an attribute.
            layer = _text(item.attrs.get("name")) or path.rsplit("/", 1)[-1]
            if layer in KERAS_NAMES:
                # Outer groups come first; optimizer state, which repeats the names, comes after the model.
                found.setdefault(KERAS_NAMES[layer], item)

    file.visititems(visit)
    return found


def _pair(group: h5py.Group, name: str) -> tuple[h5py.Dataset, h5py.Dataset]:
    import h5py

    datasets: list[h5py.Dataset] = []
    group.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    kernels = [item for item in datasets if item.ndim == 4]
    biases = [item for item in datasets if item.ndim == 1]
    if len(kernels) != 1 or len(biases) != 1:
        raise WrongStructure(
            f"{name} has {len(kernels)} kernels and {len(biases)} biases, expected one of each"
        )
    if any(item.is_virtual or item.external for item in (*kernels, *biases)):
        # Such a file could make us read, or wait for, any other file of the user's.
        raise WrongStructure(f"{name} keeps its numbers in another file")
    return kernels[0], biases[0]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
