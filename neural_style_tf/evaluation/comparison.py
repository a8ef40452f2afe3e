"""Compare systems: programs, or settings of one program, that painted the same pairs of photo and style.

Two controls are measured like paintings: the photo, which has no style, and the style picture, which has no
content.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cachetools
import numpy as np

from neural_style_tf.errors import UserError, show
from neural_style_tf.evaluation.columns import MEASURES, SUMS, Measure, axis_shares, judge
from neural_style_tf.evaluation.looks import Appearance, Trial, Viewer, cropped, judged_size, read
from neural_style_tf.evaluation.pairs import PairedPainting, System, read_table
from neural_style_tf.evaluation.statistics import (
    Estimate,
    difference,
    mean,
    spearman_of_differences,
    win_rate,
)
from neural_style_tf.images import resize

PHOTO, STYLE = System("(the photo)"), System("(the style picture)")
"""The two controls, which are rows of each table like the systems."""
STRETCHED = 0.02
"""Relative difference of the aspect ratios of a painting and its photo above which a note says so."""
STYLES_KEPT, PHOTOS_KEPT = 32, 1
"""Pictures whose features stay in memory for further pairs; those of a photo take 0.1 GB at 512 pixels."""
Pair = tuple[str, str]
"""Names of a photo and a style picture: their file names without ending."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The values of a painting, or of a control, by the name of the measure."""

    system: System
    pair: Pair
    result: Path
    values: Mapping[str, float]


class Vote(NamedTuple):
    """A person's choice between the paintings of a pair by two systems, `first` and `second`.

    `value` is 1 if the first is better, −1 if the second is better, 0 if there is no difference.
    """

    pair: Pair
    first: str
    second: str
    value: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All results, from which the report is written."""

    rows: Sequence[Row]  # for each pair the controls, then the painting of each system
    measures: Sequence[Measure]  # columns of the tables, `SUMS` first
    problems: Sequence[str]  # a line for each picture that was not measured
    notes: Sequence[str]  # lines that a reader should see
    facts: Mapping[str, str]  # network, versions and size, by name
    votes: Sequence[Vote] = ()  # of people

    @functools.cached_property
    def programs(self) -> list[System]:
        """The systems in order, without the controls."""
        return [system for system in self._values if system not in (PHOTO, STYLE)]

    @property
    def systems(self) -> list[System]:
        """The systems in order, then the controls."""
        return [*self.programs, PHOTO, STYLE]

    @functools.cached_property
    def pairs(self) -> list[Pair]:
        """The pairs that all systems painted, over which means are taken; all pairs if there are none."""
        everything = dict.fromkeys(row.pair for row in self.rows)
        common = [pair for pair in everything if all(pair in self._values[system] for system in self.systems)]
        return common or list(everything)

    @functools.cached_property
    def _values(self) -> dict[System, dict[Pair, Mapping[str, float]]]:
        values: dict[System, dict[Pair, Mapping[str, float]]] = {PHOTO: {}, STYLE: {}}
        for row in self.rows:
            values.setdefault(row.system, {})[row.pair] = row.values
        return values

    def values(self, system: System, measure: Measure) -> np.ndarray:
        """Return the value of `measure` for each of `pairs`, or NaN where it was not measured."""
        by_pair = self._values[system]
        return np.array([by_pair.get(pair, {}).get(measure.name, math.nan) for pair in self.pairs])

    @functools.cached_property
    def means(self) -> dict[System, list[Estimate]]:
        """For each system, the mean of each measure over `pairs`."""
        return {
            system: [mean(self.values(system, measure)) for measure in self.measures]
            for system in self.systems
        }

    @functools.cached_property
    def differences(self) -> dict[System, list[Estimate]]:
        """For each program but the first, its mean difference from the first, in each measure."""
        first = self.programs[:1]
        return {
            system: [
                difference(*(self.values(side, one) for side in (system, *first))) for one in self.measures
            ]
            for system in self.programs[1:]
        }

    def wins(self, system: System, other: System) -> list[float]:
        """Return, for each measure, the share of pairs in which `system` is better than `other`, 0 to 1."""
        return [
            win_rate(*([one.badness(value) for value in self.values(side, one)] for side in (system, other)))
            for one in self.measures
        ]

    def agreement(self, measure: Measure) -> tuple[Estimate, int]:
        """Return the rank correlation of a measure with people's votes, and the number of trials.

        A trial is two paintings of one pair. Over all trials, the difference of the two values of `measure`
        is correlated with the mean vote on these paintings.
        """
        values = {(row.system.name, row.pair): row.values.get(measure.name) for row in self.rows}
        trials: dict[tuple, list[float]] = {}
        for vote in self.votes:
            first, second, value = vote.first, vote.second, vote.value
            if first > second:
                first, second, value = second, first, -value
            trials.setdefault((vote.pair, first, second), []).append(value)
        better, voted = [], []
        for (pair, first, second), each in trials.items():
            ours, theirs = values.get((first, pair)), values.get((second, pair))
            if ours is not None and theirs is not None:
                better.append(measure.badness(theirs) - measure.badness(ours))
                voted.append(sum(each) / len(each))
        return spearman_of_differences(better, voted), len(better)


def compare(
    paintings: Sequence[PairedPainting],
    viewer: Viewer,
    *,
    size: int,
    progress: Callable[[int, int, float], None] = lambda done, count, left: None,
) -> tuple[list[Row], list[str], list[str]]:
    """Measure paintings and, for each pair, the two controls, at a longest side of `size` pixels.

    Systems may name different files for one pair. Then those of the pair's first painting are used for all.
    `progress` is called with the number of paintings that are done, their total number, and the seconds left.

    Returns:
        The rows, a line for each picture that cannot be read, and notes.
    """
    rows: list[Row] = []
    problems: list[str] = []
    notes: list[str] = []
    ordered = sorted(paintings, key=lambda painting: painting.pair)
    photos, styles = cachetools.LRUCache(PHOTOS_KEPT), cachetools.LRUCache(STYLES_KEPT)
    begun, done = time.monotonic(), 0

    def look(path: Path, known: cachetools.LRUCache, *, maps: bool) -> Appearance:
        if path not in known:
            pixels = read(path, size)
            known[path] = viewer.look(resize(pixels, judged_size(pixels.shape, size)), maps=maps)
        return known[path]

    for pair, several in itertools.groupby(ordered, key=lambda painting: painting.pair):
        group = list(several)
        first = group[0]
        try:
            photo, style = look(first.content, photos, maps=True), look(first.style, styles, maps=False)
            shape = photo.pixels.shape[:2]
            middle = viewer.look(cropped(read(first.style, 2 * size), shape))
        except UserError as error:
            problems.append(str(error))
            done += len(group)
            continue
        by_photo, by_style = (judge(Trial(side, photo, style)) for side in (photo, middle))
        judged = [(PHOTO, first.content, by_photo), (STYLE, first.style, by_style)]
        for painting in group:
            try:
                pixels = read(painting.result, 2 * size)
            except UserError as error:
                problems.append(str(error))
            else:
                height, width = pixels.shape[:2]
                if abs(height * shape[1] / (width * shape[0]) - 1) > STRETCHED:
                    notes.append(
                        f"{show(painting.result)} is {width}×{height}, stretched to the shape of its photo"
                    )
                values = judge(Trial(viewer.look(resize(pixels, shape)), photo, style))
                judged.append((painting.system, painting.result, values))
            done += 1
            progress(done, len(ordered), (time.monotonic() - begun) * (len(ordered) - done) / done)
        rows += [
            Row(system, pair, path, axis_shares(values, by_photo, by_style) | values)
            for system, path, values in judged
        ]
    return rows, problems, notes


def read_scores(
    paths: Sequence[Path], paintings: Sequence[PairedPainting]
) -> tuple[list[Measure], dict[Path, dict[str, float]]]:
    """Read the columns that another program computed, such as LPIPS, from CSV files.

    The column `result` has the path of a painting, from the folder of the CSV. The other columns are named
    `NAME:less` or `NAME:more`, for which values are better. Several files, such as one for each system, may
    have values of the same column.

    Return a measure for each column, and for the path of each of `paintings` its values by the name of the
    measure. If a painting is listed twice, its last values count.
    """
    measures: dict[str, Measure] = {}
    values: dict[Path, dict[str, float]] = {}
    known = {painting.result.resolve() for painting in paintings}
    for path in paths:
        flag = f"--scores={show(path)}"
        rows = read_table(path, flag)
        columns = [name for name in (rows[0] if rows else ()) if name and name != "result"]
        if not columns or "result" not in rows[0]:
            raise UserError(f"{flag} must have the columns result and NAME:less or NAME:more")
        titles = {name: _add_column(measures, name, path, flag) for name in columns}
        for number, row in enumerate(rows, 2):
            result = (path.parent / (row["result"] or "")).resolve()
            if result not in known:
                raise UserError(f"{flag}, line {number}: {row['result']!r} is not one of the paintings")
            try:
                scores = {title: float(row[name]) for name, title in titles.items() if row[name]}
            except ValueError:
                raise UserError(f"{flag}, line {number}: expected numbers") from None
            values.setdefault(result, {}).update(scores)
    return list(measures.values()), values


def _add_column(measures: dict[str, Measure], name: str, path: Path, flag: str) -> str:
    """Add the measure of column `name` of file `path` to `measures`; return the name of the measure.

    If an earlier file had the same column, only the description of the measure changes.
    """
    title, _, side = name.rpartition(":")
    if side not in ("less", "more") or not title or title in {one.name for one in (*SUMS, *MEASURES)}:
        raise UserError(
            f"{flag}: a column must be named NAME:less or NAME:more, for what is better, and NAME must be "
            f"new; not {name!r}"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    says = f"of another program, from {path.name}, sha256 {digest}"
    measure = Measure(title, "neither", "", says, best=float(side == "more"))
    if earlier := measures.get(title):
        if earlier.best != measure.best:
            raise UserError(
                f"{flag}: another file has {title} with the other better side; expected :less or :more in "
                "both"
            )
        measure = dataclasses.replace(earlier, says=f"{earlier.says}; {says}")
    measures[title] = measure
    return title


def read_votes(path: Path, systems: Sequence[str]) -> Iterator[Vote]:
    """Yield the votes in a file of JSON lines that the page of `benchmarks/compare.py` saved.

    Raises:
        UserError: The file has another form, or a vote is about a system that is not in `systems`.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"--votes={show(path)} cannot be read: {cause}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            vote = json.loads(line)
            content, _, style = vote["pair"].partition(":")
            value = {"a": 1.0, "b": -1.0, "equal": 0.0}[vote["choice"]]
            sides = vote["a"], vote["b"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(f"--votes={show(path)}, line {number}: not a vote of the page") from None
        for side in sides:
            if side not in systems:
                raise UserError(
                    f"--votes={show(path)}, line {number}: no system {side!r}; there are {', '.join(systems)}"
                )
        yield Vote((content, style), *sides, value)
