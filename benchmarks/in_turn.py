"""Time solvers in one process, a step of each in turn, so that whatever slows the machine slows all.

Also which precisions are worth timing on this machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any


def precisions() -> list[str]:
    """Return the precisions that this machine computes in: bfloat16 only where it is not emulated."""
    from neural_style_tf.models.precision import has_bfloat16

    return ["float32", "bfloat16"] if has_bfloat16() else ["float32"]


def seconds_in_turn(solvers: Sequence[Any], rounds: int) -> list[float]:
    """Return the median seconds of a step of each solver, after two steps that are not counted."""
    for solver in solvers:
        solver.start()
        for _ in range(2):
            solver.advance()
    times: list[list[float]] = [[] for _ in solvers]
    for _ in range(rounds):
        for solver, found in zip(solvers, times, strict=True):
            start = time.perf_counter()
            solver.advance()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]
