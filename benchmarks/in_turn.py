"""Time solvers in one process, a step of each in turn, so that whatever slows the machine slows all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any


def seconds_in_turn(solvers: Sequence[Any], rounds: int) -> list[float]:
    """Return the median seconds of a step of each solver, after two steps that are not counted."""
    import tensorflow as tf

    one = tf.constant(1, tf.int64)
    for solver in solvers:
        solver.start()
        for _ in range(2):
            bool(solver.advance(one))
    times: list[list[float]] = [[] for _ in solvers]
    for _ in range(rounds):
        for solver, found in zip(solvers, times, strict=True):
            start = time.perf_counter()
            bool(solver.advance(one))
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]
