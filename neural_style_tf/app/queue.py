"""A queue of runs, which are painted one at a time in a process that keeps its compiled steps.

Gradio's own queue ends an event when its browser leaves. Here the run continues.
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
"""How many runs that have ended are remembered."""


class QueueFull(UserError):
    """Too many runs wait to add another one."""


@dataclasses.dataclass
class QueuedRun:
    """A run in the queue, and how far it is."""

    task: Task
    step: int = 0  # the last step; 0 before the first
    planned: int = 0  # the last planned step; 0 before the first step
    seconds_left: float | None = None  # the run's own estimate; None before there is one
    begun: bool = False  # whether it was sent to the process that paints
    stops: int = 0  # how often it was told to stop
    outcome: Outcome | None = None  # how it ended; None while it waits or is being painted


class RunQueue:
    """Paints runs one after another in a worker process with the variables of `environment`.

    `make_painter`, which must be picklable, is called once in the process, and `check` just before a run
    begins, for example to check memory; its `UserError` ends the run. At most `most` runs may wait.
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
        """Return the run `name` if it waits, is being painted or ended lately; else None."""
        return self._runs.get(name)

    def line(self) -> list[str]:
        """Return the name of the run that is being painted, then the names of those that wait, in order."""
        with self._lock:
            return [name for name, queued in self._runs.items() if queued.outcome is None]

    def check_room(self) -> None:
        """Raise `QueueFull` if too many runs wait to add another one."""
        if len(self.line()) > self._most:
            raise QueueFull(f"{self._most} paintings are already waiting: try again when one is finished")

    def add(self, make_task: Callable[[], Task]) -> str:
        """Make a run, which may take a while, and add it to the end of the queue; return its name.

        Raise `QueueFull`, or `UserError` if the run is in the queue, or if `make_task` does.
        """
        self.check_room()
        task = make_task()
        name = task.name
        with self._lock:
            if name in self.line():
                raise UserError(f"{name} is being painted already")
            try:
                self.check_room()
            except QueueFull:
                _release(task)
                raise
            self._runs.pop(name, None)
            self._runs[name] = queued = QueuedRun(task)
            self._thread.submit(self._paint, queued)
        return name

    def stop(self, name: str) -> None:
        """Save and end the run that is being painted; the second call ends it at once.

        A run that waits is removed from the queue.
        """
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
        """Save the run that is being painted, drop those that wait, and end the process."""
        with self._lock:
            for queued in [self._runs[name] for name in self.line()]:
                if queued.begun:
                    self._worker.interrupt()
                else:
                    self._end(queued, Outcome("interrupted"))
        self._thread.shutdown()
        self._worker.close()

    def _paint(self, queued: QueuedRun) -> None:
        """Paint a run, unless it was removed from the queue."""
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
                # The process was killed by `stop`, so this is not a failure.
                outcome = Outcome("interrupted")
        except Exception as error:
            outcome = Outcome("failed", line_of(error) or repr(error))
        self._end(queued, outcome)

    def _make_room(self, task: Task) -> None:
        """Check a run; if the check fails, free the worker's memory by a new process, and check once more."""
        try:
            self._check(task)
        except UserError:
            self._worker.close()
            self._worker = self._make_worker()
            self._check(task)

    def _end(self, queued: QueuedRun, outcome: Outcome) -> None:
        folder = Path(queued.task.job.output_dir)
        if outcome.status == "interrupted":
            # A killed process cannot record its end itself.
            with contextlib.suppress(OSError, UserError):
                end_killed(folder / "run.json")
        _release(queued.task)
        with self._lock:
            queued.outcome = outcome
            ended = [name for name, other in self._runs.items() if other.outcome is not None]
            for name in ended[:-ENDED_KEPT]:
                del self._runs[name]


def _release(task: Task) -> None:
    """Remove a run's folder, which reserved its name, if it holds nothing but a dead lock file."""
    with contextlib.suppress(OSError, UserError):
        OutputFolder(Path(task.job.output_dir), overwrite=True).release()
