"""Read the HDF5 files of Keras, old and new."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_style_tf.weights.structure import Arrays, WrongFile

if TYPE_CHECKING:
    import h5py

_LAYER = re.compile(r"block(\d)_conv(\d)", re.ASCII)


def read_keras(path: Path) -> tuple[Arrays, Arrays]:
    """Return the kernels and biases of a file; kernels are [3, 3, N_in, N_out], RGB (the file has BGR)."""
    import h5py

    kernels, biases = {}, {}
    # Nobody writes to it, and HDF5 calls a file damaged whose file system has no locks.
    with h5py.File(path, "r", locking=False) as file:
        for name, group in _groups(file).items():
            arrays = [item[()] for item in _items(group).values() if isinstance(item, h5py.Dataset)]
            shapes = sorted(array.ndim for array in arrays)
            if shapes != [1, 4]:
                raise WrongFile(f"{name} has {len(arrays)} arrays, expected a kernel and a bias")
            biases[name], kernels[name] = sorted(arrays, key=lambda array: array.ndim)
    if "conv1_1" in kernels:
        kernels["conv1_1"] = kernels["conv1_1"][:, :, ::-1]
    return kernels, biases


def _groups(file: h5py.File) -> dict[str, h5py.Group]:
    groups: dict[str, h5py.Group] = {}
    for path, item in _items(file).items():
        # Keras 3 numbers its groups and keeps the layer's name in an attribute.
        layer = _LAYER.fullmatch(str(item.attrs.get("name", path.rsplit("/", 1)[-1])))
        if layer and hasattr(item, "visititems"):
            # Outer groups come first; the optimizer's state, which repeats the names, comes after the model.
            groups.setdefault(f"conv{layer[1]}_{layer[2]}", item)
    return groups


def _items(group: h5py.Group) -> dict[str, Any]:
    items: dict[str, Any] = {}
    group.visititems(items.__setitem__)
    return items
