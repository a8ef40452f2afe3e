"""The folder of a sweep: a folder for each run, and `sweep.json`, which says what the sweep is."""

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
"""Folder of a run in that of the sweep → name of each swept setting → its value, as a flag takes it."""
SWEEP_FORMAT = 1
LOCK_SECONDS = 10.0
"""How long to wait for another process that writes `sweep.json`."""
LONGEST_FOLDER = 120
"""Longest name of a run's folder, in bytes; a run with a longer one is numbered."""


def safe(name: str, value: str) -> str:
    """Return the value of a setting as part of a file name; of a file, its name without the ending."""
    text = Path(value).stem if name in tagged("reads", Config, Job) else value
    return re.sub(r"[^\w.+\-]+", "_", text) or "_"


def name_runs(settings: Sequence[Mapping[str, str]], known: Runs | None = None) -> Runs:
    """Name the folder of each run: `style_weight=10,tv_weight=0`. A taken or too long one gets a number.

    The runs in `known` keep the names of an earlier command, whatever is swept now.
    """
    names = {frozenset(values.items()): folder for folder, values in (known or {}).items()}
    # Some systems do not tell A from a.
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
    """Yield names for a folder, the best first."""
    if len(best.encode()) <= LONGEST_FOLDER:
        yield best
        yield from (f"{best}-{number}" for number in itertools.count(2))
    yield from (f"run-{number:04}" for number in itertools.count(1))


class SweepFolder:
    """`sweep.json` in the folder of a sweep, which is made when the first run is written.

    Attributes:
        runs: All that were begun in this folder.
        joined: The user's own file that the runs were joined in, from the root; or "".

    Raises:
        UserError: There is a `sweep.json` that this program did not write.
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
        """Refuse other values of what is not swept, in JSON's types, than the sweep was begun with."""
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

    def write(self, axes: Mapping[str, Sequence[str]], base: Mapping[str, Any], runs: Runs) -> None:
        """Write what the sweep is; runs of an earlier, other space stay listed.

        UserError: another process added other runs meanwhile, under the same names.
        """
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._read()
            if any(self.runs.get(folder, settings) != settings for folder, settings in runs.items()):
                raise UserError(f"another command has added runs to {show(self.path)}: give this one again")
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
        """Remember the user's own file that the runs were joined in."""
        with self._locked():
            facts = json.loads(self._file.read_text(encoding="utf-8"))
            write_text(self._file, json.dumps(facts | {"joined": output}, indent=2) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes, such as other shards, from writing `sweep.json`."""
        lock = Lock(self.path / LOCK)
        if not lock.acquire(LOCK_SECONDS):
            raise UserError(f"{show(self.path / LOCK)} is held by another process: end that one")
        try:
            yield
        finally:
            lock.release()
