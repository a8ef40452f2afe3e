"""The manifest of a run, `run.json`, and the `flags.txt` that repeats it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural_style_tf import __version__
from neural_style_tf.config.fields import flat
from neural_style_tf.config.parsing import format_list
from neural_style_tf.config.schema import REPEATED_FILES, Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.images import Picture, deep
from neural_style_tf.transfer.records import Listener, Record
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.weights import Weights
from neural_style_tf.weights.registry import RETIRED

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
FILE_FLAGS = ("content", *REPEATED_FILES, "content_weight_mask", "weights_dir", "flow")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """`run.json`: everything needed to know what made a result, and to make it again.

    Attributes:
        config: Every setting by its flag's name, in JSON's types.
        job: The files, likewise.
        inputs: Role of each picture (`Job.pictures`) and, where --init names a file, `init` → path, sha256
            and notes.
        weights: origin, source, sha256, generation and notes of the network.
        circumstances: What is no setting and may yet change the bits; see `circumstances`.
        status: `running`, `finished`, `interrupted` or `failed: …`.
        version: Of this program.
        started: When, ISO 8601.
        resumed: When each time.
        ended: When, or `""`.
        notes: What the run said.
        steps: Number of updates made.
        seconds: That it took.
        final: Name of a loss → its last value.
        best: step and total of the result.
        form: Version of the form in which it was written.
    """

    config: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Any]
    job: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    circumstances: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    status: str = "running"
    version: str = __version__
    started: str = ""
    resumed: tuple[str, ...] = ()
    ended: str = ""
    notes: tuple[str, ...] = ()
    steps: int | None = None
    seconds: float | None = None
    final: Mapping[str, float] | None = None
    best: Mapping[str, float] | None = None
    form: int = dataclasses.field(default=0, compare=False)

    def to_json(self) -> str:
        """Return the text of `run.json`; what is not known yet is left out."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del facts["form"]
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        return json.dumps({"manifest": MANIFEST, **known}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest of this or an earlier version.

        Raises:
            ValueError: It is not one, or one of a later version; the message says which.
        """
        try:
            facts = json.loads(text)
        # RecursionError: brackets by the thousand.
        except (ValueError, RecursionError):
            raise ValueError("it is not one that this program wrote") from None
        if not isinstance(facts, dict) or type(facts.get("manifest", 1)) is not int:
            raise ValueError("it is not one that this program wrote")
        if facts.get("manifest", 1) > MANIFEST:
            raise ValueError("a later version of this program wrote it: install that one")
        form = facts.get("manifest", 1)
        facts = _of_version_1(facts) if form < 2 else facts
        facts = (_of_version_2(facts) if form < 3 else facts) | {"form": form}
        values = {field.name: facts[field.name] for field in dataclasses.fields(cls) if field.name in facts}
        kinds = {name: _KINDS.get(name, str) for name in values}
        if not {"config", "inputs", "weights"} <= values.keys() or not all(
            isinstance(values[name], kind) for name, kind in kinds.items()
        ):
            raise ValueError("it is not one that this program wrote")
        if not all(isinstance(one, dict) for one in values["inputs"].values()):
            raise ValueError("it is not one that this program wrote")
        return cls(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        )

    def other_files(self, hashes: Mapping[str, str]) -> list[str]:
        """Return a phrase for each role whose file (SHA-256) is not the one recorded here."""
        known = dict(self.inputs) | {"weights": self.weights}
        return [
            f"the {role} file is " + ("another one" if role in known else "new")
            for role, value in hashes.items()
            if known.get(role, {}).get("sha256") != value
        ]

    def missing_files(self, hashes: Mapping[str, str]) -> list[str]:
        """Return a phrase for each role that is recorded here and has no file now."""
        gone = self.inputs.keys() - hashes.keys() - {"init"}
        return [f"the {role} file is not given" for role in sorted(gone)]

    def check_network(self, before: str, after: str) -> None:
        """Refuse a run whose network this program no longer has.

        Args:
            before: What the message begins with.
            after: What to do instead.

        Raises:
            UserError: It was made with the bundled network of earlier versions.
        """
        if self.weights.get("sha256") == RETIRED.sha256:
            raise UserError(
                f"{before} was made with {RETIRED.generation}, which --weights=bundled no longer is, {after}"
            )


MANIFEST = 4
"""Version of the form of `run.json`. Version 1 did not say so, and had the circumstances at the top level;
version 2 had one style; in version 3 the precision `auto` stayed undecided, and float32 could be TF32."""

_ENDS = ("steps", "seconds", "final", "best")
_KINDS = {
    **dict.fromkeys(("config", "job", "inputs", "weights", "circumstances", "final", "best"), dict),
    **dict.fromkeys(("resumed", "notes"), list),
    **dict.fromkeys(("steps", "form"), int),
    "seconds": (int, float),
}


def _of_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of version 1 in the form and the words of version 2."""
    config = facts.get("config")
    if isinstance(config, dict) and "enlarge" not in config and config.get("style_size") == -1:
        # It meant --image_size; now it means the size of the result.
        config = config | {"style_size": config.get("image_size", 512)}
    at_the_top = {name: facts[name] for name in ("device", "python", "machine", "packages") if name in facts}
    return {"circumstances": at_the_top, **facts, "config": config}


def _of_version_2(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of one style in the form for several."""
    config, job = facts.get("config"), facts.get("job")
    if isinstance(config, dict) and isinstance(config.get("style_scale"), int | float):
        config = config | {"style_scale": [float(config["style_scale"])]}
    if isinstance(job, dict) and isinstance(job.get("style"), str):
        job = job | {"style": [job["style"]]}
    return facts | {name: value for name, value in (("config", config), ("job", job)) if value is not None}


class ManifestWriter(Listener):
    """Writes `run.json` at the start and at the end of a run.

    Args:
        path: The file.
        config: The resolved settings.
        job: The files.
        inputs: Role → picture, as of `Job.pictures`.
        init: SHA-256 of the file that `config.init` names, or None.
        weights: The network.
        device: Its name.
        earlier: The manifest before, of a run that is continued.
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
        earlier: Manifest | None = None,
    ) -> None:
        self._path = path
        files: dict[str, dict[str, Any]] = {
            role: {"path": str(picture.path), "sha256": picture.sha256, "notes": list(picture.notes)}
            for role, picture in inputs.items()
        }
        if init is not None:
            files["init"] = {"path": config.init, "sha256": init}
        self._manifest = Manifest(
            config=from_anywhere(flat(config)),
            job=from_anywhere(flat(job)) | {"output": _recorded_output(job, earlier)},
            inputs=files,
            weights={
                "network": weights.architecture.name,
                "origin": weights.origin,
                "source": weights.source,
                "sha256": weights.sha256,
                "generation": weights.generation,
                "notes": list(weights.notes),
            },
            circumstances=circumstances(device),
            started=earlier.started if earlier else _now(),
            resumed=(*earlier.resumed, _now()) if earlier else (),
            notes=earlier.notes if earlier else (),
            # Until there are newer ones.
            **({name: getattr(earlier, name) for name in _ENDS} if earlier else {}),
        )
        self._last: Record | None = None
        self._notes: list[str] = []
        self._write()

    def on_step(self, record: Record) -> None:
        """Remember the newest losses."""
        self._last = record
        self._notes += record.notes

    def finish(self, status: str) -> None:
        """Write the end of the run: `finished`, `interrupted` or `failed: …`."""
        end: dict[str, Any] = {}
        if self._last is not None:
            end = {
                "steps": self._last.step,
                "seconds": round(self._last.seconds, 3),
                "final": dict(self._last.terms),
                "best": self._last.least,
            }
        notes = (*self._manifest.notes, *self._notes)
        self._manifest = dataclasses.replace(self._manifest, status=status, ended=_now(), notes=notes, **end)
        self._write()

    def _write(self) -> None:
        write_text(self._path, self._manifest.to_json())


def from_the_root(path: str) -> str:
    """Return a path of a file that means the same in every folder; a link itself, not what it leads to."""
    return str(Path(path).parent.resolve() / Path(path).name)


def _recorded_output(job: Job, earlier: Manifest | None) -> str:
    """Return the path of `--output` from the root, or that of an earlier part of the run."""
    if job.output:
        return from_the_root(job.output)
    return str(earlier.job.get("output", "")) if earlier else ""


def facts_in_common(config: Config, hashes: dict[str, str], weights: Weights) -> dict[str, Any]:
    """Return what all workers of a run must have in common: name → value.

    Args:
        config: The resolved settings.
        hashes: Role of each picture and, if `--init` names a file, `init` → SHA-256; a file's path may be
            another elsewhere.
        weights: The network.
    """
    facts = {f"--{name}": value for name, value in flat(config).items()}
    if "init" in hashes:
        facts["--init"] = hashes["init"]
    files = {f"the {role} picture": value for role, value in hashes.items() if role != "init"}
    versions = {name: _version(name) for name in ("tensorflow", "keras")}
    return facts | files | {"the weights": weights.sha256, "neural-style-tf": __version__} | versions


def circumstances(device: str) -> dict[str, Any]:
    """Return what is no setting and may yet change the bits of a result."""
    packages = (*PACKAGES, *(["pyvips"] if deep.is_installed() else []))
    return {
        "device": device,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Installed under another name, as keras-nightly is with a prerelease of TensorFlow.
        return importlib.import_module(package).__version__


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
            for line in flag_texts(name, _absolute(name, value)):
                # A flag file is read line by line, and lines are stripped.
                if [line] == line.strip().splitlines():
                    lines.append(line)
                    continue
                lines.append(f"# cannot be written: {line!r}")
                if name in FILE_FLAGS:
                    # Without this picture it would be another painting: such a flag is refused.
                    lines.append(f"--{name}_cannot_be_written")
    return "\n".join(lines) + "\n"


def settings_table(config: Config, job: Job) -> dict[str, bool | int | float | str]:
    """Return name → value of every setting, lists as a flag has them, one number as itself."""

    def simple(value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        return value[0] if len(value) == 1 and isinstance(value[0], float) else format_list(value)

    return {name: simple(value) for settings in (config, job) for name, value in flat(settings).items()}


def flag_texts(name: str, value: Any) -> list[str]:
    """Return `--name=value`, or `--name` and `--noname`; one for each of several files."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no{name}"]
    if name in REPEATED_FILES:
        return [f"--{name}={file}" for file in value]
    return [f"--{name}={_text(value)}"]


def _absolute(name: str, value: Any) -> Any:
    """Return the value of a flag so that it means the same in another folder."""
    if isinstance(value, tuple | list) and name in REPEATED_FILES:
        return tuple(_absolute(name, one) for one in value)
    if not isinstance(value, str) or not value:
        return value
    is_file = name in FILE_FLAGS or (name in ("weights", "init") and Path(value).is_file())
    return str(Path(value).absolute()) if is_file else value


def from_anywhere(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, with paths that hold in every folder."""
    return {name: _absolute(name, value) for name, value in fields.items()}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return format_list(value)
    return repr(value) if isinstance(value, float) else str(value)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
