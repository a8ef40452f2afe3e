"""The converted form of a weight file: an .npz with its convolutions and a record of the original file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from neural_style_tf.utils.files import atomic_file
from neural_style_tf.weights.structure import Arrays, WrongFile

SUFFIX = ".converted.npz"
"""Appended to the name of the original file."""

CONVERTED_FORMAT = 2
"""Version of the converted form. Files of another version are converted again."""

_RECORD = "record"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The file that weights come from; the other fields are described in `Weights`.

    Attributes:
        stamp: What `stamp_of` returned for the file when it was converted.
    """

    origin: str
    source: str
    sha256: str
    generation: str
    stamp: tuple[int, int] = (0, 0)


def converted_path(original: Path) -> Path:
    """Return the path of the converted form, beside the original file."""
    return original.with_name(original.name + SUFFIX)


def stamp_of(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes and its modification time in nanoseconds.

    A converted form is up to date if its recorded stamp equals that of the original file.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def write_converted(path: Path, kernels: Arrays, biases: Arrays, origin: Origin) -> None:
    """Write the converted form to `path`; raise `OSError` if that fails."""
    arrays = {f"{name}.kernel": array for name, array in kernels.items()}
    arrays |= {f"{name}.bias": array for name, array in biases.items()}
    record = json.dumps({"format": CONVERTED_FORMAT, **dataclasses.asdict(origin)})
    with atomic_file(path) as file:
        np.savez(file, **{_RECORD: np.array(record)}, **arrays)


def read_origin(path: Path) -> Origin:
    """Return the origin that a converted file records; its arrays are not read.

    Raise `WrongFile` if the file is damaged, or was written by another version or another program.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            record = json.loads(str(archive[_RECORD][()]))
        if record.pop("format") == CONVERTED_FORMAT:
            return Origin(**record | {"stamp": tuple(record["stamp"])})
    except Exception as error:
        # Zip, zlib, NumPy and JSON raise errors of their own.
        raise WrongFile(f"damaged, or not converted by this program ({type(error).__name__})") from None
    raise WrongFile("converted by another version of this program")
