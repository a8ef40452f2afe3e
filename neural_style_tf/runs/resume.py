"""Continue or repeat a run: read its status, and compare settings and files with its `run.json`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from neural_style_tf.config.fields import flat, leaves, tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import Manifest, circumstances, read_manifest
from neural_style_tf.runs.output_dir import STATES
from neural_style_tf.utils.files import exists, write_bytes


def find_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of the run in `folder`, if there is one; raise `UserError` if it is unreadable."""
    path = folder / "run.json"
    return read_manifest(path, "move that folder away") if exists(path) else None


def earlier_manifest(folder: Path) -> Manifest:
    """Return the manifest of the run in `folder` that `--resume` continues; raise `UserError` without one."""
    return read_manifest(folder / "run.json", "the run cannot be continued; --overwrite begins it anew")


def repeated_manifest(path: str) -> Manifest:
    """Return the manifest in the file `path`, which `--from_run` names; raise `UserError` without one."""
    return read_manifest(path, "--from_run takes the run.json of a run")


def status_of(folder: Path) -> str:
    """Return `running`, `finished`, `interrupted` or `failed`; `waiting` if there is no run in `folder`."""
    manifest = find_manifest(folder)
    return manifest.status.partition(":")[0] if manifest else "waiting"


def continued(job: Job) -> Job:
    """Return `job` with the flag that continues its run: `resume`, or `overwrite` if nothing was saved.

    Return it unchanged if there is no run in its folder, or if it already has `overwrite`.
    """
    folder = Path(job.output_dir)
    status = status_of(folder)
    if job.overwrite or status == "waiting":
        return job
    saved = status == "finished" or any(path for pattern in STATES for path in folder.glob(pattern))
    return job.replace(resume=saved, overwrite=not saved)


def is_finished(job: Job) -> bool:
    """Return whether the output folder of `job` holds a finished run, and `job` does not overwrite it."""
    return not job.overwrite and status_of(Path(job.output_dir)) == "finished"


def differences(manifest: Manifest, config: Config, hashes: dict[str, str]) -> list[str]:
    """Return a phrase for each setting or file that has changed since a run, and prevents resuming it.

    The tile size may change: it affects only how the gradient is rounded. `hashes` maps the role of each
    picture, `init` or `weights` to the SHA-256 of the present file.
    """
    now, default = (json.loads(json.dumps(flat(settings))) for settings in (config, Config()))
    # An older version may lack a setting. It behaved as the default of this setting does today.
    then = default | json.loads(json.dumps(dict(manifest.config)))
    changes = [
        f"--{name} was {then[name]!r}, now {value!r}"
        for name, value in now.items()
        if name not in tagged("resume", Config)
        and then[name] != value
        and not (name in tagged("auto", Config) and value == "auto")
        # The `init` file may have been renamed: its hash is compared below.
        and not (name == "init" and hashes.get("init") and manifest.inputs.get("init"))
    ]
    if then["iterations"] != now["iterations"]:
        if config.sizes.scales != 1 and not config.sizes.scale_iterations:
            changes.append("--iterations also counts for the coarser scales, which are done")
        optimization = config.optimization
        if optimization.optimizer != "lbfgs" and optimization.learning_rate_schedule != "constant":
            changes.append("--iterations also counts for the learning rate, which falls to their end")
    return changes + manifest.changed_files(hashes)


def check_same_run(manifest: Manifest, config: Config, hashes: dict[str, str]) -> None:
    """Raise UserError if there are `differences`, which has the same arguments."""
    if changes := differences(manifest, config, hashes):
        raise UserError(
            f"--resume: this is not the run in --output_dir: {'; '.join(changes)}. Give another "
            "--output_dir, or --overwrite to begin anew"
        )


def with_its_choices(manifest: Manifest, config: Config) -> Config:
    """Return `config` with each `auto` replaced by what the run chose, so that it continues bit for bit."""
    default = flat(Config())
    return config.replace(
        **{
            name: manifest.config.get(name, default[name])
            for name, value in flat(config).items()
            if name in tagged("auto", Config) and value == "auto"
        }
    )


def settings_of(manifest: Manifest, path: str) -> tuple[Config, Job]:
    """Return the settings and the files of a run that `--from_run` repeats; messages name its file, `path`.

    Raise UserError if a setting is unknown to this version, or invalid.
    """
    config = dict(manifest.config)
    job = {name: value for name, value in manifest.job.items() if name not in tagged("anew", Job)}
    for kind, settings in ((Config, config), (Job, job)):
        if unknown := settings.keys() - {leaf.name for leaf in leaves(kind)}:
            raise UserError(f"--from_run: {path!r} has settings that are unknown here: {', '.join(unknown)}")
    try:
        # The version that painted the run may lack a setting. It behaved as the default, with every preset.
        return Config(**flat(Config()) | config), Job(**job)
    except UserError as error:
        raise UserError(f"--from_run: {path!r}: {error}") from None


def check_files(manifest: Manifest, hashes: dict[str, str], path: str) -> None:
    """Raise UserError if files, as in `Manifest.changed_files`, are not those of the run of `--from_run`."""
    if changes := manifest.changed_files(hashes):
        raise UserError(
            f"--from_run: this would not repeat the run of {path!r}: {'; '.join(changes)}. Give the old "
            "file by its flag, or use the flags.txt beside it, which accepts changed files"
        )


def changes_since(manifest: Manifest, device: str) -> list[str]:
    """Return a line for each change since the run that may change the bits: device, versions, processor."""
    return [
        f"{name} was {manifest.circumstances.get(name)}, now {value}: the bits may differ"
        for name, value in circumstances(device).items()
        if manifest.circumstances.get(name) != value
    ]


def metric_rows(path: Path) -> list[tuple[int, bytes]]:
    """Return (step, line) of each complete line of the `metrics.jsonl` at `path`; empty if it is missing."""
    rows = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            step = json.loads(line)["step"]
            if line.endswith(b"\n") and isinstance(step, int):
                rows.append((step, line))
    return rows


def newest_metric(path: Path) -> int:
    """Return the last step in the `metrics.jsonl` at `path`; −1 if there is none."""
    return max((step for step, _ in metric_rows(path)), default=-1)


def trim_metrics(path: Path, step: int) -> None:
    """Remove the lines after `step`, and incomplete lines, from the `metrics.jsonl` at `path`."""
    write_bytes(path, b"".join(line for at, line in metric_rows(path) if at <= step))


def step_of(checkpoint: str | None) -> int:
    """Return the step that the name of `checkpoint` ends with; −1 if it is None."""
    return int(checkpoint.rpartition("-")[2]) if checkpoint else -1
