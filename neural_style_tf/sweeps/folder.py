"""The folder of a sweep: a folder for each run, and `sweep.json`, which says what the sweep is."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_style_tf import __version__
from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.runs.output_dir import LOCK, writable
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.utils.lock import Lock
from neural_style_tf.utils.paths import exists

FORMAT = 1
# How long to wait for another process that writes `sweep.json`.
LOCK_SECONDS = 10.0
# The longest name of a run's folder, in bytes; a longer one is numbered.
LONGEST_NAME = 120


@dataclasses.dataclass(frozen=True)
class SweptRun:
    """One run of a sweep.

    Attributes:
        settings: Name of a swept setting → its value, as a flag takes it.
        folder: Name of its folder in that of the sweep.
    """

    settings: Mapping[str, str]
    folder: str


def safe(name: str, value: str) -> str:
    """Return the value of a setting as part of a file name; of a file, its name without the ending."""
    text = Path(value).stem if name in tagged("reads", Config, Job) else value
    return re.sub(r"[^\w.+\-]+", "_", text) or "_"


def name_runs(
    settings: Sequence[Mapping[str, str]], known: Mapping[str, str] | None = None
) -> list[SweptRun]:
    """Name the folder of each run: `style_weight=10,tv_weight=0`. A taken or too long one gets a number.

    Args:
        settings: Those of each run.
        known: `key` of a run → its folder, from an earlier call. These names stay, whatever is swept now.
    """
    known = known or {}
    # Some systems do not tell A from a.
    taken, runs = {name.casefold() for name in known.values()}, []
    for values in settings:
        folder = known.get(key(values))
        if folder is None:
            names = _names(",".join(f"{name}={safe(name, value)}" for name, value in values.items()) or "run")
            folder = next(name for name in names if name.casefold() not in taken)
            taken.add(folder.casefold())
        runs.append(SweptRun(dict(values), folder))
    return runs


def _names(best: str) -> Iterator[str]:
    """Yield names for a folder, the best first."""
    if len(best.encode()) <= LONGEST_NAME:
        yield best
        yield from (f"{best}-{number}" for number in itertools.count(2))
    yield from (f"run-{number:04}" for number in itertools.count(1))


def key(settings: Mapping[str, str]) -> str:
    """Return what tells a run from others: its settings, in any order."""
    return json.dumps(dict(sorted(settings.items())))


class SweepFolder:
    """`sweep.json` in the folder of a sweep, which is made when the first run is written.

    Attributes:
        known: `key` of a run → its folder.
        joined: The user's own file that its runs were joined in, from the root; or "".

    Raises:
        UserError: There is a `sweep.json` that this program did not write.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path / "sweep.json"
        self._read()

    def _read(self) -> None:
        self._base: dict[str, Any] | None = None
        self._runs: dict[str, dict] = {}
        self.known: dict[str, str] = {}
        self.joined = ""
        if exists(self._file):
            try:
                facts = json.loads(self._file.read_text(encoding="utf-8"))
                if facts["sweep"] != FORMAT:
                    raise ValueError
                self._base, self.joined = dict(facts["base"]), str(facts["joined"])
                self._runs = {key(run["settings"]): run for run in facts["runs"]}
                self.known = {name: str(run["folder"]) for name, run in self._runs.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise UserError(
                    f"{show(self._file)} is not one that this version wrote: give another --output_dir"
                ) from None

    def check(self, base: Mapping[str, Any]) -> None:
        """Refuse other settings than the sweep was begun with.

        Args:
            base: Name → value of every setting that is not swept, in JSON's types.

        Raises:
            UserError: Naming each difference.
        """
        if self._base is None:
            return
        then, now = self._base, json.loads(json.dumps(dict(base)))

        def shown(values: Mapping[str, Any], name: str) -> str:
            return repr(values[name]) if name in values else "not given"

        differences = [
            f"--{name} was {shown(then, name)}, now {shown(now, name)}"
            for name in sorted(then.keys() | now.keys())
            # With other tiles the same is computed; see `runs.resume`.
            if name != "tile" and then.get(name) != now.get(name)
        ]
        if differences:
            raise UserError(
                f"this is not the sweep in {show(self.path)}: {'; '.join(differences)}. "
                "Give another --output_dir"
            )

    def write(
        self, axes: Mapping[str, Sequence[str]], base: Mapping[str, Any], runs: Sequence[SweptRun]
    ) -> None:
        """Write what the sweep is; runs of an earlier, other space stay listed.

        Raises:
            UserError: The folder cannot be made, or another process added other runs meanwhile, under the
                same names.
        """
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._read()
            all_runs = self._runs | {key(run.settings): dataclasses.asdict(run) for run in runs}
            if len({run["folder"] for run in all_runs.values()}) < len(all_runs):
                raise UserError(f"another command has added runs to {show(self.path)}: give this one again")
            facts = {
                "sweep": FORMAT,
                "version": __version__,
                "space": {name: list(values) for name, values in axes.items()},
                "base": dict(base),
                "runs": list(all_runs.values()),
                "joined": self.joined,
            }
            write_text(self._file, json.dumps(facts, indent=2) + "\n")

    def note_joined(self, output: str) -> None:
        """Remember the user's own file that the runs were joined in."""
        with self._locked():
            facts = json.loads(self._file.read_text(encoding="utf-8"))
            write_text(self._file, json.dumps(facts | {"joined": output}, indent=2) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes, such as other shards, from writing `sweep.json`."""
        lock, begun = Lock(self.path / LOCK), time.monotonic()
        while not lock.acquire():
            if time.monotonic() - begun > LOCK_SECONDS:
                raise UserError(f"{show(self.path / LOCK)} is held by another process: end that one")
            time.sleep(0.05)
        try:
            yield
        finally:
            lock.release()
