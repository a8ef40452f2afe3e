"""Forecast how long a run will take, from the times of earlier runs of its kind on this machine.

Runs are of one kind if a step takes as long in them for pictures of equal size; see `kind_of`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.transfer.pace import Pace, Times
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.utils.console import duration
from neural_style_tf.utils.files import write_text
from neural_style_tf.utils.runtime import cores, nvidia_devices, processor

MOST_KINDS, LONGEST_START = 100, 3600.0
"""Largest number of kinds whose times are kept; longest credible time until the first step, in seconds."""


class Forecast:
    """Reads the times of earlier runs of the same kind, and keeps the times of this run for later ones.

    The times are in `times.json` in the user's cache folder, if `--cache` is on and the folder can be used.

    Args:
        config: The settings as the user gives them, before `auto` is replaced.
        job: The files of the run, and how it is made.
        starts: Whether this run starts TensorFlow, which takes additional time.
    """

    def __init__(self, config: Config, job: Job, *, starts: bool) -> None:
        self._path = times_file() if job.cache else None
        self._kind, self._starts = kind_of(config, job), starts
        self._start, self._known, self._begun = 0.0, None, False
        # A file that another version wrote, or that was edited, is ignored.
        with contextlib.suppress(LookupError, TypeError, ValueError):
            start, *rows = self._read()[self._kind]
            times = Times(*(tuple(map(float, row)) for row in rows))
            self._start, self._known = max(0.0, min(float(start), LONGEST_START)), times
        self._pace: Pace | None = None

    def line(self, scales: Sequence[Scale]) -> str:
        """Return a line for the user about the time of the whole run; "" without times of earlier runs."""
        left = Pace(scales, self._known).left(scales[0], 0)
        if left is None:
            return ""
        return f"about {duration(left + self._starts * self._start)}, as earlier runs on this machine took"

    def pace(self, scales: Sequence[Scale]) -> Pace:
        """Return the `Pace` that measures this run; `keep` saves its times."""
        self._pace = Pace(scales, self._known)
        return self._pace

    def begin(self, seconds: float) -> None:
        """Store `seconds`, the time from the command to the first record. Only the first call counts."""
        if self._starts and not self._begun:
            self._start = seconds
        self._begun = True

    def keep(self) -> None:
        """Save the times of this run for later ones. The kinds that were saved longest ago are dropped."""
        times = self._pace and self._pace.times
        if self._path is None or times is None:
            return
        others = [(kind, row) for kind, row in self._read().items() if kind != self._kind]
        row = (self._start, times.pixels, times.steps, times.beginnings)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(dict([*others[1 - MOST_KINDS :], (self._kind, row)])))

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            if self._path and isinstance(kinds := json.loads(self._path.read_text("utf-8")), dict):
                return kinds
        return {}


def times_file() -> Path | None:
    """Return the path of the times in the user's cache folder; None if the user has no home folder."""
    with contextlib.suppress(RuntimeError):
        return platformdirs.user_cache_path("neural-style-tf", appauthor=False) / "times.json"
    return None


def kind_of(config: Config, job: Job) -> str:
    """Return a hash of all facts, except the size of the picture, on which the time of a step depends."""
    facts = (
        config.network,
        config.loss.layers,
        config.loss.style_loss,
        config.optimization.optimizer,
        config.tile,
        (len(job.style), job.weights, job.network, job.distribute),
        nvidia_devices(),
        processor(),
        job.threads or cores(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
