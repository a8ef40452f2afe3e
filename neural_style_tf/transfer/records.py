"""Records of steps and frames: what painting yields, and the interface of callbacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np


class Rows:
    """An image (H, W, 3) that is computed as it is read, so that a large one is not in memory twice.

    `rows` maps (top, bottom) to these rows, float32 [bottom − top, W, 3], RGB, not clipped.
    """

    def __init__(self, shape: tuple[int, int, int], rows: Callable[[int, int], np.ndarray]) -> None:
        self.shape, self.rows = shape, rows

    def __getitem__(self, part: slice) -> np.ndarray:
        top, bottom, _ = part.indices(self.shape[0])
        return self.rows(top, bottom)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What callbacks know of a step of a picture, and of a frame of a clip.

    Attributes:
        step: Number of updates that made this image, 0 for the initial image; or the number of the frame.
        terms: Losses of this image: `total` (weighted), `content`, `style`, `tv` (unweighted), and the term
            of each layer.
        planned: The step, or frame, at which the run will end.
        seconds: Wall-clock seconds since the run's first evaluation began.
        seconds_left: Estimate of the remaining seconds; None where there is none.
        notes: Lines that the user should see, for example that a step was not finite.
        last: Whether no record follows, as far as it is known.
        finished: Whether it is the last record of a run that was neither interrupted nor given up.
        logged: Whether its losses are to be logged; False for a record that is there only to be saved.
        due: Whether it is to be saved whatever its number.
        image_rows: The image, read by rows.
    """

    step: int
    terms: Mapping[str, float]
    planned: int
    seconds: float
    seconds_left: float | None = None
    notes: tuple[str, ...] = ()
    last: bool = False
    finished: bool = False
    logged: bool = True
    due: bool = False
    image_rows: Rows = dataclasses.field(default=None, repr=False)

    @property
    def total(self) -> float:
        """The weighted loss that is minimised."""
        return self.terms["total"]

    @property
    def facts(self) -> dict[str, float]:
        """Further values for `metrics.jsonl`, by name."""
        return {}

    @property
    def least(self) -> dict[str, float]:
        """Step and total of the least loss, for `run.json`; empty where there is nothing to choose from."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord(Record):
    """One logged step of a run.

    Attributes:
        scale: Index of its size; 0 is the coarsest.
        best_step: The step of least `total` at this scale, among all steps and not only the logged ones.
        best_total: Its total loss.
        due: Whether `config.saving.save_minutes` have passed since the last save.
        state: What a checkpoint of the run saves (a `tf.train.Checkpoint` dependency).
        image_rows: `image`, read by rows.
        best_rows: `best`, likewise.
        painted_rows: `best` before `--colors` and transparency are applied, likewise.
    """

    scale: int
    best_step: int
    best_total: float
    state: Any = dataclasses.field(default=None, repr=False)
    best_rows: Rows = dataclasses.field(default=None, repr=False)
    painted_rows: Rows = dataclasses.field(default=None, repr=False)

    @property
    def image(self) -> np.ndarray:
        """The image of this step, float32 [H, W, 3] RGB, not clipped.

        Raises:
            UserError: The run has gone on since. The last record keeps its pictures.
        """
        return self.image_rows[:]

    @property
    def best(self) -> np.ndarray:
        """The image of least total loss at this scale, likewise."""
        return self.best_rows[:]

    @property
    def facts(self) -> dict[str, float]:
        """Its scale."""
        return {"scale": self.scale}

    @property
    def least(self) -> dict[str, float]:
        """Step and total of the least loss."""
        return {"step": self.best_step, "total": self.best_total}


class Measurer(Protocol):
    """Measures the result of a finished run.

    Attributes:
        notes: Why it could not be measured.
    """

    notes: Sequence[str]

    def __call__(self, record: Record) -> Mapping[str, float]:
        """Return name → value; empty if the result cannot be measured. It never raises."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FrameState:
    """What later frames, and a resumed run, need of a painted frame; pictures are float32 [H, W, 3]."""

    number: int  # of the frame
    scene: int  # number of the first frame of its scene
    # The frame itself, RGB 0–255, at the size of the painting. Where it stands still, the frame for which
    # that place was painted.
    source: np.ndarray
    painted: np.ndarray  # the painting of it, before `--colors`


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameRecord(Record):
    """One painted frame of a clip; `step` is its number, and every frame is saved."""

    due: bool = True
    time: Fraction  # seconds from the first frame of the clip
    iterations: int  # number of steps that the frame took
    reliable: float  # share of its pixels that were known from before; 0 at the beginning of a scene
    state: FrameState = dataclasses.field(repr=False)

    @property
    def facts(self) -> dict[str, float]:
        """What is known of the frame beside its losses."""
        return {
            "iterations": self.iterations,
            "reliable": round(self.reliable, 4),
            "time": round(float(self.time), 6),
        }


class Listener:
    """A callback of a run; every method does nothing by default.

    Attributes:
        keeps_painting: Whether it saves the painting itself. Such a listener is still called for a step at
            which another one failed. A checkpoint does not: it asserts that the others have written.
    """

    keeps_painting = False

    def on_step(self, record: Record) -> None:
        """Take a logged step, or a frame."""

    def on_tick(self, step: int) -> None:
        """Take the number of the present step; called about once a second."""

    def on_end(self) -> None:
        """Close what is open; called once, however the run ends."""
