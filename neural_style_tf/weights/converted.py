"""Read and write the converted form: the convolutions and where they come from, in one .npz."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from neural_style_tf.utils.files import atomic_file
from neural_style_tf.weights.structure import Arrays, WrongFile

SUFFIX = ".converted.npz"
"""What a converted file's name has more than its original's."""

FORMAT = 2
"""Increased when the form changes, so that older files are made again."""

_RECORD = "record"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The file that weights were first read from; fields as of `Weights`.

    Attributes:
        stamp: Its length and time of change when it was converted.
    """

    origin: str
    source: str
    sha256: str
    generation: str
    stamp: tuple[int, int] = (0, 0)


def converted_path(original: Path) -> Path:
    """Return where the converted form of `original` is kept: next to it."""
    return original.with_name(original.name + SUFFIX)


def stamp_of(path: Path) -> tuple[int, int]:
    """Return length and time of change of a file, by which its converted form is known to be up to date."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def write_converted(path: Path, kernels: Arrays, biases: Arrays, origin: Origin) -> None:
    """Write the converted form.

    Raises:
        OSError: The folder is missing, read-only or full.
    """
    arrays = {f"{name}.kernel": array for name, array in kernels.items()}
    arrays |= {f"{name}.bias": array for name, array in biases.items()}
    record = json.dumps({"format": FORMAT, **dataclasses.asdict(origin)})
    with atomic_file(path) as file:
        np.savez(file, **{_RECORD: np.array(record)}, **arrays)


def read_origin(path: Path) -> Origin:
    """Return what a converted file says of its original; its arrays are not read.

    Raises:
        WrongFile: The file is damaged, of another format, or not one of this program.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            record = json.loads(str(archive[_RECORD][()]))
        if record.pop("format") == FORMAT:
            return Origin(**record | {"stamp": tuple(record["stamp"])})
    except Exception as error:
        # Zip, zlib, NumPy and JSON each raise their own.
        raise WrongFile(f"damaged, or not converted by this program ({type(error).__name__})") from None
    raise WrongFile("converted by another version of this program")


def read_npz(path: Path) -> tuple[Arrays, Arrays]:
    """Return the kernels and biases of an .npz, named `conv1_1.kernel`, `conv1_1.bias` and so on."""
    kernels: Arrays = {}
    biases: Arrays = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            layer, _, kind = name.partition(".")
            if kind in ("kernel", "bias"):
                (kernels if kind == "kernel" else biases)[layer] = archive[name]
    return kernels, biases
