"""The parts of a run that are particular to a picture. For a clip they are in `clip.ClipPainting`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.evaluation.of_run import ResultMeasures
from neural_style_tf.jobs.inputs import PictureFiles, read_inputs
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.outputs import check_outputs
from neural_style_tf.runs.resume import newest_metric, step_of
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.utils.console import duration

if TYPE_CHECKING:
    from neural_style_tf.jobs.run import Run
    from neural_style_tf.transfer.loop import Tick


class PicturePainting:
    """Reads, paints and saves the picture of a `Run`. `ClipPainting` has the same methods for a clip."""

    result = "result.png"
    """Name of the result in the output folder; for a clip the name of the folder of frames."""
    moves = False
    """Whether regions can move from frame to frame."""

    def read(
        self, config: Config, job: Job, machine: Machine, files: Mapping[str, str]
    ) -> tuple[PictureFiles, Inputs]:
        """Read the pictures of the run; see `inputs.read_inputs`."""
        return read_inputs(config, job, machine, files)

    def check_outputs(self, run: Run) -> None:
        """Raise UserError if an output file cannot be written, or would destroy a file."""
        check_outputs(run.here, run.config, run.files.photo, size=run.size, say=run.console.say)

    def check_resumed(self, run: Run, earlier: Manifest) -> None:
        """Raise UserError if settings have changed that a clip must keep; for a picture do nothing."""

    def forecast(self, run: Run) -> str:
        """Return a line about the time that the run will take; "" without times of earlier runs."""
        return run.forecast.line(run.scales)

    def find_checkpoint(self, run: Run, folder: OutputFolder) -> str | None:
        """Return the path of the newest readable checkpoint, which ends with its step; None without one."""
        from neural_style_tf.runs.checkpoints import newest_good

        say, planned = run.console.say, run.scales[-1].end
        prefix, notes = newest_good(folder.path / "checkpoints")
        for note in notes:
            say(note)
        if prefix is None and newest_metric(folder.path / "metrics.jsonl") > 0:
            raise UserError(
                f"--resume: the run in {str(folder.path)!r} left no checkpoint that can be read; "
                "--overwrite begins it anew, or give another --output_dir"
            )
        if step_of(prefix) > planned:
            raise UserError(
                f"--resume: the run in {str(folder.path)!r} is at step {step_of(prefix)} already, beyond "
                f"{planned}: give at least as many --iterations as it began with"
            )
        where = f"step {step_of(prefix)}" if prefix else "the beginning: it has no checkpoint yet"
        say(f"resuming {folder.path}{os.sep} from {where}")
        return prefix

    def records(
        self, run: Run, folder: OutputFolder | None, checkpoint: str | None, tick: Tick
    ) -> Iterator[StepRecord]:
        """Paint from `checkpoint` on, or from the beginning, and yield a record of each logged or saved step.

        `tick` is called about once a second with the current step, and returns whether to stop.
        """
        plan, pace = run.take_plan(), run.forecast.pace(run.scales)
        if run.machine.several:
            # With `--match=regions` the plan repeats a style picture once for each region.
            styles = plan.styles[:1] if len(run.job.style) == 1 else plan.styles
            run.measure = ResultMeasures(plan.photo, styles)
        return run.machine.session().run(plan, tick=tick, resume=checkpoint, pace=pace)

    def listeners(self, run: Run, folder: OutputFolder) -> list[Listener]:
        """Return the listeners that save and print what is particular to a picture."""
        from neural_style_tf.runs.callbacks import Pictures, ProgressLine, Result, Saving
        from neural_style_tf.runs.checkpoints import Checkpoints

        path, job, photo, saves = folder.path, run.job, run.files.photo, run.config.saving
        dpi = (job.dpi, job.dpi) if job.dpi else photo.dpi
        saving = Saving(photo.alpha, job.stretch_contrast, int(job.bits), photo.profile, dpi, photo.original)
        results = [path / "result.png"] + ([Path(run.here.output)] if run.here.output else [])
        return [
            Result(results, saves, saving),
            Pictures(path / "images", saves, saving),
            # Last of those that write: a checkpoint means that the other files of its step are complete.
            Checkpoints(path / "checkpoints", saves),
            ProgressLine(run.console, printed=run.notes),
        ]

    def say_end(self, run: Run, folder: OutputFolder, status: str, record: StepRecord) -> None:
        """Print the status of the run, and where the result is."""
        result = folder.path / self.result
        run.console.say(f"{status} after {duration(record.seconds)}: {result} (step {record.best_step})")

    def is_flawed(self, run: Run) -> bool:
        """Return whether the finished result has faults, so that the exit code is 1; for a picture False."""
        return False
