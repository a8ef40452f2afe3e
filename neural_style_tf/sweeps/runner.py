"""Run a sweep: check all of its runs, paint them, go on where an earlier command was stopped."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UnreadableFile, UserError, show
from neural_style_tf.jobs.task import Task
from neural_style_tf.runs.resume import continued
from neural_style_tf.sweeps.executors import Event, split
from neural_style_tf.sweeps.folder import SweepFolder, SweptRun, name_runs, safe
from neural_style_tf.sweeps.report import write_report
from neural_style_tf.sweeps.space import Axis, combine
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.utils.text import shortened

MOST_MISTAKES = 20
"""That are shown; the others are counted."""
LONGEST_OUTPUT = 240
"""Of the name of an `--output` that is made of values, in bytes, without its ending."""
SHARE = 0.1
"""Of the time of a sweep, for table, sheet and page while runs are left."""
WIDEST = 100
"""The line of progress, in characters, without the time that is left."""


class Run(Protocol):
    """A checked run of the command line."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """Role of each picture → SHA-256 of its file."""

    def check_finished(self) -> None:
        """Refuse a finished run in the output folder that was made with other settings or files."""

    def memory(self) -> int:
        """Return the bytes that the run takes, estimated."""


Executor = Callable[[Sequence[Task]], Iterator[Event]]
"""Paints checked runs; see `executors.py`. What can be wrong with it is raised by the call, not later."""


class Sweep:
    """The runs of one command line.

    Args:
        axes: The swept settings.
        zipped: Names of those that advance together.
        root: The folder of the sweep.
        base: Name → value of what was given and is not swept.
        settings: Changes → the settings and files of a run.
        make_run: Settings and files → a run; raises UserError for every mistake that can be found now.
        console: For the progress.
        skip_unreadable: Leave out runs whose pictures cannot be read.

    Attributes:
        runs: All of them, in order.
        skipped: Folder of a run that is left out → why.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        zipped: Sequence[str],
        *,
        root: Path,
        base: Mapping[str, Any],
        settings: Callable[[Mapping[str, str]], tuple[Config, Job]],
        make_run: Callable[[Config, Job], Run],
        console: Console,
        skip_unreadable: bool = False,
    ) -> None:
        self._axes, self._base, self._settings = axes, base, settings
        self._make_run, self._console = make_run, console
        self._folder = SweepFolder(root)
        self.runs = name_runs(combine(axes, zipped), self._folder.known)
        self._skip_unreadable = skip_unreadable
        self._tasks: dict[str, Task] = {}
        self.skipped: dict[str, str] = {}
        self._left: set[str] = set()

    def check(self) -> list[Task]:
        """Check all runs; return those that are not skipped, in order.

        Raises:
            UserError: With a line for each mistake.
        """
        mistakes: dict[str, str] = {}
        for run in self.runs:
            try:
                self._tasks[run.folder] = self._plan(run)
            except UserError as error:
                mistakes.setdefault(str(error), run.folder)
        outputs = [task.job.output for task in self._tasks.values() if task.job.output]
        if len(set(outputs)) < len(outputs):
            twice = next(output for output in outputs if outputs.count(output) > 1)
            raise UserError(
                f"--output: several runs would write {show(twice)}: put the names of all swept settings in "
                "braces, as in --output='out/{content}.jpg'; pictures of the same name need other names"
            )
        if not any(task.job.overwrite for task in self._tasks.values()):
            self._folder.check(self._base)
        for run in self.runs:
            if run.folder not in self._tasks:
                continue
            task = self._tasks[run.folder]
            try:
                one = self._make_run(task.config, continued(task.job))
                if self._folder.status(run) == "finished":
                    one.check_finished()
                self._tasks[run.folder] = dataclasses.replace(task, memory=one.memory(), hashes=one.hashes)
            except UserError as error:
                mistakes.setdefault(str(error), run.folder)
                if isinstance(error, UnreadableFile):
                    self.skipped[run.folder] = str(error)
                    del self._tasks[run.folder]
        if self._skip_unreadable and self._tasks:
            skipped = self.skipped.values()
            mistakes = {message: run for message, run in mistakes.items() if message not in skipped}
        if mistakes:
            several = len(self.runs) > 1
            lines = [f"{run}: {message}" if several else message for message, run in mistakes.items()]
            more = len(lines) - MOST_MISTAKES
            lines[MOST_MISTAKES:] = [f"and {more} more mistakes"] if more > 0 else []
            if self.skipped and self._tasks and not self._skip_unreadable:
                lines.append("--skip_unreadable leaves out what cannot be read, and paints the others")
            raise UserError("\n".join(lines))
        for run, message in self.skipped.items():
            self._console.error(f"skipped: {run}: {message}")
        return [self._tasks[run.folder] for run in self.runs if run.folder in self._tasks]

    @property
    def was_cut_short(self) -> bool:
        """Whether `execute` left runs that it was to paint, or some were interrupted."""
        return bool(self._left)

    def execute(
        self, executor: Executor, *, shard: tuple[int, int] = (1, 1), retry_failed: bool = False
    ) -> int:
        """Paint what is not finished; return 0, or 1 if a run failed or has a flaw. `check` comes first.

        Args:
            executor: Paints runs.
            shard: Which part of how many, from 1.
            retry_failed: Also try again what failed in an earlier command.
        """
        say, root = self._console.say, self._folder.path
        mine = split(self._in_order(), shard[0] - 1, shard[1])
        if len(mine) < len(self.runs):
            say(f"part {shard[0]} of {shard[1]}: {len(mine)} of {len(self.runs)} runs")
        settled = {"finished"} if retry_failed else {"finished", "failed"}
        failed: dict[str, str] = {}
        tasks = []
        for run in mine:
            if run.folder in self.skipped:
                failed[run.folder] = self.skipped[run.folder]
                continue
            task, status = self._tasks[run.folder], self._folder.status(run)
            if task.job.overwrite or status not in settled:
                tasks.append(task)
            elif status == "failed":
                line = self._folder.manifest(run).status
                failed[run.folder] = f"{line}; --retry_failed tries it again"
        if len(tasks) + len(failed) < len(mine):
            say(f"finished already: {len(mine) - len(tasks) - len(failed)} of {len(mine)} runs")
        self._left = {task.name for task in tasks}
        # What there is to find out about a cluster is found out before anything is written.
        events = executor(tasks)
        self._folder.write({axis.name: axis.values for axis in self._axes}, self._base, self.runs)
        progress = _Progress(self._console, len(tasks))
        begun, reporting, flawed = time.monotonic(), 0.0, False
        for event in events:
            progress.show(event)
            if event.outcome is None:
                continue
            if event.outcome.status != "interrupted":
                self._left.discard(event.name)
            if event.outcome.status == "failed":
                failed[event.name] = event.outcome.line
            elif event.outcome.line:
                flawed = True
            # Of many runs a report takes long: no more than a tenth of the time is for them.
            now = time.monotonic()
            if reporting <= SHARE * (now - begun):
                write_report(self._folder, self.runs)
                reporting += time.monotonic() - now
        unwritten = write_report(self._folder, self.runs)
        done = sum(self._folder.status(run) == "finished" for run in self.runs)
        say(f"{done} of {len(self.runs)} runs are finished: {root / 'index.html'}")
        for folder, line in failed.items():
            self._console.error(f"not finished: {folder}: {line}")
        for line in unwritten:
            self._console.error(line)
        return 1 if failed or unwritten or flawed else 0

    def _plan(self, run: SweptRun) -> Task:
        """Return a run as it begins."""
        config, job = self._settings(run.settings)
        folder = self._folder.path / run.folder
        return Task(run.folder, config, job.replace(output_dir=str(folder), output=_fill(job, run)))

    def _in_order(self) -> list[SweptRun]:
        """Return the runs so that those that share compiled steps come together."""
        ranks = {
            axis.name: {value: rank for rank, value in enumerate(dict.fromkeys(axis.values))}
            for axis in self._axes
        }

        def place(run: SweptRun) -> list[int]:
            # Other weights are another network, with which nothing is shared.
            arguments, files = tagged("argument", Config), tagged("reads", Config, Job)
            names = sorted(
                run.settings,
                key=lambda name: (name != "weights", 2 * (name in arguments) + (name in files)),
            )
            return [ranks[name][run.settings[name]] for name in names]

        return sorted(self.runs, key=place)


class _Progress:
    """Says which runs begin and end; to a person who watches, also how far those are that are painted."""

    def __init__(self, console: Console, count: int) -> None:
        self._console, self._count = console, count
        self._begun, self._ended = 0, 0
        self._running: dict[str, tuple[int, int]] = {}
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
                say(f"{event.name}: another process paints it")
        elif event.name not in self._running:
            self._running[event.name] = (0, 0)
            self._begun += 1
            say(f"run {self._begun}/{self._count}: {event.name}")
        else:
            self._running[event.name] = (event.step, event.planned)
        # A run of this process shows its own steps.
        if self._console.interactive and any(planned for _, planned in self._running.values()):
            self._console.rewrite(self._line())

    def _line(self) -> str:
        parts = [f"{self._ended}/{self._count} runs"]
        parts += [f"{name} {step}/{planned}" for name, (step, planned) in self._running.items() if planned]
        share = sum(step / planned for step, planned in self._running.values() if planned)
        done = self._ended + share
        left = (time.monotonic() - self._start) * (self._count - done) / done if done else 0
        text = "  ".join(parts)
        return f"{text if len(text) <= WIDEST else text[: WIDEST - 1] + '…'}  {duration(left)} left"


def _fill(job: Job, run: SweptRun) -> str:
    """Return `--output` with the names in braces replaced by the values of a run.

    Raises:
        UserError: A name in braces that is not swept.
    """
    styles = "+".join(Path(path).stem for path in job.style)
    values = {"content": job.content, "style": styles} | dict(run.settings)

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UserError(f"--output: {{{match[1]}}} is not swept; there are {', '.join(values)}")
        return safe(match[1], values[match[1]])

    filled = re.sub(r"\{(\w+)\}", value, job.output)
    path = Path(filled)
    name = shortened(path.stem, LONGEST_OUTPUT)
    return filled if name == path.stem else str(path.with_name(name + path.suffix))
