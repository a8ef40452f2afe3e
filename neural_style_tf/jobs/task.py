"""A checked run as a value: what to paint, what with, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.weights import Weights


@dataclasses.dataclass(frozen=True)
class Task:
    """A run of a sweep or of the page."""

    name: str  # name of its folder in the folder of the sweep
    config: Config
    job: Job
    memory: int = 0  # estimate of its memory, bytes
    # Role of each picture → SHA-256 when it was checked; empty if it was not.
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    # `in use` if another process writes in its folder.
    status: Literal["finished", "interrupted", "failed", "in use"]
    line: str = ""  # what went wrong, for the user; of a finished run, the flaws of its result
    trace: str = ""  # the traceback of a bug


@dataclasses.dataclass(frozen=True)
class Supplies:
    """Replacements for the files of a run, on a machine that does not have them."""

    # Name in the settings → path of a copy.
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None  # the network; None to load what the settings name
    output_dir: str = ""  # the folder to write in; `""` for that of the settings
    output: str = ""  # the path of `--output`, likewise


Report = Callable[[int, int, bool, float | None], bool]
"""(step, planned steps, whether something was saved, estimate of the seconds left) → whether to stop."""
