"""May a run be resumed? Compare settings and files with those it was begun with."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import STATES
from neural_style_tf.utils.atomic import write_bytes


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the run in a folder.

    Raises:
        UserError: It is missing or was edited into something else.
    """
    path = folder / "run.json"
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = "" if isinstance(error, OSError | UnicodeError) else f" ({error})"
        raise UserError(
            f"{str(path)!r} cannot be read{why}, so the run cannot be continued; --overwrite begins it anew"
        ) from None


def check_same_run(
    manifest: Manifest, config: Config, hashes: dict[str, str], *, result: tuple[int, int]
) -> None:
    """Refuse to continue a run with other settings, pictures or weights; arguments as of `differences`.

    Raises:
        UserError: Naming each difference.
    """
    if found := differences(manifest, config, hashes, result=result):
        raise UserError(
            f"--resume: this is not the run in --output_dir: {'; '.join(found)}. Give another --output_dir, "
            "or --overwrite to begin anew"
        )


def differences(
    manifest: Manifest, config: Config, hashes: dict[str, str], *, result: tuple[int, int]
) -> list[str]:
    """Return a phrase for each setting and file that differs from those a run began with.

    Another tile is no difference: the same gradient is computed, and only rounding differs.

    Args:
        manifest: Of the run.
        config: The present settings.
        hashes: Role of each picture, `init` or `weights` → SHA-256 of the present file.
        result: (H, W) of the result.
    """
    now, default = (json.loads(json.dumps(flat(one))) for one in (config, Config()))
    # A setting that the run's version did not have yet did then what its default does now.
    then = default | json.loads(json.dumps(dict(manifest.config)))
    found = [
        f"--{name} was {then[name]!r}, now {value!r}"
        for name, value in now.items()
        if name not in tagged("resume", Config)
        and then[name] != value
        and not (name in tagged("auto", Config) and value == "auto")
        # The file may have another name: its hash is compared below.
        and not (name == "init" and hashes.get("init") and manifest.inputs.get("init"))
    ]
    if then["iterations"] != now["iterations"]:
        if config.sizes.scales != 1 and not config.sizes.scale_iterations:
            found.append("--iterations also counts for the coarser scales, which are done")
        adam = config.optimization.optimizer == "adam"
        if adam and config.optimization.learning_rate_schedule != "constant":
            found.append("--iterations also counts for the learning rate, which falls to their end")
    return [*found, *manifest.other_files(hashes), *manifest.missing_files(hashes)]


def with_its_choices(manifest: Manifest, config: Config) -> Config:
    """Replace `auto` by what the run began with, so that it goes on with the same bits."""
    default = flat(Config())
    return config.replace(
        **{
            name: manifest.config.get(name, default[name])
            for name, value in flat(config).items()
            if name in tagged("auto", Config) and value == "auto"
        }
    )


def trim_metrics(path: Path, step: int) -> None:
    """Drop the lines of `metrics.jsonl` after a step, and a half-written one."""
    write_bytes(path, b"".join(line for at, line in metric_rows(path) if at <= step))


def newest_metric(path: Path) -> int:
    """Return the last step in `metrics.jsonl`, or −1 if there is none."""
    return max((step for step, _ in metric_rows(path)), default=-1)


def metric_rows(path: Path) -> list[tuple[int, bytes]]:
    """Return step and line of each whole row of `metrics.jsonl`."""
    rows = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            step = json.loads(line)["step"]
            if line.endswith(b"\n") and isinstance(step, int):
                rows.append((step, line))
    return rows


def step_of(checkpoint: str | None) -> int:
    """Return the step of a checkpoint from its name, or −1 for none."""
    return int(checkpoint.rpartition("-")[2]) if checkpoint else -1


def find_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of the run in a folder; None if there is none."""
    path = folder / "run.json"
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise UserError(f"{show(path)} cannot be read: {error}. Move that folder away") from None


def status_of(folder: Path) -> str:
    """Return the first word of the status of the run in a folder, or `waiting`."""
    manifest = find_manifest(folder)
    return manifest.status.partition(":")[0] if manifest else "waiting"


def continued(job: Job) -> Job:
    """Return a job that resumes the run in its folder, or begins anew if there is no checkpoint."""
    folder = Path(job.output_dir)
    status = status_of(folder)
    if job.overwrite or status == "waiting":
        return job
    saved = status == "finished" or any(path for pattern in STATES for path in folder.glob(pattern))
    return job.replace(resume=saved, overwrite=not saved)


def is_finished(job: Job) -> bool:
    """Return whether the folder of a job holds a finished run that it may not replace."""
    return not job.overwrite and status_of(Path(job.output_dir)) == "finished"
