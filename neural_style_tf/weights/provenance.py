"""Where weights come from: the record in a converted file, and the notes for the user."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neural_style_tf.errors import show
from neural_style_tf.weights import Weights
from neural_style_tf.weights.registry import (
    KERAS,
    MATCONVNET,
    RETIRED,
    REVERSED,
    TRANSPOSED,
    Hashes,
    generation_of,
    orientation,
)
from neural_style_tf.weights.structure import WrongStructure, printable

ORIGINS = ("matconvnet", "keras", "bundled")

STAND_IN = (
    "The network is ImageNet's VGG-16: by the same authors as VGG-19, and widely used for style "
    "transfer. For VGG-19 itself run with --weights=keras on a machine with a network, or put "
    f"{KERAS.name} or {MATCONVNET.name} into the folder weights"
)
"""What a run with the bundled network says once."""


@dataclasses.dataclass(frozen=True)
class Record:
    """The file that weights were first read from.

    Attributes:
        origin: One of `ORIGINS`.
        source: Its name, without the folder.
        sha256: Its hash.
        md5: Its other hash: the older generations are published with this one only.
        size: Length in bytes of the file that was converted: the original, or a conversion of it.
        mtime_ns: When that file was last changed, from `os.stat`.
        layout: In words, what it looked like inside.
    """

    origin: str
    source: str
    sha256: str
    md5: str
    size: int
    mtime_ns: int
    layout: str

    def to_json(self) -> str:
        """Return the record as one JSON object."""
        return json.dumps({"format": 1, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read a record back.

        Raises:
            ValueError: `text` is not a record of this format.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("format", None) != 1:
            raise ValueError("not a record of format 1")
        for field in dataclasses.fields(cls):
            wanted = int if field.name in ("size", "mtime_ns") else str
            if type(values.get(field.name)) is not wanted:
                raise ValueError(f"its record has no valid {field.name!r}")
        if values["origin"] not in ORIGINS:
            raise ValueError(f"its record has the unknown origin {values['origin']!r}")
        # A file brings its record along, and could bring any text.
        texts = {name: printable(value) for name, value in values.items() if isinstance(value, str)}
        return cls(**{field.name: (values | texts)[field.name] for field in dataclasses.fields(cls)})

    def describes(self, stat: os.stat_result) -> bool:
        """Return whether the converted file is unchanged since this record was made."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def record_of(path: Path, stat: os.stat_result, hashes: Hashes, *, origin: str, layout: str) -> Record:
    """Return the record of an original file.

    Args:
        path: The file.
        stat: Its state before it was read.
        hashes: Its hashes.
        origin: One of `ORIGINS`.
        layout: In words, what it looks like inside.

    Returns:
        The record.
    """
    return Record(
        origin=origin,
        source=path.name,
        sha256=hashes.sha256,
        md5=hashes.md5,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        layout=layout,
    )


def to_weights(
    kernels: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray], record: Record
) -> Weights:
    """Put checked arrays and their record together.

    Args:
        kernels: Layer name → [3, 3, N_in, N_out], float32, RGB.
        biases: Layer name → [N_out], float32.
        record: Where they come from.

    Returns:
        The weights, with the notes a user has to see.

    Raises:
        WrongStructure: They are a network that this program no longer uses.
    """
    if record.sha256 == RETIRED.sha256:
        raise WrongStructure(
            f"made from {RETIRED.generation}, which is no longer used; --weights=bundled is now another"
        )
    generation = generation_of(Hashes(md5=record.md5, sha256=record.sha256))
    notes, source = [], show(record.source)
    if record.origin == "bundled":
        notes.append(STAND_IN)
    elif not generation:
        notes.append(
            f"{source} is a VGG-19 but not one of the published files (SHA-256 {record.sha256}): "
            "results can differ"
        )
    way = orientation(kernels["conv1_1"])
    if way == TRANSPOSED:
        notes.append(f"The kernels of {source} have rows and columns swapped: it sees pictures transposed")
    elif way == REVERSED:
        notes.append(f"The first layer of {source} expects BGR where its form means RGB: colours are swapped")
    return Weights(
        kernels=kernels,
        biases=biases,
        origin=record.origin,
        sha256=record.sha256,
        source=record.source,
        generation=generation,
        notes=tuple(notes),
    )
