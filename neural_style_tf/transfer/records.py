"""Step records: what the loop yields, and the interface of callbacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


class Rows:
    """An image that is computed row by row as it is read, so that a large one is not in memory twice.

    Args:
        shape: (H, W, 3).
        rows: (top, bottom) → these rows, float32 [bottom − top, W, 3], RGB, not clipped.
    """

    def __init__(self, shape: tuple[int, int, int], rows: Callable[[int, int], np.ndarray]) -> None:
        self.shape, self.rows = shape, rows

    def __getitem__(self, part: slice) -> np.ndarray:
        top, bottom, _ = part.indices(self.shape[0])
        return self.rows(top, bottom)


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """One logged step of a run.

    Attributes:
        step: The number of updates that made this image; 0 is the initial image.
        terms: Losses of this image: `total` (weighted), `content`, `style`, `tv` (unweighted), and the term
            of each layer.
        scale: Index of its size; 0 is the coarsest.
        planned: The step at which the run will end.
        seconds: Wall-clock seconds since the run's first evaluation began.
        seconds_left: Estimate of the remaining seconds; None before the first step of a scale.
        best_step: The step of least `total` at this scale, among all steps and not only the logged ones.
        best_total: Its total loss.
        last: Whether no record follows.
        finished: Whether it is the last record of a run that was neither interrupted nor given up.
        logged: Whether its losses are to be logged; False for a record that is there only to be saved.
        due: Whether `config.saving.save_minutes` have passed since the last save.
        facts: Further values by name, such as the iterations of a frame.
        notes: Lines that the user should see, for example that a step was not finite.
        state: What a checkpoint of the run saves (a `tf.train.Checkpoint` dependency).
        image_rows: `image`, read by rows.
        best_rows: `best`, likewise.
        painted_rows: `best` before `--colors` and transparency are applied, likewise.
    """

    step: int
    terms: Mapping[str, float]
    scale: int
    planned: int
    seconds: float
    best_step: int
    best_total: float
    seconds_left: float | None = None
    last: bool = False
    finished: bool = False
    logged: bool = True
    due: bool = False
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    state: Any = dataclasses.field(default=None, repr=False)
    image_rows: Rows = dataclasses.field(default=None, repr=False)
    best_rows: Rows = dataclasses.field(default=None, repr=False)
    painted_rows: Rows = dataclasses.field(default=None, repr=False)

    @property
    def total(self) -> float:
        """The weighted loss that is minimised."""
        return self.terms["total"]

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


class Listener:
    """A callback of a run; every method does nothing by default.

    Attributes:
        keeps_painting: Whether it saves the painting itself. Such a listener is still called for a step at
            which another one failed. A checkpoint does not: it asserts that the others have written.
    """

    keeps_painting = False

    def on_step(self, record: StepRecord) -> None:
        """Take a logged step."""

    def on_tick(self, step: int) -> None:
        """Take the number of a step that is not logged; called about once a second."""

    def on_end(self) -> None:
        """Close what is open; called once, however the run ends."""
