"""Loss over time: runs of ours in processes of their own, and a judge of the pictures of any system."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import ChildError, call, peak_megabytes, start

import neural_style_tf as nst

LBFGS = {"optimizer": "lbfgs", "history": 40, "clamp": True, "init": "content", "iterations": 200}
Judge = Callable[[Path], float]


@dataclasses.dataclass
class Run:
    """How a run of any system went; `problem` says why there is nothing.

    Attributes:
        seconds: When each evaluation had ended, since the optimisation began.
        pictures: Evaluation → the file of its picture.
        peak_mb: The most memory that its process held.
        problem: Why it could not be run.
        points: (seconds, judged loss) of the pictures.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    pictures: dict[int, Path] = dataclasses.field(default_factory=dict)
    peak_mb: float = 0.0
    problem: str = ""
    points: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    @property
    def each(self) -> float:
        """Seconds of one evaluation, the start left out."""
        return statistics.median(np.diff(self.seconds)) if len(self.seconds) > 1 else float("nan")

    def judge(self, judge: Judge) -> None:
        """Fill `points`."""
        for evaluation, path in sorted(self.pictures.items()):
            moment = self.seconds[max(evaluation - 1, 0)]
            self.points.append((moment, judge(path)))

    def time_to(self, loss: float) -> float | None:
        """Return when the judged loss first was this low, or None."""
        return next((seconds for seconds, value in self.points if value <= loss), None)

    @property
    def best(self) -> list[tuple[float, float]]:
        """(seconds, least loss so far)."""
        least = itertools.accumulate((value for _, value in self.points), min)
        return [(seconds, value) for (seconds, _), value in zip(self.points, least, strict=True)]


def config_of(changes: Mapping[str, Any]) -> nst.Config:
    """Return the settings of `original` with changes, which may have come through JSON."""
    layers = {name: tuple(map(tuple, value)) for name, value in changes.items() if name in ("style_layers",)}
    return nst.Config(**{"image_size": 0, "save_every": 0} | dict(changes) | layers)


def paint(content: str, style: str, changes: dict[str, Any], folder: str) -> Iterator[list[Any]]:
    """Run; yield when each picture was there, after how many evaluations, its file, and the peak memory."""
    start()
    pictures = [nst.load_image(path).pixels for path in (content, style)]
    writing = 0.0
    for record in nst.stylize(*pictures, config_of(changes), weights=nst.load_weights("bundled")):
        began, path = time.monotonic(), Path(folder) / f"{record.step}.png"
        nst.save_image(path, record.image)
        optimizer = record.state.solver["optimizer"]
        # Adam evaluates once for each step, and once for the initial image.
        evaluations = int(optimizer["evaluations"] if "evaluations" in optimizer else optimizer["steps"])
        yield [record.seconds - writing, 1 + evaluations, str(path), peak_megabytes()]
        writing += time.monotonic() - began


def run_ours(content: Path, style: Path, changes: Mapping[str, Any], folder: Path) -> Run:
    """Run ours in a process of its own, so that nothing is compiled already.

    Seconds begin with the network and its targets; what is spent writing pictures is not counted.
    """
    folder.mkdir(parents=True)
    try:
        found = call(
            "curves.paint", content=str(content), style=str(style), changes=dict(changes), folder=str(folder)
        )
    except ChildError as error:
        return Run(problem=str(error))
    moments, counts, paths, peaks = zip(*found, strict=True)
    # Records are some evaluations apart: when each ended in between is known only on average.
    seconds = np.interp(np.arange(1, counts[-1] + 1), counts, moments).tolist()
    return Run(seconds, dict(zip(counts, map(Path, paths), strict=True)), max(peaks))


def make_judge(content: Path, style: Path, changes: Mapping[str, Any]) -> Judge:
    """Return a picture's file → the total loss of a float32 run that would begin with it."""
    session, config = nst.Session(nst.load_weights("bundled")), config_of(changes)
    pictures = [nst.load_image(path).pixels for path in (content, style)]

    def judge(path: Path) -> float:
        return next(session.run(nst.Inputs(*pictures, nst.load_image(path).pixels), config)).total

    return judge
