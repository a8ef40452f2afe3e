"""What a run writes about itself: `run.json`, and the `flags.txt` that repeats it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any

from neural_style_tf import __version__
from neural_style_tf.config.fields import flat
from neural_style_tf.config.parsing import format_list
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.images import Picture
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.weights import Weights

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "pillow")
# Where to write and what to replace is asked anew at each run; the terminal is not part of a result.
NOT_REPEATED = (
    "from_run",
    "output_dir",
    "output",
    "overwrite",
    "resume",
    "quiet",
    "verbose",
    "distribute",
    "worker_timeout",
)
FILE_FLAGS = ("content", "style", "weights_dir")


class RunJson(Listener):
    """`run.json`: everything needed to know what made a result, written at the start and at the end.

    Args:
        path: The file.
        config: The resolved settings.
        job: The files.
        inputs: `content` and `style` pictures.
        init: SHA-256 of the file that `config.init` names, or None.
        weights: The network.
        device: Its name.
        earlier: What `run.json` said before, of a run that is continued.
    """

    def __init__(
        self,
        path: Path,
        config: Config,
        job: Job,
        *,
        inputs: dict[str, Picture],
        init: str | None,
        weights: Weights,
        device: str,
        earlier: dict[str, Any] | None = None,
    ) -> None:
        self._path = path
        earlier = earlier or {}
        self._facts: dict[str, Any] = {
            "status": "running",
            "version": __version__,
            "started": earlier.get("started", _now()),
            "resumed": earlier.get("resumed", []) + ([_now()] if earlier else []),
            "config": _from_anywhere(config),
            "job": _from_anywhere(job),
            **circumstances(device),
            "inputs": {
                role: {"path": str(picture.path), "sha256": picture.sha256, "notes": list(picture.notes)}
                for role, picture in inputs.items()
            },
            "weights": {
                "origin": weights.origin,
                "source": weights.source,
                "sha256": weights.sha256,
                "generation": weights.generation,
                "notes": list(weights.notes),
            },
        }
        if init is not None:
            self._facts["inputs"]["init"] = {"path": config.init, "sha256": init}
        self._last: StepRecord | None = None
        self._notes: list[str] = list(earlier.get("notes", []))
        self._write()

    def on_step(self, record: StepRecord) -> None:
        """Remember the newest losses."""
        self._last = record
        self._notes += record.notes

    def finish(self, status: str) -> None:
        """Write the end of the run: `finished`, `interrupted` or `failed: …`."""
        self._facts |= {"status": status, "ended": _now(), "notes": self._notes}
        if self._last is not None:
            self._facts |= {
                "steps": self._last.step,
                "seconds": round(self._last.seconds, 3),
                "final": dict(self._last.terms),
                "best": {"step": self._last.best_step, "total": self._last.best_total},
            }
        self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self._facts, indent=2) + "\n")


def facts_in_common(config: Config, hashes: dict[str, str], weights: Weights) -> dict[str, Any]:
    """Return what all workers of a run must have in common: name → value.

    Args:
        config: The resolved settings.
        hashes: `content`, `style` and, if `--init` names a file, `init` → SHA-256; a file's path may be
            another elsewhere.
        weights: The network.
    """
    facts = {f"--{name}": value for name, value in flat(config).items()}
    if "init" in hashes:
        facts["--init"] = hashes["init"]
    files = {f"the {role} picture": hashes[role] for role in ("content", "style")}
    versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    return facts | files | {"the weights": weights.sha256, "neural-style-tf": __version__} | versions


def circumstances(device: str) -> dict[str, Any]:
    """Return what is no setting and may yet change the bits of a result."""
    return {
        "device": device,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def flag_lines(config: Config, job: Job) -> str:
    """Return a flag file that repeats a run from any folder of this machine.

    Args:
        config: The resolved settings, all of which are written.
        job: The files; their paths are made absolute.

    Returns:
        Lines `--name=value`.
    """
    lines = [f"# neural-style-tf {__version__}; repeat with --flagfile=THIS --output_dir=ANOTHER"]
    for settings in (config, job):
        for name, value in flat(settings).items():
            if name in NOT_REPEATED or value == "":
                continue
            line = _flag_line(name, value)
            # A flag file is read line by line, and lines are stripped.
            lines.append(line if [line] == line.strip().splitlines() else f"# cannot be written: {line!r}")
    return "\n".join(lines) + "\n"


def settings_table(config: Config, job: Job) -> dict[str, str]:
    """Return name → text of every setting."""
    return {name: _text(value) for settings in (config, job) for name, value in flat(settings).items()}


def _flag_line(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={_absolute(name, _text(value))}"


def _absolute(name: str, value: str) -> str:
    """Return the value of a flag so that it means the same in another folder."""
    is_file = name in FILE_FLAGS or (name in ("weights", "init") and Path(value).is_file())
    return str(Path(value).absolute()) if is_file else value


def _from_anywhere(settings: Config | Job) -> dict[str, Any]:
    """Return the fields of a dataclass, with paths that hold in every folder."""
    fields = flat(settings)
    return {k: _absolute(k, value) if isinstance(value, str) else value for k, value in fields.items()}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return format_list(value)
    return repr(value) if isinstance(value, float) else str(value)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
