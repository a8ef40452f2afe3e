"""Run a sweep: check all of its runs, do one after another, go on where an earlier command was stopped."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.sweeps.folder import SweepFolder, SweptRun, name_runs, safe
from neural_style_tf.sweeps.report import write_report
from neural_style_tf.sweeps.space import FILES, Axis, combine
from neural_style_tf.utils.console import Console

MOST_MISTAKES = 20
"""That are shown; the others are counted."""
SHARE = 0.1
"""Of the time of a sweep, for table, sheet and page while runs are left."""
ARGUMENTS = (
    *("content_weight", "style_weight", "tv_weight", "strength", "strength_range"),
    *("learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "seed", "iterations"),
)
"""Settings that compiled steps take as arguments: runs that differ in them share all else."""


class Run(Protocol):
    """A checked run of the command line."""

    def check_finished(self) -> None:
        """Refuse a finished run in the output folder that was made with other settings or files."""

    def execute(self) -> int:
        """Run; return the exit code."""


class Sweep:
    """The runs of one command line.

    Args:
        axes: The swept settings.
        zipped: Names of those that advance together.
        root: The folder of the sweep.
        base: Name → value of what was given and is not swept.
        settings: Changes → the settings and files of a run.
        make_run: Settings and files → a run; raises UserError for every mistake that can be found now.
        explain: An error → one line for the user, or None for a bug.
        console: For the progress.
        received: Signals, as they arrive: the sweep ends after the run that they end.
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
        explain: Callable[[Exception], str | None],
        console: Console,
        received: Sequence[int],
    ) -> None:
        self._axes, self._base, self._settings, self._make_run = axes, base, settings, make_run
        self._explain, self._console, self._received = explain, console, received
        self._folder = SweepFolder(root)
        self.runs = name_runs(combine(axes, zipped), self._folder.known)
        self._planned: dict[str, tuple[Config, Job]] = {}
        self._overwrite = False

    def check(self) -> list[tuple[Config, Job]]:
        """Check all runs; return their settings, in order.

        Raises:
            UserError: With a line for each mistake.
        """
        mistakes: dict[str, str] = {}
        for run in self.runs:
            try:
                self._planned[run.folder] = self._plan(run)
            except UserError as error:
                mistakes.setdefault(str(error), run.folder)
        outputs = [job.output for _, job in self._planned.values() if job.output]
        if len(set(outputs)) < len(outputs):
            raise UserError(
                f"--output: several runs would write {show(outputs[0])}: put the names of swept settings in "
                "braces, as in --output='out/{content}.jpg'"
            )
        if not self._overwrite:
            self._folder.check(self._base)
        for run in self.runs:
            if run.folder not in self._planned:
                continue
            try:
                one = self._make_run(*self._planned[run.folder])
                if self._status(run) == "finished":
                    one.check_finished()
            except UserError as error:
                mistakes.setdefault(str(error), run.folder)
        if mistakes:
            several = len(self.runs) > 1
            lines = [f"{run}: {message}" if several else message for message, run in mistakes.items()]
            more = len(lines) - MOST_MISTAKES
            lines[MOST_MISTAKES:] = [f"and {more} more mistakes"] if more > 0 else []
            raise UserError("\n".join(lines))
        return [self._planned[run.folder] for run in self.runs]

    def execute(self, *, retry_failed: bool = False) -> int:
        """Run what is not finished; return 0, or 1 if a run failed. `check` comes first."""
        say = self._console.say
        self._folder.write({axis.name: axis.values for axis in self._axes}, self._base, self.runs)
        failed: dict[str, str] = {}
        begun, reporting = time.monotonic(), 0.0
        for number, run in enumerate(self._in_order(), 1):
            status = self._status(run)
            if status == "failed" and not retry_failed:
                manifest = self._folder.manifest(run)
                failed[run.folder] = f"{manifest.status}; --retry_failed tries it again"
                continue
            if status == "finished" and not self._overwrite:
                say(f"run {number}/{len(self.runs)}: {run.folder} is finished")
                continue
            if self._received:
                break
            say(f"run {number}/{len(self.runs)}: {run.folder}")
            try:
                self._make_run(*self._planned[run.folder]).execute()
            except KeyboardInterrupt:
                break
            except Exception as error:
                line = str(error) if isinstance(error, UserError | RunError) else self._explain(error)
                if line is None:
                    line = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
                failed[run.folder] = line
                self._console.error(f"{run.folder}: {line}")
            # Of many runs a report takes long: no more than a tenth of the time is for them.
            now = time.monotonic()
            if reporting <= SHARE * (now - begun):
                write_report(self._folder, self.runs)
                reporting += time.monotonic() - now
        write_report(self._folder, self.runs)
        if self._received:
            say("interrupted: the same command goes on with the sweep")
        done = sum(self._status(run) == "finished" for run in self.runs)
        say(f"{done} of {len(self.runs)} runs are finished: {self._folder.path / 'index.html'}")
        for folder, line in failed.items():
            self._console.error(f"not finished: {folder}: {line}")
        return 1 if failed else 0

    def _plan(self, run: SweptRun) -> tuple[Config, Job]:
        """Return the settings of a run; one that was begun goes on."""
        config, job = self._settings(run.settings)
        output = _fill(job, run)
        self._overwrite = job.overwrite
        folder, status = self._folder.path / run.folder, self._status(run)
        # What ended before its first checkpoint begins anew.
        saved = status == "finished" or any(folder.glob("checkpoints/ckpt-*"))
        goes_on = status != "waiting" and saved and not job.overwrite
        anew = job.overwrite or (status != "waiting" and not saved)
        return config, job.replace(output_dir=str(folder), output=output, resume=goes_on, overwrite=anew)

    def _status(self, run: SweptRun) -> str:
        manifest = self._folder.manifest(run)
        return manifest.status.partition(":")[0] if manifest else "waiting"

    def _in_order(self) -> list[SweptRun]:
        """Return the runs so that those that share compiled steps come together."""
        ranks = {
            axis.name: {value: rank for rank, value in enumerate(dict.fromkeys(axis.values))}
            for axis in self._axes
        }

        def place(run: SweptRun) -> list[int]:
            # Other weights are another network, with which nothing is shared.
            names = sorted(
                run.settings,
                key=lambda name: (name != "weights", 2 * (name in ARGUMENTS) + (name in FILES)),
            )
            return [ranks[name][run.settings[name]] for name in names]

        return sorted(self.runs, key=place)


def _fill(job: Job, run: SweptRun) -> str:
    """Return `--output` with the names in braces replaced by the values of a run.

    Raises:
        UserError: A name in braces that is not swept.
    """
    values = {"content": job.content, "style": job.style} | dict(run.settings)

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UserError(f"--output: {{{match[1]}}} is not swept; there are {', '.join(values)}")
        return safe(match[1], values[match[1]])

    return re.sub(r"\{(\w+)\}", value, job.output)
