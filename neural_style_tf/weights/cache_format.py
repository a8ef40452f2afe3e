"""Read and write the converted form: sixteen convolutions and their provenance in one .npz."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neural_style_tf.weights.provenance import Record
from neural_style_tf.weights.structure import (
    CONVOLUTIONS,
    WIDTHS,
    WrongStructure,
    check_names,
    check_structure,
    kernel_shapes,
    listing,
    printable,
)

SUFFIX = ".converted.npz"
"""What a converted file's name has more than its original's: no user's file is called that by chance."""

_RECORD = "record"
# An .npy header is 128 bytes here; more than a page of it is not ours.
_HEADER = 4096
# The end of a zip file: 20 bytes that point to a ZIP64 directory (ours never needs one), 22 bytes that
# point to the directory. Of its 33 entries, each has less than 128 bytes.
_END, _END64, _DIRECTORY = b"PK\5\6", b"PK\6\7", 1 << 16
_FORESEEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def converted_path(original: Path) -> Path:
    """Return where the converted form of `original` is kept: next to it."""
    return original.with_name(original.name + SUFFIX)


def write_converted(
    file: BinaryIO, kernels: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray], record: Record
) -> None:
    """Write the converted form.

    Args:
        file: A seekable binary file.
        kernels: Layer name → [3, 3, N_in, N_out], float32, RGB.
        biases: Layer name → [N_out], float32.
        record: Where they come from.

    Raises:
        OSError: The disk is full.
    """
    arrays = {f"{name}.kernel": kernels[name] for name in CONVOLUTIONS}
    arrays |= {f"{name}.bias": biases[name] for name in CONVOLUTIONS}
    np.savez(file, **{_RECORD: np.array(record.to_json())}, **arrays)


def read_converted(
    path: str | os.PathLike[str], *, widths: Sequence[int] = WIDTHS
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Record]:
    """Read the converted form.

    Args:
        path: The .npz file.
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB; biases, layer name → [N_out]; the record.

    Raises:
        WrongStructure: The file is damaged or not one of ours.
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            _check_members(path, widths)
            # NumPy warns of what it thinks of a damaged header.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            archive = stack.enter_context(np.load(path, allow_pickle=False))
            record = Record.from_json(str(_array(archive, _RECORD)[()]))
            kernels = {name: _array(archive, f"{name}.kernel") for name in CONVOLUTIONS}
            biases = {name: _array(archive, f"{name}.bias") for name in CONVOLUTIONS}
        except (FileNotFoundError, PermissionError, WrongStructure):
            raise
        except Exception as error:
            # Zip, zlib, NumPy and the parser of NumPy's headers each raise what they please.
            reason = f" ({printable(str(error), 80)})" if isinstance(error, _FORESEEN) else ""
            raise WrongStructure(f"a damaged or truncated .npz file{reason}") from None
    check_structure(kernels, biases, widths=widths)
    return kernels, biases, record


def _array(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    array = archive[name]
    if not isinstance(array, np.ndarray):
        # NumPy returns the bytes of what does not begin as an array.
        raise WrongStructure(f"an archive whose {name} is not an array")
    return array


def _check_members(path: str | os.PathLike[str], widths: Sequence[int]) -> None:
    # The sizes are checked before anything is read: a crafted archive could unpack to any size.
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        sizes: dict[str, int] = {}
        for info in archive.infolist():
            # NumPy takes a name with or without its ending, so that two could mean the same.
            name = info.filename.removesuffix(".npy")
            if name in sizes:
                raise WrongStructure(f"an archive with two members named {printable(name, 40)}")
            sizes[name] = info.file_size
    if _RECORD not in sizes:
        raise WrongStructure(
            f"an archive that this program did not write, with {listing(sizes) or 'nothing'}"
        )
    check_names(name for name in CONVOLUTIONS if f"{name}.kernel" in sizes and f"{name}.bias" in sizes)
    for name, shape in kernel_shapes(widths).items():
        # float64 would be twice the length, and is refused later with its name.
        if sizes[f"{name}.kernel"] > 8 * np.prod(shape) + _HEADER:
            raise WrongStructure(f"{name} has a kernel of {sizes[f'{name}.kernel']:,} bytes")
    if max(sizes[_RECORD], *(sizes[f"{name}.bias"] for name in CONVOLUTIONS)) > 16 * _HEADER:
        raise WrongStructure("an archive with a record or a bias that is far too long")


def _check_directory(path: str | os.PathLike[str]) -> None:
    # It is read whole, and takes ten times its length as Python objects.
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 42))
        end = file.read()
    if end[-22:-18] != _END:
        raise WrongStructure("a truncated .npz file, or one that this program did not write")
    if end[:4] == _END64 or int.from_bytes(end[-10:-6], "little") > _DIRECTORY:
        raise WrongStructure("an archive that this program did not write, with far too many members")
