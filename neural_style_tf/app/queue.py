"""One run at a time, in a process that stays warm; others wait in line."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait

from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Outcome, Task
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.sweeps.executors import Event, Painter, Worker
from neural_style_tf.transfer.scales import Scale, work_left

MOST_WAITING = 8
SECONDS_TO_LOOK_UP = 0.2
"""After which the thread that watches a run looks whether it is to be stopped."""
OUTCOMES_KEPT = 100


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A checked run that can be painted.

    Attributes:
        task: Its name, settings and files.
        scales: The sizes it goes through.
    """

    task: Task
    scales: tuple[Scale, ...]

    @property
    def name(self) -> str:
        """Of its folder in the output folder."""
        return self.task.name


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands in this queue.

    Attributes:
        place: How many runs are before it; 0: it is being painted.
        step: The last one.
        planned: How many there will be; 0 until the first.
        seconds_left: An estimate; None before there is one.
        stopping: Whether it was asked to stop.
    """

    place: int
    step: int = 0
    planned: int = 0
    seconds_left: float | None = None
    stopping: bool = False


class TimeLeft:
    """Estimates the time left of a run from its steps, at the pace of the present scale by pixels.

    Args:
        scales: The sizes it goes through.
        clock: Seconds.
    """

    def __init__(self, scales: tuple[Scale, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._scales, self._clock = scales, clock
        self._scale: Scale | None = None
        self._begun, self._work = 0.0, 0
        self._pace: float | None = None

    def at(self, step: int) -> float | None:
        """Take a step; return the seconds that are left after it, None before there is a pace."""
        scale = next((one for one in self._scales if step <= one.end), self._scales[-1])
        left = work_left(self._scales, scale, min(step, scale.end))
        if step > scale.first_step and scale is not self._scale:
            # The first step at a size waits for what is compiled for it.
            self._scale, self._begun, self._work = scale, self._clock(), left
        elif scale is self._scale and left < self._work:
            self._pace = (self._clock() - self._begun) / (self._work - left)
        return None if self._pace is None else self._pace * left


class RunQueue:
    """Paints runs one after another in a worker process.

    Args:
        make_painter: Called in the process; must be picklable.
        check: Called just before a run begins, such as for memory; its UserError ends the run.
        most: Runs that may wait.
        environment: Variables that the process adds to its own.
    """

    def __init__(
        self,
        make_painter: Callable[[], Painter],
        check: Callable[[PlannedRun], None] = lambda run: None,
        *,
        most: int = MOST_WAITING,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._make_painter, self._check, self._most = make_painter, check, most
        self._environment = environment or {}
        self._changed = threading.Condition()
        self._waiting: deque[PlannedRun] = deque()
        self._current: PlannedRun | None = None
        self._progress = Progress(0)
        self._stops_asked = 0
        self._outcomes: dict[str, Outcome] = {}
        self._closing = False
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._serve, name="painting", daemon=True)
        self._thread.start()

    def check_room(self) -> None:
        """Refuse a further run if too many wait.

        Raises:
            UserError: Saying so.
        """
        if len(self._waiting) + int(self._current is not None) > self._most:
            raise UserError(f"{self._most} paintings wait already: try again when one is done")

    def submit(self, run: PlannedRun) -> None:
        """Put a run at the end of the line.

        Raises:
            UserError: Too many wait, or the run is in the line already.
        """
        with self._changed:
            self.check_room()
            if self.progress(run.name) is not None:
                raise UserError(f"{run.name} is being painted already")
            self._outcomes.pop(run.name, None)
            self._waiting.append(run)
            self._changed.notify_all()

    def progress(self, name: str) -> Progress | None:
        """Return where a run stands; None if it is neither painted nor waiting."""
        with self._changed:
            if self._current is not None and self._current.name == name:
                return self._progress
            before = int(self._current is not None)
            names = [run.name for run in self._waiting]
            return Progress(before + names.index(name)) if name in names else None

    def outcome(self, name: str) -> Outcome | None:
        """Return how a run ended since this queue was made, if it did."""
        return self._outcomes.get(name)

    def current(self) -> str | None:
        """Return the name of the run that is painted, else of the first that waits."""
        with self._changed:
            runs = [*([self._current] if self._current else []), *self._waiting]
            return runs[0].name if runs else None

    def stop(self, name: str) -> None:
        """Let a run be saved and end, a second time end at once; take one that waits out of the line."""
        with self._changed:
            if self._current is not None and self._current.name == name:
                self._stops_asked += 1
                self._progress = dataclasses.replace(self._progress, stopping=True)
            for run in [run for run in self._waiting if run.name == name]:
                self._waiting.remove(run)
                self._end(run, Outcome("interrupted"))

    def close(self) -> None:
        """Save the run that is painted, forget those that wait, and end the process."""
        with self._changed:
            self._closing = True
            for run in self._waiting:
                self._end(run, Outcome("interrupted"))
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        self._worker = Worker(self._make_painter, self._environment)
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closing)
                    if self._closing:
                        return
                    run = self._current = self._waiting.popleft()
                    self._progress, self._stops_asked = Progress(0, planned=run.scales[-1].end), 0
                outcome = self._paint(run)
                with self._changed:
                    self._current = None
                    self._end(run, outcome)
        finally:
            # A run that is being painted is saved first.
            self._worker.close()

    def _end(self, run: PlannedRun, outcome: Outcome) -> None:
        # Removes the folder, which claims the name, if nothing was written but the lock of a killed process.
        with contextlib.suppress(OSError, UserError):
            OutputFolder(run.task.job.output_dir, overwrite=True).release()
        self._outcomes[run.name] = outcome
        for oldest in list(self._outcomes)[:-OUTCOMES_KEPT]:
            del self._outcomes[oldest]

    def _paint(self, run: PlannedRun) -> Outcome:
        """Paint a run; return how it ended."""
        try:
            self._check_or_restart(run)
        except UserError as error:
            return Outcome("failed", str(error))
        worker, left, stops_sent = self._worker, TimeLeft(run.scales), 0
        worker.begin(run.task)
        while not self._closing:
            if wait([worker.connection], SECONDS_TO_LOOK_UP):
                event = worker.receive()
                if event.outcome is not None:
                    return self._true_outcome(event.outcome, stops_sent)
                self._note(event, left)
            if stops_sent < self._stops_asked:
                stops_sent += 1
                worker.interrupt()
        return Outcome("interrupted")

    def _check_or_restart(self, run: PlannedRun) -> None:
        """Check a run; a process that keeps memory of earlier runs makes room for it."""
        try:
            self._check(run)
        except UserError:
            self._worker.close()
            self._worker = Worker(self._make_painter, self._environment)
            self._check(run)

    @staticmethod
    def _true_outcome(outcome: Outcome, stops_sent: int) -> Outcome:
        """Return how a run ended; a process that a stop has ended did not fail."""
        if stops_sent and outcome.status == "failed" and not outcome.trace:
            return Outcome("interrupted")
        return outcome

    def _note(self, event: Event, left: TimeLeft) -> None:
        with self._changed:
            self._progress = dataclasses.replace(
                self._progress,
                step=event.step,
                planned=event.planned or self._progress.planned,
                seconds_left=left.at(event.step),
            )
