"""Run a sweep: check all runs, then paint those that an earlier command has not finished."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UnreadableFile, UserError, show
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Task
from neural_style_tf.runs.output_dir import is_in_use
from neural_style_tf.runs.resume import continued, find_manifest, status_of
from neural_style_tf.sweeps.executors import Event, Executor
from neural_style_tf.sweeps.folder import SweepFolder, name_runs, safe
from neural_style_tf.sweeps.report import write_report
from neural_style_tf.sweeps.shards import part_of
from neural_style_tf.sweeps.space import Axis, combine
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.utils.files import shortened

# How many mistakes are shown; the others are only counted.
MOST_MISTAKES = 20
# Longest file name, in bytes without the ending, after values are filled into `--output`.
LONGEST_OUTPUT = 240
# Largest share of a sweep's time for writing table, sheet and page before the last run has ended.
REPORT_SHARE = 0.1
# Longest line of progress, in characters, without the remaining time.
WIDEST = 100


class Sweep:
    """The runs of one command line."""

    def __init__(
        self,
        axes: Sequence[Axis],
        zipped: Sequence[str],
        *,
        root: Path,
        base: Mapping[str, Any],
        settings: Callable[[Mapping[str, str]], tuple[Config, Job]],
        machine: Machine,
        skip_unreadable: bool = False,
    ) -> None:
        self._axes, self._base, self._settings = axes, base, settings
        self._machine, self._console = machine, machine.console
        self._root, self._folder = root, SweepFolder(root)
        # The swept settings of each run, by the name of its folder, in order.
        self.runs = name_runs(combine(axes, zipped), self._folder.runs)
        self._skip_unreadable = skip_unreadable
        self._tasks: dict[str, Task] = {}
        self.skipped: dict[str, str] = {}  # why a run is left out, by its name
        self.was_cut_short = False  # whether `execute` ended before all of its runs did, as by a signal

    def check(self) -> list[Task]:
        """Check all runs and return those that are not skipped.

        Raise `UserError` with a line for each mistake.
        """
        # The first run with each message.
        mistakes: dict[str, str] = {}
        for name, swept in self.runs.items():
            try:
                self._tasks[name] = self._plan(name, swept)
            except UserError as error:
                mistakes.setdefault(str(error), name)
        self._check_outputs()
        if not any(task.job.overwrite for task in self._tasks.values()):
            self._folder.check(self._base)
        for name, task in list(self._tasks.items()):
            try:
                self._tasks[name] = self._checked(task)
            except UserError as error:
                mistakes.setdefault(str(error), name)
                if isinstance(error, UnreadableFile):
                    self.skipped[name] = str(error)
                    del self._tasks[name]
        if self._skip_unreadable and self._tasks:
            for message in self.skipped.values():
                mistakes.pop(message, None)
        if mistakes:
            raise self._error(mistakes)
        for name, message in self.skipped.items():
            self._console.error(f"skipped: {name}: {message}")
        return list(self._tasks.values())

    def _plan(self, name: str, swept: Mapping[str, str]) -> Task:
        """Return the task of run `name` with the `swept` settings, before it is checked."""
        config, job = self._settings(swept)
        return Task(name, config, job.replace(output_dir=str(self._root / name), output=_fill(job, swept)))

    def _checked(self, task: Task) -> Task:
        run = Run(task.config, continued(task.job), self._machine, Interrupts())
        if status_of(self._root / task.name) == "finished":
            run.check_finished()
        return dataclasses.replace(task, memory=run.memory(), hashes=run.hashes)

    def _check_outputs(self) -> None:
        outputs = [task.job.output for task in self._tasks.values() if task.job.output]
        if len(set(outputs)) < len(outputs):
            twice = next(output for output in outputs if outputs.count(output) > 1)
            raise UserError(
                f"--output: several runs would write {show(twice)}: put the names of all swept settings in "
                "braces, as in --output='out/{content}.jpg'; rename pictures that have the same name"
            )

    def _error(self, mistakes: Mapping[str, str]) -> UserError:
        several = len(self.runs) > 1
        lines = [f"{run}: {message}" if several else message for message, run in mistakes.items()]
        more = len(lines) - MOST_MISTAKES
        lines[MOST_MISTAKES:] = [f"and {more} more mistakes"] if more > 0 else []
        if self.skipped and self._tasks and not self._skip_unreadable:
            lines.append("--skip_unreadable leaves out what cannot be read, and paints the others")
        return UserError("\n".join(lines))

    def execute(
        self, executor: Executor, *, shard: tuple[int, int] = (1, 1), retry_failed: bool = False
    ) -> int:
        """Paint the runs that are not finished, of part i, from 1, of n parts (`shard`). Call `check` first.

        Return the exit code: 1 if a run failed or ended with a message, or the report could not be written;
        otherwise 0.
        """
        say, error = self._console.say, self._console.error
        mine = part_of(self._in_order(), shard[0] - 1, shard[1])
        if len(mine) < len(self.runs):
            say(f"part {shard[0]} of {shard[1]}: {len(mine)} of {len(self.runs)} runs")
        tasks, failed = self._unfinished(mine, retry_failed=retry_failed)
        if finished := len(mine) - len(tasks) - len(failed):
            say(f"finished already: {finished} of {len(mine)} runs")
        # If a cluster does not answer, this raises before anything is written.
        painted = executor(tasks)
        events = with_second_try(painted, executor, self._tasks, self._root)
        self._folder.write({axis.name: axis.values for axis in self._axes}, self._base, self.runs)
        progress = _SweepProgress(self._console, len(tasks))
        begun, reporting, is_flawed = time.monotonic(), 0.0, False
        left = {task.name for task in tasks}
        for event in events:
            progress.show(event)
            if event.outcome is None:
                continue
            if event.outcome.status == "interrupted":
                # Also at a second try.
                left.add(event.name)
            else:
                left.discard(event.name)
            if event.outcome.status == "failed":
                failed[event.name] = event.outcome.line
            is_flawed = is_flawed or bool(event.outcome.line)
            # The report of many runs takes long, so it is not written after each run.
            now = time.monotonic()
            if reporting <= REPORT_SHARE * (now - begun):
                write_report(self._root, self.runs)
                reporting += time.monotonic() - now
        self.was_cut_short = bool(left)
        unwritten = write_report(self._root, self.runs)
        done = sum(status_of(self._root / name) == "finished" for name in self.runs)
        say(f"{done} of {len(self.runs)} runs are finished: {self._root / 'index.html'}")
        for name, line in failed.items():
            error(f"not finished: {name}: {line}")
        for line in unwritten:
            error(line)
        return 1 if failed or unwritten or is_flawed else 0

    def _unfinished(self, names: Sequence[str], *, retry_failed: bool) -> tuple[list[Task], dict[str, str]]:
        """Return the tasks to paint, and why each skipped or failed run is left out, by its name."""
        settled = ("finished",) if retry_failed else ("finished", "failed")
        tasks, failed = [], {}
        for name in names:
            if name in self.skipped:
                failed[name] = self.skipped[name]
                continue
            task, status = self._tasks[name], status_of(self._root / name)
            if task.job.overwrite or status not in settled:
                tasks.append(task)
            elif status == "failed":
                failed[name] = f"{find_manifest(self._root / name).status}; --retry_failed tries it again"
        return tasks, failed

    def _in_order(self) -> list[str]:
        """Return the names of the runs, sorted so that runs with the same compiled steps are neighbours."""
        ranks = {
            axis.name: {value: rank for rank, value in enumerate(dict.fromkeys(axis.values))}
            for axis in self._axes
        }
        arguments, files = tagged("argument", Config), tagged("reads", Config, Job)
        # `weights` varies slowest, since runs with different networks share nothing. Then come settings that
        # are compiled into steps, pictures, and last the settings that are only arguments of steps.
        swept = sorted(ranks, key=lambda name: (name != "weights", 2 * (name in arguments) + (name in files)))
        return sorted(self.runs, key=lambda run: [ranks[name][self.runs[run][name]] for name in swept])


def with_second_try(
    events: Iterator[Event], executor: Executor, tasks: Mapping[str, Task], root: Path
) -> Iterator[Event]:
    """Yield `events`, then those of the runs that another process held at first, and no longer holds.

    If a sweep is killed, its processes still save their runs. The same command, given again at once, then
    finds these runs in use.
    """
    held, stopped = [], False
    for event in events:
        yield event
        status = event.outcome and event.outcome.status
        stopped = stopped or status == "interrupted"
        if status == "in use":
            held.append(event.name)
    free = [name for name in held if not is_in_use(root / name) and status_of(root / name) != "finished"]
    if free and not stopped:
        yield from executor([tasks[name] for name in free])


class _SweepProgress:
    """Prints which runs begin and fail; on a terminal, a live line also shows the steps of all runs."""

    def __init__(self, console: Console, count: int) -> None:
        self._console, self._count = console, count
        self._begun, self._ended = 0, 0
        self._running: dict[str, tuple[int, int]] = {}
        # Runs that were in use when they were tried first.
        self._left: set[str] = set()
        self._start = time.monotonic()

    def show(self, event: Event) -> None:
        say, outcome = self._console.say, event.outcome
        if outcome is not None:
            self._running.pop(event.name, None)
            self._ended += 1
            if outcome.trace:
                self._console.error(outcome.trace)
            if outcome.status == "failed":
                self._console.error(f"{event.name}: {outcome.line}")
            elif outcome.status == "in use":
                self._left.add(event.name)
                say(f"{event.name}: another process is painting it")
        elif event.name not in self._running:
            self._running[event.name] = (0, 0)
            if event.name in self._left:
                self._ended -= 1
                say(f"{event.name}: no other process is painting it any more")
            else:
                self._begun += 1
                say(f"run {self._begun}/{self._count}: {event.name}")
        else:
            self._running[event.name] = (event.step, event.planned)
        # A run in this process shows its steps itself, and sends no events with steps.
        if self._console.interactive and any(planned for _, planned in self._running.values()):
            self._console.rewrite(self._line())

    def _line(self) -> str:
        steps = {name: steps for name, steps in self._running.items() if steps[1]}
        done = self._ended + sum(step / planned for step, planned in steps.values())
        left = (time.monotonic() - self._start) * (self._count - done) / done if done else 0
        parts = [f"{self._ended}/{self._count} runs"]
        text = "  ".join(parts + [f"{name} {step}/{planned}" for name, (step, planned) in steps.items()])
        return f"{text if len(text) <= WIDEST else text[: WIDEST - 1] + '…'}  {duration(left)} left"


def _fill(job: Job, swept: Mapping[str, str]) -> str:
    """Return `--output` with each name in braces, which must be swept, replaced by its value in a run."""
    styles = "+".join(Path(path).stem for path in job.style)
    values = {"content": job.content, "style": styles} | dict(swept)

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UserError(f"--output: {{{match[1]}}} is not swept; there are {', '.join(values)}")
        return safe(match[1], values[match[1]])

    filled = re.sub(r"\{(\w+)\}", value, job.output)
    path = Path(filled)
    name = shortened(path.stem, LONGEST_OUTPUT)
    return filled if name == path.stem else str(path.with_name(name + path.suffix))
