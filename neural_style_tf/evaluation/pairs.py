"""Find paintings, the photo and style picture (the pair) of each, and the system that painted it."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neural_style_tf.config.fields import tagged
from neural_style_tf.config.parsing import to_text
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.images.files import expand_files
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.resume import find_manifest
from neural_style_tf.utils.files import is_file
from neural_style_tf.utils.numbered import natural

COLUMNS = ("result", "content", "style")
"""Columns that a CSV of pairs must have; it may also have a column `system`."""
REPORT = {ending: f"evaluation{ending}" for ending in (".csv", ".json", ".md", ".tex", ".png")}
"""Name of the file of a report, by its ending. These files may lie among the paintings."""


@dataclasses.dataclass(frozen=True, order=True)
class System:
    """What made paintings: a program, or a program with the settings of one run of a sweep."""

    name: str  # in tables
    line: str = ""  # in the figure, a line joins the systems with the same `line`; "" for none
    place: float = 0.0  # rank on that line


@dataclasses.dataclass(frozen=True)
class PairedPainting:
    """A painting with its photo and style picture."""

    system: System
    result: Path
    content: Path
    style: Path

    @property
    def pair(self) -> tuple[str, str]:
        """Stems of the file names of photo and style picture: the key that pairs the results of systems."""
        return self.content.stem, self.style.stem


@dataclasses.dataclass
class Search:
    """Finds paintings and their pairs, and lists the pictures that have no pair."""

    contents: Sequence[Path] = ()  # photos that a painting can be of
    styles: Sequence[Path] = ()  # style pictures that a painting can be of
    paintings: list[PairedPainting] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)  # a line for each picture without a pair
    _titles: set[str] = dataclasses.field(default_factory=set)
    _taken: dict[tuple, PairedPainting] = dataclasses.field(default_factory=dict)

    def add(self, name: str) -> None:
        """Add the paintings of `name`: a folder of runs or of pictures, one picture, or a CSV of pairs.

        Raises:
            UserError: `name` does not exist, holds no painting, or is a CSV of another form.
        """
        path, before = Path(name), len(self.problems)
        title = path.resolve().parent.name if is_file(path) else path.resolve().name
        # If two folders have the same name, the second is called by its path.
        title = show(name) if title in self._titles else title
        self._titles.add(title)
        if is_file(path) and path.suffix.lower() == ".csv":
            found = self._of_table(path)
        elif is_file(path):
            found = self._of_pictures([path], title)
        elif not path.is_dir():
            raise UserError(f"{show(name)} does not exist: give a folder of paintings, or a CSV of pairs")
        elif manifests := sorted(path.rglob("run.json"), key=lambda file: natural(str(file))):
            found = self._of_runs(title, [file.parent for file in manifests])
        elif pictures := [file for file in map(Path, expand_files(name)) if file.name not in REPORT.values()]:
            found = self._of_pictures(pictures, title)
        else:
            raise UserError(f"{show(name)} holds no picture and no run")
        for painting in found:
            key = painting.system.name, painting.pair
            if (earlier := self._taken.setdefault(key, painting)) is painting:
                self.paintings.append(painting)
            else:
                self.problems.append(
                    f"{show(painting.result)}: {painting.system.name} has a painting of this pair already, "
                    f"{show(earlier.result)}"
                )
        if not found and len(self.problems) == before:
            raise UserError(f"{show(name)} holds no painting")

    def _of_table(self, path: Path) -> list[PairedPainting]:
        """Return the paintings that a CSV lists; paths in it are relative to its folder."""
        rows = read_table(path, show(path))
        if not rows or not set(COLUMNS) <= rows[0].keys():
            raise UserError(
                f"{show(path)} must have the columns {', '.join(COLUMNS)}, and may have `system`, and a row "
                "for each painting"
            )
        found = []
        for number, row in enumerate(rows, 2):
            files = [row[column] or "" for column in COLUMNS]
            if all(files):
                system = System(row.get("system") or path.stem)
                found.append(PairedPainting(system, *(path.parent / file for file in files)))
            else:
                self.problems.append(f"{show(path)}, line {number}: an empty cell")
        return found

    def _of_pictures(self, pictures: Iterable[Path], name: str) -> list[PairedPainting]:
        """Return the paintings whose file names consist of the names of one photo and one style picture."""
        if not self.contents or not self.styles:
            raise UserError(
                f"{show(name)} holds no run.json, which would say what was painted from what: give --content "
                "and --style, or a CSV with the columns result, content, style"
            )
        found = []
        for picture in pictures:
            pairs = self._pairs_of(picture)
            if len(pairs) == 1:
                found.append(PairedPainting(System(name), picture, *pairs[0]))
            else:
                kind = "several pairs have" if pairs else "no photo and style picture have"
                self.problems.append(f"{show(picture)}: {kind} this name; expected photo_style.png")
        return found

    def _pairs_of(self, picture: Path) -> list[tuple[Path, Path]]:
        everything = [(content, style) for content in self.contents for style in self.styles]
        if len(everything) == 1:
            return everything
        words = _words(picture)
        return [
            (content, style)
            for content, style in everything
            if words
            in (
                _words(content) + _words(style),
                (*_words(content), "stylized", *_words(style)),
                (*_words(content), *_words(style), "stylized"),
            )
        ]

    def _of_runs(self, title: str, folders: Sequence[Path]) -> list[PairedPainting]:
        """Return the results of this program's runs; their manifests (`run.json`) name photo and style."""
        manifests: dict[Path, tuple[Manifest, Path, Path]] = {}
        for folder in folders:
            try:
                manifest = find_manifest(folder)
                manifests[folder] = manifest, *self._inputs_of(manifest, folder)
            except UserError as error:
                self.problems.append(str(error))
        names = name_systems({folder: manifest for folder, (manifest, *_) in manifests.items()}, title)
        return [
            PairedPainting(names[folder], folder / "result.png", content, style)
            for folder, (_, content, style) in manifests.items()
        ]

    def _inputs_of(self, manifest: Manifest, folder: Path) -> list[Path]:
        """Return photo and style picture of a run; raise `UserError` if its result cannot be measured."""
        if manifest.status != "finished":
            raise UserError(f"{show(folder)}: this run is {manifest.status.partition(':')[0]}, not finished")
        if not is_file(folder / "result.png"):
            kind = "a clip" if (folder / "result.mp4").exists() else "without result.png"
            raise UserError(f"{show(folder)}: this run is {kind}; expected a picture")
        styles = manifest.job.get("style", ())
        if len(styles) != 1 and len(self.styles) != 1:
            raise UserError(f"{show(folder)}: a blend of {len(styles)} style pictures; --style names one")
        recorded = (manifest.job.get("content", ""), (*styles, "")[0])
        return [
            _find(name, known, folder)
            for name, known in zip(recorded, (self.contents, self.styles), strict=True)
        ]


def read_table(path: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dicts; messages call the file `name`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} cannot be read as a CSV: {error}") from None


def _find(name: str, known: Sequence[Path], folder: Path) -> Path:
    """Return which of `known`, the files that the user names, the run in `folder` read as `name`.

    It is the one of the same name, else `name` itself, else the only one.
    """
    named = [path for path in known if path.name == Path(name).name]
    if not named and is_file(name):
        return Path(name)
    if not named and len(known) != 1:
        raise UserError(f"{show(folder)}: {show(name)}, which it was painted from, is no longer there")
    return (named or known)[0]


def _words(path: Path) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[_\-\s]+", path.stem.casefold())))


def name_systems(runs: Mapping[Path, Manifest], title: str) -> dict[Path, System]:
    """Return the system of each run, by its folder: `title`, and the settings in which the runs differ.

    A setting is left out if earlier ones already tell the same runs apart, as `preset` does for the settings
    in it. A setting that `auto` chose depends on the size of the photo. It is used only if two runs of one
    pair differ in nothing else.
    """
    swept = {folder: _settings(manifest) for folder, manifest in runs.items()}
    names = list(next(iter(swept.values()), {}))
    chosen = [name for name in names if name in tagged("auto", Config)]
    kept, groups = [], dict.fromkeys(runs, ())
    for name in [name for name in names if name not in chosen] + chosen:
        finer = {folder: (*groups[folder], swept[folder].get(name, "")) for folder in runs}
        if len(set(finer.values())) == len(set(groups.values())):
            continue
        paintings = {(*groups[folder], *_pictures(manifest)) for folder, manifest in runs.items()}
        if name in chosen and len(paintings) == len(runs):
            continue
        kept.append(name)
        groups = finer
    if not kept:
        return dict.fromkeys(runs, System(title))
    last = sorted({values[-1] for values in groups.values()}, key=_order)
    systems = {}
    for folder, values in groups.items():
        *others, _ = texts = [f"{name}={value}" for name, value in zip(kept, values, strict=True)]
        line = ", ".join([title, *others])
        systems[folder] = System(f"{title}: {', '.join(texts)}", line, float(last.index(values[-1])))
    return systems


def _settings(manifest: Manifest) -> dict[str, str]:
    """Return the settings that can tell systems apart: all of `Config`, and of `Job` those of a sweep."""
    of_job = set(tagged("swept", Job)) - set(tagged("picture", Job))
    job = {name: value for name, value in manifest.job.items() if name in of_job}
    return {name: to_text(_frozen(value)) for name, value in {**manifest.config, **job}.items()}


def _pictures(manifest: Manifest) -> tuple[str, str]:
    return str(manifest.job.get("content")), str(manifest.job.get("style"))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _order(text: str) -> tuple[float, list]:
    """Return a sort key that puts numbers first, by their value, and words after them."""
    try:
        return float(text), []
    except ValueError:
        return float("inf"), natural(text)
