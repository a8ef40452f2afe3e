"""A checked run as a value: what to paint, what with, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.weights import Weights


@dataclasses.dataclass(frozen=True)
class Task:
    """A checked run.

    Attributes:
        name: Of its folder in that of the sweep.
        config: Its settings.
        job: Its files.
        memory: Bytes that it takes, estimated.
        hashes: Role of each picture → SHA-256 of what was checked; empty if nothing was.
    """

    name: str
    config: Config
    job: Job
    memory: int = 0
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: What happened; `in use`: another process was at it.
        line: What went wrong, for the user; of a finished run, what its result suffers from.
        trace: The traceback of a bug.
    """

    status: Literal["finished", "interrupted", "failed", "in use"]
    line: str = ""
    trace: str = ""


@dataclasses.dataclass(frozen=True)
class Supplies:
    """What a run uses in place of the files that its settings name, on a machine that lacks them.

    Attributes:
        files: Name in the settings → path of a copy here.
        weights: The network, ready; None: as the settings say.
        output_dir: Where the run writes; `""`: as the settings say.
        output: Where the user's own copy of the result is written, likewise.
    """

    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    weights: Weights | None = None
    output_dir: str = ""
    output: str = ""


Report = Callable[[int, int, bool, float | None], bool]
"""Take the step of a run, how many are planned, whether something was saved, and an estimate of the seconds
left; return whether to stop."""
