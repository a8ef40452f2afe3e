"""Repeat a run from its `run.json`, if its files are still the same."""

from __future__ import annotations

from pathlib import Path

from neural_style_tf.config.fields import flat, leaves, tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import Manifest, circumstances


def read_run(path: str) -> Manifest:
    """Return the manifest in a `run.json`.

    Raises:
        UserError: It is missing, of another version, or was edited into something else.
    """
    try:
        return Manifest.from_json(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--from_run: cannot read {path!r} as the run.json of a run: {reason}") from None


def settings_of(manifest: Manifest, path: str) -> tuple[Config, Job]:
    """Return the settings and the files of a run.

    Raises:
        UserError: There is a setting that this version does not know, or a value that cannot be.
    """
    config = dict(manifest.config)
    job = {name: value for name, value in manifest.job.items() if name not in tagged("anew", Job)}
    for kind, settings in ((Config, config), (Job, job)):
        if unknown := settings.keys() - {leaf.name for leaf in leaves(kind)}:
            raise UserError(f"--from_run: {path!r} has settings that are unknown here: {', '.join(unknown)}")
    try:
        # A setting that the run's version did not have did then what its default does now, with any preset.
        return Config(**flat(Config()) | config), Job(**job)
    except UserError as error:
        raise UserError(f"--from_run: {path!r}: {error}") from None


def check_files(manifest: Manifest, hashes: dict[str, str], path: str) -> None:
    """Refuse to repeat a run on other files than it was made with.

    Args:
        manifest: From `read_run`.
        hashes: `content`, `style`, `init` or `weights` → SHA-256 of its file now.
        path: Of the `run.json`, for the message.

    Raises:
        UserError: Naming each file that changed.
    """
    changed = manifest.other_files(hashes)
    if "content" in hashes:
        changed += manifest.missing_files(hashes)
    if changed:
        raise UserError(
            f"--from_run: this would not repeat the run of {path!r}: {'; '.join(changed)}. Name the former "
            "file by its flag, or use the flags.txt beside it, which takes any files"
        )


def changes_since(manifest: Manifest, device: str) -> list[str]:
    """Return a line for each thing that may change the bits and is not what it was."""
    return [
        f"{name} was {manifest.circumstances.get(name)}, now {value}: the bits may differ"
        for name, value in circumstances(device).items()
        if manifest.circumstances.get(name) != value
    ]
