"""Estimate how long a run will take, from the times of its own scales and of earlier runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from neural_style_tf.transfer.scales import Scale

LIKE = 0.2
"""Two sizes count as equal if the logarithms of their numbers of pixels differ by no more than this."""


@dataclasses.dataclass(frozen=True)
class Times:
    """Times of steps on one machine, for scales of different sizes.

    Attributes:
        pixels: Number of pixels of each size, in ascending order.
        steps: Time of a step at each size, in seconds.
        beginnings: Time from the last step of the previous scale to the first step at each size, in seconds.

    Raises:
        ValueError: There are no sizes, the three lengths differ, or a value is not a positive number.
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
        """Return the time of a step for a size of `pixels`, in seconds.

        It is interpolated. Above the largest known size it is proportional to the number of pixels.
        """
        return self._at(pixels, self.steps)

    def beginning(self, pixels: float) -> float:
        """Return the time until the first step for a size of `pixels`, in seconds, estimated as in `step`."""
        return self._at(pixels, self.beginnings)

    def replaced(self, pixels: float, step: float, beginning: float) -> Times:
        """Return a copy with new times for the size `pixels`, without those of sizes that count as equal."""
        rows = zip(self.pixels, self.steps, self.beginnings, strict=True)
        rows = [row for row in rows if abs(math.log(row[0] / pixels)) > LIKE]
        return Times(*zip(*sorted([*rows, (pixels, step, beginning)]), strict=True))

    def _at(self, pixels: float, seconds: Sequence[float]) -> float:
        known = math.exp(np.interp(math.log(pixels), np.log(self.pixels), np.log(seconds)))
        return known * max(1.0, pixels / self.pixels[-1])


ASSUMED = Times((3072, 12288, 49152, 196608), (1.0, 2.1, 6.6, 24.0), (2.5, 5.5, 16.0, 60.0))
"""Times of the preset `balanced` on two cores, between those of AVX2 and of AVX-512. They are used where no
times are known, and only their ratios count."""


class Pace:
    """Collects the times of the scales of a run, and estimates the remaining time.

    Args:
        scales: The scales of the run, coarse to fine.
        known: The times of earlier runs of this kind on this machine; None if there are none.
    """

    def __init__(self, scales: Sequence[Scale], known: Times | None = None) -> None:
        self._scales, self._known = scales, known
        # Index of a scale → seconds, in the order of the run.
        self._steps: dict[int, float] = {}
        self._beginnings: dict[int, float] = {}

    def begin(self, scale: Scale, seconds: float) -> None:
        """Store `seconds`, the time from the last step of the previous scale to the beginning of `scale`."""
        self._beginnings[scale.index] = seconds

    def advance(self, scale: Scale, seconds: float) -> None:
        """Store `seconds`, the mean time of the steps of `scale` so far."""
        # A coarse clock may measure 0.
        self._steps[scale.index] = max(seconds, 1e-6)

    def left(self, scale: Scale, step: int) -> float | None:
        """Return an estimate of the remaining time in seconds after `step`, which lies in `scale`.

        Return None before any step is measured, if there are no times of earlier runs.
        """
        if not self._steps and self._known is None:
            return None
        times, factor = self._known or ASSUMED, 1.0
        for index, seconds in self._steps.items():
            # The last value counts, of the newest scale: the machine may be busier now than before.
            factor = seconds / times.step(_pixels(self._scales[index]))
        here = self._steps.get(scale.index, factor * times.step(_pixels(scale)))
        later = [
            times.beginning(_pixels(after)) + after.iterations * times.step(_pixels(after))
            for after in self._scales[scale.index + 1 :]
        ]
        return here * (scale.end - step) + factor * sum(later)

    @property
    def times(self) -> Times | None:
        """The times of earlier runs, updated by those of this run; None if there are none."""
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
