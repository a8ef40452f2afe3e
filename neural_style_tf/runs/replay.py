"""Repeat a run from its `run.json`: the same settings, on files that are still the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neural_style_tf.config.fields import leaves
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.runs.manifest import NOT_REPEATED, circumstances
from neural_style_tf.runs.resume import as_meant_then, check_network, other_files, parse_facts


def read_run(path: str) -> dict[str, Any]:
    """Return what a `run.json` says.

    Raises:
        UserError: It is missing, was edited into something else, or is of a network that is no longer used.
    """
    try:
        facts = parse_facts(Path(path), "config", "job", "inputs", "weights")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--from_run: cannot read {path!r} as the run.json of a run: {reason}") from None
    check_network(
        facts,
        f"--from_run: the run of {show(path)}",
        "so it cannot be repeated. To paint with its settings, use the flags.txt beside it: --flagfile=FILE",
    )
    return facts


def settings_of(facts: dict[str, Any], path: str) -> tuple[Config, Job]:
    """Return the settings and the files of a run.

    Raises:
        UserError: There is a setting that this version does not know, or a value that cannot be.
    """
    job = {name: value for name, value in facts["job"].items() if name not in NOT_REPEATED}
    config = {name: _tuples(value) for name, value in as_meant_then(facts).items()}
    for settings, given in ((Config, config), (Job, job)):
        unknown = given.keys() - {field.name for field in leaves(settings)}
        if unknown:
            raise UserError(f"--from_run: {path!r} has settings that are unknown here: {', '.join(unknown)}")
    try:
        return Config(**config), Job(**job)
    except UserError as error:
        raise UserError(f"--from_run: {path!r}: {error}") from None
    except (TypeError, ValueError):
        raise UserError(f"--from_run: {path!r} has a list that is not one of this program") from None


def check_files(facts: dict[str, Any], hashes: dict[str, str], path: str) -> None:
    """Refuse to repeat a run on other files than it was made with.

    Args:
        facts: From `read_run`.
        hashes: `content`, `style`, `init` or `weights` → SHA-256 of what is there now.
        path: Of the `run.json`, for the message.

    Raises:
        UserError: Naming each file that changed.
    """
    if changed := other_files(facts, hashes):
        raise UserError(
            f"--from_run: this would not repeat the run of {path!r}: {'; '.join(changed)}. Name the former "
            "file by its flag, or use the flags.txt beside it, which takes any files"
        )


def changes_since(facts: dict[str, Any], device: str) -> list[str]:
    """Return a line for each thing that may change the bits and is not what it was."""
    now = circumstances(device)
    return [
        f"{name} was {facts.get(name)}, now {value}: the bits may differ"
        for name, value in now.items()
        if facts.get(name) != value
    ]


def _tuples(value: Any) -> Any:
    """Return JSON's lists as the tuples they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
