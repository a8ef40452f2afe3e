"""The runs in the output folder: list them, read them, repeat and continue them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path

from neural_style_tf.app.pictures import FOLDER
from neural_style_tf.app.requests import check, watched
from neural_style_tf.cli.flags import command
from neural_style_tf.config.fields import flat
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config, Job, SaveConfig
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Task
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import is_in_use
from neural_style_tf.runs.resume import metric_rows, repeated_manifest, settings_of
from neural_style_tf.transfer.scales import Scale

PAINT_FURTHER = "press Paint further"
"""How the page goes on with a run that failed."""
RUNS_SHOWN = 60
MOST_ROWS = 500
"""About how many steps of a run a plot of losses shows."""


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A run in the output folder: its folder (`path`) and the content of its `run.json` (`manifest`)."""

    path: Path
    manifest: Manifest

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted`, `failed`, or `ended` for a run whose process was killed."""
        recorded = self.manifest.status.partition(":")[0]
        return "ended" if recorded == "running" and not is_in_use(self.path) else recorded

    @property
    def result(self) -> Path | None:
        """Path of the newest picture; None if there is none."""
        path = self.path / "result.png"
        return path if path.is_file() and not path.is_symlink() else None

    @property
    def regions(self) -> Path | None:
        """Path of the picture of the regions that `--match` found; None if there is none."""
        path = self.path / "regions" / "regions.png"
        return path if path.is_file() and not path.is_symlink() else None

    @property
    def photo(self) -> Path | None:
        """Path of the content picture; None if the file is gone."""
        path = Path(str(self.manifest.inputs.get("content", {}).get("path", "")))
        return path if path.is_file() else None

    def settings(self) -> tuple[Config, Job]:
        """Return the settings that repeat the run; raise `UserError` for a clip, or for another version."""
        path = str(self.path / "run.json")
        return settings_of(repeated_manifest(path), path)

    def losses(self) -> tuple[dict[str, float], ...]:
        """Return the losses of about `MOST_ROWS` steps, the last among them; empty if there are none."""
        path = self.path / "metrics.jsonl"
        return _read_losses(path, path.stat().st_mtime_ns) if path.exists() else ()


def read_stored(path: Path) -> StoredRun | None:
    """Return the run in folder `path`; None if it has no readable `run.json`, or is a symbolic link."""
    file = path / "run.json"
    try:
        if path.is_symlink() or file.is_symlink():
            return None
        return StoredRun(path, _read_manifest(file, file.stat().st_mtime_ns))
    except (OSError, ValueError):
        return None


# Each browser asks every second. So a file is read only if its modification time, `changed`, is new.
@functools.lru_cache(maxsize=2 * RUNS_SHOWN)
def _read_manifest(file: Path, changed: int) -> Manifest:
    return Manifest.from_json(file.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=8)
def _read_losses(file: Path, changed: int) -> tuple[dict[str, float], ...]:
    rows = [line for _, line in metric_rows(file)]
    return tuple(json.loads(line) for line in [*rows[: -1 : 1 + len(rows) // MOST_ROWS], *rows[-1:]])


def find_runs(output_dir: Path) -> list[StoredRun]:
    """Return the newest `RUNS_SHOWN` runs of a folder that have a picture, newest first."""
    try:
        folders = [path for path in output_dir.iterdir() if path.name != FOLDER]
    except OSError:
        return []
    newest = sorted(folders, key=_changed, reverse=True)
    runs = (run for run in map(read_stored, newest) if run is not None and run.result is not None)
    return list(itertools.islice(runs, RUNS_SHOWN))


def _changed(folder: Path) -> int:
    try:
        return (folder / "run.json").stat().st_mtime_ns
    except OSError:
        return 0


def go_on(run: StoredRun, more: int) -> Task:
    """Return the task that continues a stored run; a finished run gets `more` iterations.

    Raise `UserError` if the run is finished and `more` is 0, or if it cannot be continued.
    """
    config, job = run.settings()
    if run.status == "finished":
        if not more:
            raise UserError("This painting is finished: say how many iterations to add.")
        config = config.replace(iterations=config.iterations + more)
    config, job = watched(config), job.replace(output_dir=str(run.path), resume=True)
    return Task(run.path.name, config, job, check(config, job).memory(available=0))


def command_of(run: StoredRun) -> tuple[str, str]:
    """Return the command line that paints the same picture, bit by bit, and a note or `""`.

    The note says so if the command paints more than the run did.
    """
    config, job = run.settings()
    # How often the page saves does not change the picture.
    usual = PRESETS.get(config.preset, PRESETS["original"]).saving
    config = config.replace(**{name: getattr(usual, name) for name in flat(SaveConfig())})
    note = ""
    if run.status != "finished":
        config, note = _until(run.manifest.steps or 0, config, job)
    return command(config, job, program=("neural-style-tf",)), note


def _until(step: int, config: Config, job: Job) -> tuple[Config, str]:
    """Return settings with which a run ends at `step`, and `""`.

    If no settings end there with the same picture, return those of the whole run, and a note.
    """
    last = _scales(config, job)[-1]
    if step >= last.end:
        return config, ""
    iterations_count_elsewhere = (
        (config.sizes.scales != 1 and not config.sizes.scale_iterations)
        or config.optimization.averaging > 0
        or config.optimization.learning_rate_schedule != "constant"
    )
    if step > last.first_step and not iterations_count_elsewhere:
        return config.replace(iterations=step - last.first_step), ""
    return config, f"It was stopped at step {step} of {last.end}; the command paints all of it."


@functools.lru_cache(maxsize=64)
def _scales(config: Config, job: Job) -> tuple[Scale, ...]:
    return check(config, job).scales
