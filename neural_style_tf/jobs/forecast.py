"""How long runs of a kind take on this machine: measured in each, told at the beginning of the next."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.transfer.pace import Pace, Times
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.utils.console import duration
from neural_style_tf.utils.files import write_text
from neural_style_tf.utils.runtime import nvidia_devices

MOST_KINDS, LONGEST_START = 100, 3600.0
"""Kinds of runs whose times are kept, and seconds until a first step that are believed."""


class Forecast:
    """What earlier runs of a kind say of a run, and what it says of later ones.

    Args:
        folder: Where times are kept, of this machine alone; None for nowhere.
        config: The settings as they are asked for.
        job: The styles, the network and the threads.
        starts: Whether the run starts TensorFlow.
    """

    def __init__(self, folder: Path | None, config: Config, job: Job, *, starts: bool) -> None:
        self._path, self._kind, self._starts = folder and folder / "times.json", kind_of(config, job), starts
        self._start, self._known, self._begun = 0.0, None, False
        # What another version wrote, or somebody changed, counts as nothing.
        with contextlib.suppress(LookupError, TypeError, ValueError):
            start, *rows = self._read()[self._kind]
            times = Times(*(tuple(map(float, row)) for row in rows))
            self._start, self._known = max(0.0, min(float(start), LONGEST_START)), times
        self._pace: Pace | None = None

    def line(self, scales: Sequence[Scale]) -> str:
        """Return a line for the user about the whole run, "" if nothing is known."""
        left = Pace(scales, self._known).left(scales[0], 0)
        if left is None:
            return ""
        return f"about {duration(left + self._starts * self._start)}, as earlier runs on this machine took"

    def pace(self, scales: Sequence[Scale]) -> Pace:
        """Return what measures the run."""
        self._pace = Pace(scales, self._known)
        return self._pace

    def begin(self, seconds: float) -> None:
        """Note the seconds from the command to the first record; later calls change nothing."""
        if self._starts and not self._begun:
            self._start = seconds
        self._begun = True

    def keep(self) -> None:
        """Keep the times of the run for later ones; the kinds that were kept longest ago go."""
        times = self._pace and self._pace.times
        if self._path is None or times is None:
            return
        others = [(kind, row) for kind, row in self._read().items() if kind != self._kind]
        row = (self._start, times.pixels, times.steps, times.beginnings)
        with contextlib.suppress(OSError):
            write_text(self._path, json.dumps(dict([*others[1 - MOST_KINDS :], (self._kind, row)])))

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            if self._path and isinstance(kinds := json.loads(self._path.read_text("utf-8")), dict):
                return kinds
        return {}


def kind_of(config: Config, job: Job) -> str:
    """Return a name for what the time of a step depends on beside its size."""
    facts = (
        config.network,
        config.loss.layers,
        config.loss.style_loss,
        config.optimization.optimizer,
        config.tile,
        (len(job.style), job.weights, job.network, job.distribute),
        nvidia_devices(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
