"""One run at a time, in a process that stays warm; others wait in line.

Gradio's own queue ends an event when its browser goes away. A painting goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from neural_style_tf.errors import UserError
from neural_style_tf.jobs.error_messages import line_of
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.jobs.task import Outcome, Task
from neural_style_tf.runs.manifest import end_killed
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.sweeps.executors import Worker

MOST_WAITING = 8
ENDED_KEPT = 100
"""Runs that have ended and are remembered."""


@dataclasses.dataclass
class QueuedRun:
    """A run in the queue."""

    task: Task
    step: int = 0  # the last step; 0 before the first
    planned: int = 0  # the step at which it ends; 0 before the first
    seconds_left: float | None = None  # as of the run's own record; None before there is an estimate
    begun: bool = False  # whether it was handed to the process that paints
    stops: int = 0  # how often it was told to stop
    outcome: Outcome | None = None  # how it ended; None while it waits or is painted


class RunQueue:
    """Paints runs one after another in a worker process.

    `check` is called just before a run begins, such as for memory; its UserError ends the run.
    """

    def __init__(
        self,
        make_painter: Callable[[], Painter],
        check: Callable[[Task], None] = lambda task: None,
        *,
        most: int = MOST_WAITING,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._check, self._most = check, most
        self._make_worker = functools.partial(Worker, make_painter, environment or {})
        self._worker = self._make_worker()
        self._runs: dict[str, QueuedRun] = {}
        self._lock = threading.RLock()
        self._thread = ThreadPoolExecutor(1, "painting")

    def find(self, name: str) -> QueuedRun | None:
        """Return a run that waits, is painted, or ended lately."""
        return self._runs.get(name)

    def line(self) -> list[str]:
        """Return the name of the run that is painted, then of those that wait, in order."""
        with self._lock:
            return [name for name, queued in self._runs.items() if queued.outcome is None]

    def check_room(self) -> None:
        """Refuse a further run if too many wait."""
        if len(self.line()) > self._most:
            raise UserError(f"{self._most} paintings wait already: try again when one is done")

    def submit(self, task: Task) -> None:
        """Put a run at the end of the line, unless too many wait, or it is in the line already."""
        name = task.name
        with self._lock:
            self.check_room()
            if name in self.line():
                raise UserError(f"{name} is being painted already")
            self._runs.pop(name, None)
            self._runs[name] = queued = QueuedRun(task)
            self._thread.submit(self._paint, queued)

    def stop(self, name: str) -> None:
        """Let a run be saved and end, a second time end at once; take a run that waits out of the line."""
        with self._lock:
            if name not in self.line():
                return
            queued = self._runs[name]
            queued.stops += 1
            if not queued.begun:
                self._end(queued, Outcome("interrupted"))
            else:
                self._worker.interrupt()

    def close(self) -> None:
        """Save the run that is painted, forget those that wait, and end the process."""
        with self._lock:
            for queued in [self._runs[name] for name in self.line()]:
                if queued.begun:
                    self._worker.interrupt()
                else:
                    self._end(queued, Outcome("interrupted"))
        self._thread.shutdown()
        self._worker.close()

    def _paint(self, queued: QueuedRun) -> None:
        """Paint a run, unless it was taken out of the line."""
        try:
            if queued.outcome is None:
                self._make_room(queued.task)
            with self._lock:
                if queued.outcome is not None:
                    return
                self._worker.begin(queued.task)
                queued.begun = True
            while (event := self._worker.receive()).outcome is None:
                queued.step, queued.planned = event.step, event.planned
                queued.seconds_left = event.seconds_left
            outcome = event.outcome
            if queued.stops and outcome.status == "failed" and not outcome.trace:
                # Its process was ended by the stop.
                outcome = Outcome("interrupted")
        except Exception as error:
            outcome = Outcome("failed", line_of(error) or repr(error))
        self._end(queued, outcome)

    def _make_room(self, task: Task) -> None:
        """Check a run; before it is refused, a new process gives back what the old one keeps in memory."""
        try:
            self._check(task)
        except UserError:
            self._worker.close()
            self._worker = self._make_worker()
            self._check(task)

    def _end(self, queued: QueuedRun, outcome: Outcome) -> None:
        folder = Path(queued.task.job.output_dir)
        if outcome.status == "interrupted":
            # A killed process cannot say so itself.
            with contextlib.suppress(OSError, UserError):
                end_killed(folder / "run.json")
        # Removes the folder, which claims the name, if nothing was written but the lock of a killed process.
        with contextlib.suppress(OSError, UserError):
            OutputFolder(folder, overwrite=True).release()
        with self._lock:
            queued.outcome = outcome
            ended = [name for name, other in self._runs.items() if other.outcome is not None]
            for name in ended[:-ENDED_KEPT]:
                del self._runs[name]
