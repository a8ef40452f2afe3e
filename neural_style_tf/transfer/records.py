"""Records of steps and frames, which painting yields, and the interface of listeners, which receive them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import numpy as np


class Rows:
    """An image whose rows are computed when they are read, so that no second copy has to be in memory.

    Args:
        shape: (H, W, 3).
        rows: Called with (top, bottom); returns the rows from `top` to before `bottom`, float32
            [bottom − top, W, 3], RGB, not clipped to 0–255.
    """

    def __init__(self, shape: tuple[int, int, int], rows: Callable[[int, int], np.ndarray]) -> None:
        self.shape, self.rows = shape, rows

    def __getitem__(self, part: slice) -> np.ndarray:
        top, bottom, _ = part.indices(self.shape[0])
        return self.rows(top, bottom)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What listeners receive for each step of a picture, or for each painted frame of a clip.

    Attributes:
        step: For a picture, the number of updates that made this image; 0 is the initial image. For a clip,
            the number of the frame.
        terms: Name of each loss → its value for this image: `total` (weighted sum), `content`, `style`, `tv`
            (unweighted), and the terms of the layers.
        planned: Step or frame number at which the run will end.
        seconds: Wall-clock time since the run's first evaluation, in seconds.
        seconds_left: Estimate of the remaining time in seconds; None if there is no estimate.
        notes: Lines to show to the user, for example that a step was not finite.
        last: Whether this is the last record of the run. It is False if that is not known yet.
        finished: Whether the run is complete with this record: not interrupted, and not ended by an error.
        logged: Whether the losses are to be logged. It is False for a step that is only to be saved.
        due: Whether this step is to be saved although `save_every` does not ask for it.
        image_rows: The image, read row by row.
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
        """Name → value of further values for `metrics.jsonl`."""
        return {}

    @property
    def least(self) -> dict[str, float]:
        """Step and total loss of the best image, for `run.json`; empty for a frame, which has no choice."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord(Record):
    """The record of a step of a picture that is logged or saved.

    Attributes:
        scale: Index of the scale; 0 is the coarsest.
        best_step: The step with the lowest `total` at this scale, among all steps, not only recorded ones.
        best_total: The total loss at `best_step`.
        state: What a checkpoint of the run saves (a `tf.train.Checkpoint` dependency).
        best_rows: `best`, read row by row.
        painted_rows: `best` before `--colors` and masks are applied, read row by row.
    """

    scale: int
    best_step: int
    best_total: float
    state: Any = dataclasses.field(default=None, repr=False)
    best_rows: Rows = dataclasses.field(default=None, repr=False)
    painted_rows: Rows = dataclasses.field(default=None, repr=False)

    @property
    def image(self) -> np.ndarray:
        """The image of this step, float32 [H, W, 3], RGB, not clipped to 0–255.

        Raises:
            UserError: The run has continued, so the image no longer exists. The last record keeps its images.
        """
        return self.image_rows[:]

    @property
    def best(self) -> np.ndarray:
        """The image with the lowest total loss at this scale so far; type and errors as of `image`."""
        return self.best_rows[:]

    @property
    def facts(self) -> dict[str, float]:
        """The index of the scale, for `metrics.jsonl`."""
        return {"scale": self.scale}

    @property
    def least(self) -> dict[str, float]:
        """Step and total loss of the best image, for `run.json`."""
        return {"step": self.best_step, "total": self.best_total}


class Measurer(Protocol):
    """Measures the result of a finished run.

    Attributes:
        notes: Lines that say why the result could not be measured; empty if it could.
    """

    notes: Sequence[str]

    def __call__(self, record: Record) -> Mapping[str, float]:
        """Return a dict from name to value of each measure; empty if it cannot be measured. Never raises."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class FrameState:
    """What later frames and a resumed run need to know about a painted frame."""

    number: int  # number of the frame
    scene: int  # number of the first frame of its scene
    # The frame before painting, float32 [H, W, 3], RGB 0–255, at the size of the painting. Where nothing
    # moved, it has the pixels of the earlier frame for which this place was painted.
    source: np.ndarray
    painted: np.ndarray  # the painted frame before `--colors`, float32 [H, W, 3], RGB


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameRecord(Record):
    """The record of a painted frame of a clip. `step` is its number. Every frame is saved."""

    due: bool = True
    time: Fraction  # when the frame is shown, in seconds from the first frame of the clip
    iterations: int  # number of steps that were needed to paint it
    # Share of its pixels that were already painted in earlier frames; 0 at the beginning of a scene.
    reliable: float
    state: FrameState = dataclasses.field(repr=False)

    @property
    def facts(self) -> dict[str, float]:
        """Iterations, share of reliable pixels, and time of the frame, for `metrics.jsonl`."""
        return {
            "iterations": self.iterations,
            "reliable": round(self.reliable, 4),
            "time": round(float(self.time), 6),
        }


class Listener:
    """Base class of the callbacks of a run. Every method does nothing by default.

    Attributes:
        keeps_painting: Whether this listener saves the painting itself. If so, it is still called for a step
            at which another listener failed. It is False for checkpoints: a checkpoint means that all other
            files of its step are complete.
    """

    keeps_painting = False

    def on_step(self, record: Record) -> None:
        """Called for each logged or saved step, or for each painted frame."""

    def on_tick(self, step: int) -> None:
        """Called about once a second with the number of the current step."""

    def on_end(self) -> None:
        """Called once at the end of the run, also after an error; close open files here."""
