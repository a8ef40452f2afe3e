"""Continue a run: only with what it was begun with."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.utils.atomic import write_bytes
from neural_style_tf.weights.registry import RETIRED

HARMLESS = ("preset", "iterations", "log_every", "save_every", "save_minutes")
"""Settings that a continued run may change; a run that is finished is extended by --iterations."""


def read_facts(folder: Path) -> dict[str, Any]:
    """Return `run.json` of a run.

    Raises:
        UserError: It is missing or was edited into something else.
    """
    path = folder / "run.json"
    try:
        return parse_facts(path, "config", "inputs", "weights")
    except (OSError, ValueError):
        raise UserError(
            f"{str(path)!r} cannot be read, so the run cannot be continued; --overwrite begins it anew"
        ) from None


def parse_facts(path: Path, *needed: str) -> dict[str, Any]:
    """Return a `run.json` that has objects of the names `needed`, `inputs` among them.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not one that this program wrote.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        dicts = [facts[name] for name in needed] + list(facts["inputs"].values())
        lists = [facts.get(name, []) for name in ("resumed", "notes")]
        if all(isinstance(one, dict) for one in dicts) and all(isinstance(one, list) for one in lists):
            return facts
    # RecursionError: brackets by the thousand.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("it is not one that this program wrote")


def check_network(facts: dict[str, Any], before: str, after: str) -> None:
    """Refuse a run whose network this program no longer has.

    Args:
        facts: `run.json` of the run.
        before: What the message begins with.
        after: What to do instead.

    Raises:
        UserError: It was made with the bundled network of earlier versions.
    """
    if facts["weights"].get("sha256") == RETIRED.sha256:
        raise UserError(
            f"{before} was made with {RETIRED.generation}, which --weights=bundled no longer is, {after}"
        )


def check_same_run(
    facts: dict[str, Any], config: Config, hashes: dict[str, str], *, result: tuple[int, int]
) -> None:
    """Refuse to continue a run with other settings, pictures or weights.

    Args:
        facts: `run.json` of the run.
        config: The settings asked for now.
        hashes: `content`, `style`, `init` or `weights` → SHA-256 of what is given now.
        result: (H, W) of the result.

    Raises:
        UserError: Naming each difference.
    """
    check_network(
        facts,
        "--resume: the run in --output_dir",
        "so it cannot be continued. Give another --output_dir, or --overwrite to begin anew",
    )
    now, default = (json.loads(json.dumps(flat(one))) for one in (config, Config()))
    # A setting that the run's version did not have yet did then what its default does now.
    then = default | facts["config"]
    if _style_size_of_old(facts):
        then["style_size"] = then["image_size"]
        if now["style_size"] == -1 and max(result) == now["image_size"]:
            now["style_size"] = now["image_size"]
    differences = [
        f"--{name} was {then[name]!r}, now {value!r}"
        for name, value in now.items()
        if name not in HARMLESS
        and then[name] != value
        # Left to several workers; a single one has taken up the tile of the run already.
        and (name, value) != ("tile", "auto")
        # A file of any name, as long as it is the same.
        and not (name == "init" and hashes.get("init") and facts["inputs"].get("init"))
    ]
    if (
        config.sizes.scales > 1
        and facts["config"].get("iterations") != config.iterations
        and not config.sizes.scale_iterations
    ):
        differences.append("--iterations also counts for the coarser scales, which are done")
    differences += other_files(facts, hashes)
    if differences:
        raise UserError(
            "--resume: this is not the run in --output_dir: "
            + "; ".join(differences)
            + ". Give another --output_dir, or --overwrite to begin anew"
        )


def as_meant_then(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a `run.json`, in today's words."""
    changes = {"style_size": facts["config"].get("image_size")} if _style_size_of_old(facts) else {}
    return facts["config"] | changes


def _style_size_of_old(facts: dict[str, Any]) -> bool:
    """Return whether a run has the --style_size=-1 of versions before --enlarge, which meant --image_size."""
    return "enlarge" not in facts["config"] and facts["config"].get("style_size") == -1


def with_its_tile(facts: dict[str, Any], config: Config) -> Config:
    """Return `config` with the tile that the run began with, if it may be any: other tiles, other bits."""
    return config.replace(tile=facts["config"].get("tile", "auto")) if config.tile == "auto" else config


def other_files(facts: dict[str, Any], hashes: dict[str, str]) -> list[str]:
    """Return a phrase for each role whose file is not the one that `facts` tells of."""
    known = facts["inputs"] | {"weights": facts["weights"]}
    return [
        f"the {role} file is another one"
        for role, value in hashes.items()
        if not isinstance(known.get(role), dict) or known[role].get("sha256") != value
    ]


def trim_metrics(path: Path, step: int) -> None:
    """Drop the lines of `metrics.jsonl` after a step, and one that was cut short."""
    write_bytes(path, b"".join(line for at, line in _rows(path) if at <= step))


def newest_metric(path: Path) -> int:
    """Return the last step in `metrics.jsonl`, or −1 if there is none."""
    return max((step for step, _ in _rows(path)), default=-1)


def _rows(path: Path) -> list[tuple[int, bytes]]:
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
