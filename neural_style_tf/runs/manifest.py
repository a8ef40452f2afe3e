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
from neural_style_tf.config.fields import flat, tagged, to_flags
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.images import Picture, deep
from neural_style_tf.transfer.records import Listener, Measurer, Record
from neural_style_tf.utils.files import write_text
from neural_style_tf.weights import Weights

FORM = 1
"""Version of the format of `run.json`."""
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "pillow")
FOREIGN = "it is not one that this program wrote"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of `run.json`: how a result was made, and how to repeat the run."""

    config: Mapping[str, Any]  # name of each setting of `Config` → its value, in JSON's types
    # Role of each picture (`Job.pictures`, and `init` if `--init` is a file) → its path, sha256 and notes.
    inputs: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, Any]  # network, origin, source, sha256, generation, notes
    job: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the settings of `Job`, like `config`
    circumstances: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # from `circumstances`
    status: str = "running"  # or `finished`, `interrupted`, `failed: …`
    version: str = __version__
    started: str = ""  # ISO 8601, like `ended` and each time in `resumed`
    resumed: tuple[str, ...] = ()
    ended: str = ""
    notes: tuple[str, ...] = ()
    steps: int | None = None  # number of updates of the pixels; of a clip, number of the last frame
    seconds: float | None = None
    final: Mapping[str, float] | None = None  # name of each loss → its value at the last step
    best: Mapping[str, float] | None = None  # `step` and `total`: step and total loss of the result
    # Name of each quality measure (`evaluation.columns`) → its value for the finished result.
    measures: Mapping[str, float] | None = None

    def to_json(self) -> str:
        """Return the text of `run.json`. Fields without a value (None or "") are left out."""
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        return json.dumps({"manifest": FORM, **known}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Return what `to_json` wrote; raise ValueError if the text is another's, or another version's."""
        try:
            facts = json.loads(text)
        # RecursionError: the text has thousands of nested brackets.
        except (ValueError, RecursionError):
            raise ValueError(FOREIGN) from None
        form = facts.get("manifest") if isinstance(facts, dict) else None
        if type(form) is not int:
            raise ValueError(FOREIGN)
        if form != FORM:
            raise ValueError(
                f"another version of this program wrote it (form {form}, not {FORM}): paint anew"
            )
        values = {field.name: facts[field.name] for field in dataclasses.fields(cls) if field.name in facts}
        kinds = {name: _KINDS.get(name, str) for name in ("config", "inputs", "weights", *values)}
        if not all(isinstance(values.get(name), kind) for name, kind in kinds.items()):
            raise ValueError(FOREIGN)
        if not all(isinstance(file, dict) for file in values["inputs"].values()):
            raise ValueError(FOREIGN)
        return cls(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        )

    def changed_files(self, hashes: Mapping[str, str]) -> list[str]:
        """Return a phrase for each file that differs from the recorded one, or is new or missing.

        `hashes` maps the role of each present file to its SHA-256. Missing pictures are reported only if it
        has the content picture.
        """
        recorded = dict(self.inputs) | {"weights": self.weights}
        changed = [
            f"the {role} file is " + ("another one" if role in recorded else "new")
            for role, sha256 in hashes.items()
            if recorded.get(role, {}).get("sha256") != sha256
        ]
        missing = self.inputs.keys() - hashes.keys() - {"init"} if "content" in hashes else ()
        return changed + [f"the {role} file is not given" for role in sorted(missing)]


def read_manifest(path: str | Path, advice: str) -> Manifest:
    """Return the manifest in a file; raise UserError, whose message ends with `advice`, if there is none."""
    try:
        return Manifest.from_json(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{show(path)} cannot be read as the run.json of a run: {why}; {advice}") from None


def end_killed(path: Path) -> None:
    """Set the status in the `run.json` at `path` to `interrupted`, if a killed process left it `running`."""
    manifest = read_manifest(path, "")
    if manifest.status == "running":
        write_text(path, dataclasses.replace(manifest, status="interrupted", ended=_now()).to_json())


_KINDS = {
    **dict.fromkeys(
        ("config", "job", "inputs", "weights", "circumstances", "final", "best", "measures"), dict
    ),
    **dict.fromkeys(("resumed", "notes"), list),
    "steps": int,
    "seconds": (int, float),
}


class ManifestWriter(Listener):
    """Writes `run.json` at the start and at the end of a run.

    Args:
        inputs: Role of each picture → the picture.
        init: SHA-256 of the file that `config.init` names; None if it names no file.
        earlier: The manifest of the earlier part of a resumed run; None for a new run.
        measure: Measures the result of a finished run; None to leave this out.
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
        measure: Measurer | None = None,
    ) -> None:
        self._path, self._measure = path, measure
        files: dict[str, dict[str, Any]] = {
            role: {"path": str(picture.path), "sha256": picture.sha256, "notes": list(picture.notes)}
            for role, picture in inputs.items()
        }
        if init is not None:
            files["init"] = {"path": config.init, "sha256": init}
        # A resumed run keeps the `--output` of its earlier part.
        output = from_the_root(job.output) if job.output or not earlier else earlier.job.get("output", "")
        # `started`, the notes and the last figures are those of the earlier part, until new ones are known.
        former = earlier or Manifest({}, {}, {}, started=_now())
        self._manifest = dataclasses.replace(
            former,
            config=with_absolute_paths(flat(config)),
            job=with_absolute_paths(flat(job)) | {"output": output},
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
            status="running",
            version=__version__,
            resumed=(*former.resumed, _now()) if earlier else (),
            ended="",
        )
        self._last: Record | None = None
        self._notes: list[str] = []
        self._write()

    def on_step(self, record: Record) -> None:
        """Keep `record` for `finish`, which writes its losses, and collect its notes."""
        self._last = record
        self._notes += record.notes

    def finish(self, status: str) -> None:
        """Write `run.json` at the end of the run. `status` is `finished`, `interrupted` or `failed: …`."""
        end: dict[str, Any] = {}
        if self._last is not None:
            end = {
                "steps": self._last.step,
                "seconds": round(self._last.seconds, 3),
                "final": dict(self._last.terms),
                "best": self._last.least,
                "measures": self._measure(self._last) if self._measure and self._last.finished else None,
            }
        notes = (*self._manifest.notes, *self._notes, *(self._measure.notes if self._measure else ()))
        self._manifest = dataclasses.replace(self._manifest, status=status, ended=_now(), notes=notes, **end)
        self._write()

    def _write(self) -> None:
        write_text(self._path, self._manifest.to_json())


def facts_in_common(config: Config, hashes: dict[str, str], weights: Weights) -> dict[str, Any]:
    """Return what must be equal on all workers of a run, by name: of files not names, but `hashes`."""
    facts = {f"--{name}": value for name, value in flat(config).items()}
    if "init" in hashes:
        facts["--init"] = hashes["init"]
    files = {f"the {role} picture": sha256 for role, sha256 in hashes.items() if role != "init"}
    versions = {name: version_of(name) for name in ("tensorflow", "keras")}
    return facts | files | {"the weights": weights.sha256, "neural-style-tf": __version__} | versions


def circumstances(device: str) -> dict[str, Any]:
    """Return what may change the bits of a result but is no setting: device, versions and processor type."""
    packages = (*PACKAGES, *(["pyvips"] if deep.is_installed() else []))
    return {
        "device": device,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version_of(name) for name in packages},
    }


def version_of(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # The package is installed under another name, as keras-nightly with a prerelease of TensorFlow.
        return importlib.import_module(package).__version__


def flag_lines(config: Config, job: Job) -> str:
    """Return the text of a flag file that repeats a run. It can be used from any folder of this machine."""
    lines = [f"# neural-style-tf {__version__}; repeat with --flagfile=THIS --output_dir=ANOTHER"]
    for name, value in with_absolute_paths(flat(config) | flat(job)).items():
        if name in tagged("anew", Job) or value == "":
            continue
        for line in to_flags(SETTINGS[name], value):
            # Flag files are read line by line, and lines are stripped.
            if [line] == line.strip().splitlines():
                lines.append(line)
                continue
            # Write a flag that does not exist, so that the file is refused. Without the setting the result
            # would be another one.
            lines += [f"# cannot be written: {line!r}", f"--{name}_cannot_be_written"]
    return "\n".join(lines) + "\n"


def from_the_root(path: str) -> str:
    """Return `path` as an absolute path. Links are resolved, except in its last part; "" stays ""."""
    return str(Path(path).parent.resolve() / Path(path).name) if path else ""


def with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings `values` with absolute paths of all files and folders that a run reads."""

    def absolute(name: str, value: Any) -> Any:
        if name not in tagged("reads", Config, Job):
            return value
        if isinstance(value, tuple):
            return tuple(map(from_the_root, value))
        is_word = SETTINGS[name].metadata["choices"] and not Path(value).is_file()
        return value if is_word else from_the_root(value)

    return {name: absolute(name, value) for name, value in values.items()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
