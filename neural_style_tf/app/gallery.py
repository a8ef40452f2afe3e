"""The runs in the output folder: what they are, how to repeat them, how to go on with them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path

from neural_style_tf.app.pictures import FOLDER
from neural_style_tf.app.queue import PlannedRun
from neural_style_tf.app.requests import planned, watched
from neural_style_tf.cli.flags import command
from neural_style_tf.config.fields import flat
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config, Job, SaveConfig
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import is_in_use
from neural_style_tf.runs.replay import read_run, settings_of
from neural_style_tf.runs.resume import metric_rows
from neural_style_tf.transfer.scales import Scale

MOST_SHOWN = 60
MOST_ROWS = 500
"""Of a plot."""
PROGRAM = ("neural-style-tf",)


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A run in the output folder.

    Attributes:
        path: Its folder.
        manifest: Its `run.json`.
    """

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.path.name

    @property
    def status(self) -> str:
        """`running`, `ended` (without warning), `finished`, `interrupted` or `failed`."""
        recorded = self.manifest.status.partition(":")[0]
        return "ended" if recorded == "running" and not is_in_use(self.path) else recorded

    @property
    def result(self) -> Path | None:
        """The newest picture, if there is one."""
        path = self.path / "result.png"
        return path if path.is_file() and not path.is_symlink() else None

    @property
    def photo(self) -> Path | None:
        """The content picture, if it is still there."""
        path = Path(str(self.manifest.inputs.get("content", {}).get("path", "")))
        return path if path.is_file() else None

    def settings(self) -> tuple[Config, Job]:
        """Return what repeats the run.

        Raises:
            UserError: It is of another version, or a clip.
        """
        path = str(self.path / "run.json")
        return settings_of(read_run(path), path)

    @property
    def metrics(self) -> Path:
        """The file of losses."""
        return self.path / "metrics.jsonl"

    def losses(self) -> list[dict[str, float]]:
        """Return about `MOST_ROWS` rows of `metrics` at most: step, scale, total, content and so on."""
        rows = metric_rows(self.metrics)
        return [json.loads(line) for _, line in rows[:: 1 + len(rows) // MOST_ROWS]]


def read_stored(path: Path) -> StoredRun | None:
    """Return the run in a folder; None if there is none that can be read, or the folder is a link."""
    file = path / "run.json"
    try:
        if path.is_symlink() or file.is_symlink():
            return None
        manifest = _read_manifest(file, file.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None
    return StoredRun(path, manifest)


@functools.lru_cache(maxsize=2 * MOST_SHOWN)
def _read_manifest(file: Path, changed: int) -> Manifest:
    """Read a file once until it changes: each browser asks every second."""
    return Manifest.from_json(file.read_text(encoding="utf-8"))


def find_runs(output_dir: Path) -> list[StoredRun]:
    """Return the runs of pictures in a folder, the newest `MOST_SHOWN` of them, newest first."""
    try:
        folders = [path for path in output_dir.iterdir() if path.name != FOLDER]
    except OSError:
        return []
    newest = sorted(folders, key=_changed, reverse=True)
    runs = (run for run in map(read_stored, newest) if run is not None and run.result is not None)
    return list(itertools.islice(runs, MOST_SHOWN))


def _changed(folder: Path) -> int:
    try:
        return (folder / "run.json").stat().st_mtime_ns
    except OSError:
        return 0


def go_on(run: StoredRun, more: int) -> PlannedRun:
    """Return the run that goes on with one.

    Args:
        run: Finished, interrupted or killed.
        more: Iterations to add to a finished one; one that is not finished gets its rest.

    Raises:
        UserError: It cannot be gone on with.
    """
    config, job = run.settings()
    if run.status == "finished":
        if not more:
            raise UserError("This painting is finished: say how many iterations to add.")
        config = config.replace(iterations=config.iterations + more)
    config = watched(config)
    return planned(config, job.replace(output_dir=str(run.path), resume=True))


def command_of(run: StoredRun) -> tuple[str, str]:
    """Return the command line that paints a picture again to the same bits, and a note or `""`.

    Raises:
        UserError: The run cannot be repeated.
    """
    config, job = run.settings()
    usual = PRESETS.get(config.preset, PRESETS["original"]).saving
    config = config.replace(**{name: getattr(usual, name) for name in flat(SaveConfig())})
    note = ""
    if run.status != "finished":
        config, note = _as_far_as_it_is(run, config, job)
    return command(config, job, program=PROGRAM), note


def _as_far_as_it_is(run: StoredRun, config: Config, job: Job) -> tuple[Config, str]:
    """Return settings that end where a run was interrupted; if none do, those of all of it, and a note."""
    step = run.manifest.steps or 0
    scales = _scales(config, job)
    end, last = scales[-1].end, scales[-1]
    if step >= end:
        return config, ""
    counts_for_all = config.sizes.scales != 1 and not config.sizes.scale_iterations
    depends_on_end = (
        config.optimization.averaging > 0 or config.optimization.learning_rate_schedule != "constant"
    )
    if last.first_step < step and not counts_for_all and not depends_on_end:
        return config.replace(iterations=step - last.first_step), ""
    return config, f"It was stopped at step {step} of {end}; the command paints all of it."


@functools.lru_cache(maxsize=64)
def _scales(config: Config, job: Job) -> tuple[Scale, ...]:
    return planned(config, job).scales
