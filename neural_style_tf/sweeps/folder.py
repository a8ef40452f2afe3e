"""The folder of a sweep: it has a folder for each run, and `sweep.json`, which records the sweep."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_style_tf import __version__
from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.runs.output_dir import LOCK, writable
from neural_style_tf.utils.files import Lock, exists, write_text

Runs = Mapping[str, Mapping[str, str]]
"""For each run, by the name of its folder: the value of each swept setting, as text that a flag takes."""
SWEEP_FORMAT = 1
LOCK_SECONDS = 10.0
"""How long to wait while another process writes `sweep.json`."""
LONGEST_FOLDER = 120
"""Longest name, in bytes, of a run's folder; instead of a longer name, the run gets a number."""


def safe(name: str, value: str) -> str:
    """Return a value of setting `name` for use in a file name; a path is reduced to its stem."""
    text = Path(value).stem if name in tagged("reads", Config, Job) else value
    return re.sub(r"[^\w.+\-]+", "_", text) or "_"


def name_runs(settings: Sequence[Mapping[str, str]], known: Runs | None = None) -> Runs:
    """Return the runs with these `settings` by the names of their folders, such as `style_weight=10,seed=0`.

    A name that is taken or too long gets a number. A run in `known`, from an earlier command, keeps its name.
    """
    names = {frozenset(values.items()): folder for folder, values in (known or {}).items()}
    # Some file systems ignore case.
    taken, runs = {folder.casefold() for folder in names.values()}, {}
    for values in settings:
        folder = names.get(frozenset(values.items()))
        if folder is None:
            best = ",".join(f"{name}={safe(name, value)}" for name, value in values.items()) or "run"
            folder = next(name for name in _folder_names(best) if name.casefold() not in taken)
            taken.add(folder.casefold())
        runs[folder] = dict(values)
    return runs


def _folder_names(best: str) -> Iterator[str]:
    """Yield possible names for a folder: `best`, unless it is too long, then names with numbers."""
    if len(best.encode()) <= LONGEST_FOLDER:
        yield best
        yield from (f"{best}-{number}" for number in itertools.count(2))
    yield from (f"run-{number:04}" for number in itertools.count(1))


class SweepFolder:
    """Reads and writes `sweep.json` in the folder of a sweep; `write` creates both.

    `runs` has also those of earlier commands. `joined` is the absolute path of the user's file (`--output`)
    into which the runs were joined, or "". Raises `UserError` if this version did not write the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, path / "sweep.json"
        self._read()

    def _read(self) -> None:
        self._base: dict[str, Any] | None = None
        self.runs: dict[str, dict[str, str]] = {}
        self.joined = ""
        if exists(self._file):
            try:
                facts = json.loads(self._file.read_text(encoding="utf-8"))
                if facts["sweep"] != SWEEP_FORMAT:
                    raise ValueError
                self._base, self.joined = dict(facts["base"]), str(facts["joined"])
                self.runs = {folder: dict(settings) for folder, settings in facts["runs"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise UserError(
                    f"{show(self._file)} is not one that this version wrote: give another --output_dir"
                ) from None

    def check(self, base: Mapping[str, Any]) -> None:
        """Raise `UserError` if a setting that is not swept, in `base`, has changed since the sweep began."""
        if self._base is None:
            return
        then, now = self._base, json.loads(json.dumps(dict(base)))

        def shown(values: Mapping[str, Any], name: str) -> str:
            return repr(values[name]) if name in values else "not given"

        differences = [
            f"--{name} was {shown(then, name)}, now {shown(now, name)}"
            for name in sorted(then.keys() | now.keys())
            # The result does not depend on the tiles; see `runs.resume`.
            if name != "tile" and then.get(name) != now.get(name)
        ]
        if differences:
            raise UserError(
                f"this is not the sweep in {show(self.path)}: {'; '.join(differences)}. "
                "Give another --output_dir"
            )

    def write(self, axes: Mapping[str, Sequence[str]], base: Mapping[str, Any], runs: Runs) -> None:
        """Write `sweep.json`; runs of earlier commands, with other values, stay in the list.

        `axes` has the values of each swept setting, `base` all other settings. Raise `UserError` if another
        process has added different runs with the same names meanwhile.
        """
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._read()
            if any(self.runs.get(folder, settings) != settings for folder, settings in runs.items()):
                raise UserError(f"another command has added runs to {show(self.path)}: repeat this one")
            facts = {
                "sweep": SWEEP_FORMAT,
                "version": __version__,
                "space": {name: list(values) for name, values in axes.items()},
                "base": dict(base),
                "runs": self.runs | dict(runs),
                "joined": self.joined,
            }
            write_text(self._file, json.dumps(facts, indent=2) + "\n")

    def note_joined(self, output: str) -> None:
        """Record the path of the user's file into which the runs are joined."""
        with self._locked():
            facts = json.loads(self._file.read_text(encoding="utf-8"))
            write_text(self._file, json.dumps(facts | {"joined": output}, indent=2) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of `sweep.json`, so that no other process, such as another shard, writes it."""
        lock = Lock(self.path / LOCK)
        if not lock.acquire(LOCK_SECONDS):
            raise UserError(f"{show(self.path / LOCK)} is locked by another process: stop that process")
        try:
            yield
        finally:
            lock.release()
