"""A picture as the work of a run. `clip.ClipPainting` has the same methods: all that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.jobs.inputs import PictureFiles, read_inputs
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.outputs import check_outputs, find_checkpoint
from neural_style_tf.runs.resume import trim_metrics
from neural_style_tf.transfer.plan import Inputs, Plan, plan_run, with_regions
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.transfer.regions import Regions
from neural_style_tf.utils.console import duration

if TYPE_CHECKING:
    from neural_style_tf.jobs.run import Run
    from neural_style_tf.transfer.loop import Tick


class PicturePainting:
    """A picture to be painted."""

    result = "result.png"
    """Name of the painting, a file or a folder, in the output folder."""

    def read(
        self, config: Config, job: Job, machine: Machine, files: Mapping[str, str]
    ) -> tuple[PictureFiles, Inputs]:
        """Read the pictures; see `inputs.read_inputs`."""
        return read_inputs(config, job, machine, files)

    def plan(self, inputs: Inputs, config: Config) -> Plan:
        """Plan the run."""
        return plan_run(inputs, config)

    def plan_with(self, regions: Regions, inputs: Inputs, config: Config) -> Plan:
        """Plan the run with the regions that `--match` found."""
        return plan_run(*with_regions(inputs, config, regions))

    def check_outputs(self, run: Run) -> None:
        """Refuse outputs that cannot be written, or would destroy a file."""
        check_outputs(run.here, run.config, run.files.photo, size=run.size, say=run.console.say)

    def check_resumed(self, run: Run, earlier: Manifest) -> None:
        """Refuse to continue a run with further settings that must not change: none."""

    def forecast(self, run: Run) -> str:
        """Return a line about the time that the run will take, "" if nothing is known."""
        return run.forecast.line(run.scales)

    def find_checkpoint(self, run: Run, folder: OutputFolder) -> str | None:
        """Return the newest good checkpoint, whose name ends with its step, or None."""
        return find_checkpoint(folder, planned=run.scales[-1].end, say=run.console.say)

    def clear_after(self, folder: OutputFolder, step: int) -> None:
        """Remove losses after the checkpoint; pictures are written again."""
        trim_metrics(folder.path / "metrics.jsonl", step)

    def records(
        self, run: Run, folder: OutputFolder | None, checkpoint: str | None, tick: Tick
    ) -> Iterator[StepRecord]:
        """Paint; yield the steps. `folder` is None for a worker that does not write."""
        pace = run.forecast.pace(run.scales)
        return run.machine.session().run(run.take_plan(), tick=tick, resume=checkpoint, pace=pace)

    def listeners(self, run: Run, folder: OutputFolder) -> list[Listener]:
        """Return what writes and prints the picture."""
        from neural_style_tf.runs.callbacks import Pictures, ProgressLine, Result, Saving
        from neural_style_tf.runs.checkpoints import Checkpoints

        path, job, photo, saves = folder.path, run.job, run.files.photo, run.config.saving
        dpi = (job.dpi, job.dpi) if job.dpi else photo.dpi
        saving = Saving(photo.alpha, job.stretch_contrast, int(job.bits), photo.profile, dpi)
        results = [path / "result.png"] + ([Path(run.here.output)] if run.here.output else [])
        return [
            Result(results, saves, saving),
            Pictures(path / "images", saves, saving),
            # After the files that a checkpoint asserts to be written.
            Checkpoints(path / "checkpoints", saves),
            ProgressLine(run.console, printed=run.notes),
        ]

    def say_end(self, run: Run, folder: OutputFolder, status: str, record: StepRecord) -> None:
        """Print where the result is."""
        result = folder.path / self.result
        run.console.say(f"{status} after {duration(record.seconds)}: {result} (step {record.best_step})")

    def is_flawed(self, run: Run) -> bool:
        """Return whether the painting has faults, which makes the exit code 1: a picture never has."""
        return False
