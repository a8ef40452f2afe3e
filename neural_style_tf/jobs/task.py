"""What a sweep or the page exchanges with the process that paints a run: task, supplies, report, outcome."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.weights import Weights


@dataclasses.dataclass(frozen=True)
class Task:
    """A checked run of a sweep, or of the page in the browser."""

    name: str  # name of its folder, inside the folder of the sweep
    config: Config
    job: Job
    memory: int = 0  # estimate of the memory that it uses, in bytes
    # Role of each picture → SHA-256 of its file when the run was checked; empty if it was not checked.
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    # `in use` if another process writes to its folder.
    status: Literal["finished", "interrupted", "failed", "in use"]
    line: str = ""  # message for the user: the error, or the flaws of a finished result; "" for none
    trace: str = ""  # traceback if a bug caused the failure


@dataclasses.dataclass(frozen=True)
class Supplies:
    """Replacements for the files of a run, for a machine that does not have these files."""

    # File name in the settings → path of a copy on this machine.
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None  # None to load the weights that the settings name
    output_dir: str = ""  # folder to write to; "" for the one in the settings
    output: str = ""  # replaces the path of `--output`; "" for the one in the settings


Report = Callable[[int, int, bool, float | None], bool]
"""Function that receives the progress of a run and returns whether the run has to stop.

Its arguments: the step; the number of planned steps; whether this step was saved; an estimate of the
remaining seconds, or None.
"""
