"""Estimate how long a run will take, from the times of its own scales and of earlier runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from neural_style_tf.transfer.scales import Scale

LIKE = 0.2
"""Two sizes are alike if the logarithms of their pixels differ by less."""


@dataclasses.dataclass(frozen=True)
class Times:
    """How long a machine takes for scales of different sizes.

    Attributes:
        pixels: The sizes, rising.
        steps: Seconds for a step.
        beginnings: Seconds from the last step of the scale before to the first one of this.
    """

    pixels: tuple[float, ...]
    steps: tuple[float, ...]
    beginnings: tuple[float, ...]

    def __post_init__(self) -> None:
        values = (*self.pixels, *self.steps, *self.beginnings)
        whole = len(self.pixels) == len(self.steps) == len(self.beginnings) > 0
        if (
            not whole
            or sorted(self.pixels) != [*self.pixels]
            or not all(0 < one < math.inf for one in values)
        ):
            raise ValueError(f"no times: {self}")

    def step(self, pixels: float) -> float:
        """Return the seconds for a step, interpolated; above the largest size they grow as it does."""
        return self._at(pixels, self.steps)

    def beginning(self, pixels: float) -> float:
        """Return the seconds until the first step, likewise."""
        return self._at(pixels, self.beginnings)

    def replaced(self, pixels: float, step: float, beginning: float) -> Times:
        """Return these times with others for a size and those alike."""
        rows = zip(self.pixels, self.steps, self.beginnings, strict=True)
        rows = [row for row in rows if abs(math.log(row[0] / pixels)) > LIKE]
        return Times(*zip(*sorted([*rows, (pixels, step, beginning)]), strict=True))

    def _at(self, pixels: float, seconds: Sequence[float]) -> float:
        known = math.exp(np.interp(math.log(pixels), np.log(self.pixels), np.log(seconds)))
        return known * max(1.0, pixels / self.pixels[-1])


ASSUMED = Times((3072, 12288, 49152, 196608), (1.0, 2.1, 6.6, 24.0), (2.5, 5.5, 16.0, 60.0))
"""Of `balanced` on two cores, between those with AVX2 and those with AVX-512; only their ratios count."""


class Pace:
    """The times of a run's scales so far, and what they say of those to come.

    Args:
        scales: Coarse to fine.
        known: The times of earlier runs of this kind on this machine.
    """

    def __init__(self, scales: Sequence[Scale], known: Times | None = None) -> None:
        self._scales, self._known = scales, known
        # Index of a scale → seconds, in the order of the run.
        self._steps: dict[int, float] = {}
        self._beginnings: dict[int, float] = {}

    def begin(self, scale: Scale, seconds: float) -> None:
        """Note how long a scale took from the last step of the scale before."""
        self._beginnings[scale.index] = seconds

    def advance(self, scale: Scale, seconds: float) -> None:
        """Note how long a step of a scale takes, the mean so far."""
        # A coarse clock may measure 0.
        self._steps[scale.index] = max(seconds, 1e-6)

    def left(self, scale: Scale, step: int) -> float | None:
        """Return the seconds that are left at a step of the run, in `scale`; None if nothing is known."""
        if not self._steps and self._known is None:
            return None
        times, factor = self._known or ASSUMED, 1.0
        for index, seconds in self._steps.items():
            # The newest counts: the machine may be busier than it was.
            factor = seconds / times.step(_pixels(self._scales[index]))
        here = self._steps.get(scale.index, factor * times.step(_pixels(scale)))
        later = [
            times.beginning(_pixels(after)) + after.iterations * times.step(_pixels(after))
            for after in self._scales[scale.index + 1 :]
        ]
        return here * (scale.end - step) + factor * sum(later)

    @property
    def times(self) -> Times | None:
        """The times of earlier runs, and in their place those of this run."""
        times = self._known
        for index, seconds in self._steps.items():
            pixels, shape = _pixels(self._scales[index]), times or ASSUMED
            factor = seconds / shape.step(pixels)
            beginning = self._beginnings.get(index, factor * shape.beginning(pixels))
            row = pixels, seconds, max(beginning, 1e-6)
            times = times.replaced(*row) if times else Times(*((value,) for value in row))
        return times


def _pixels(scale: Scale) -> int:
    return math.prod(scale.content)
