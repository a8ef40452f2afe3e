"""`minimize`: optimise an image for an objective, without settings, scales or files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.losses.objective import Objective
from neural_style_tf.losses.pixels import deprocess, preprocess
from neural_style_tf.optim import Optimizer
from neural_style_tf.optim.lbfgs import LBFGS
from neural_style_tf.transfer.solver import CompiledStep, Solver

UPDATES_PER_CALL = 10
"""Number of updates in one call of the compiled step if there is no callback."""


@dataclasses.dataclass(frozen=True, eq=False)
class Minimum:
    """The result of `minimize`.

    Attributes:
        image: The image with the lowest total loss, float32 [H, W, 3], RGB, not clipped to 0–255.
        total: The total loss of `image`.
        step: The number of updates that made `image`.
        losses: Losses of the last image, which may be another one than `image`: `total`, and the unweighted
            loss of each term by its name.
    """

    image: np.ndarray
    total: float
    step: int
    losses: dict[str, float]


def minimize(
    objective: Objective,
    init: np.ndarray,
    optimizer: Optimizer | None = None,
    *,
    iterations: int = 500,
    callback: Callable[[int, dict[str, float]], bool | None] | None = None,
) -> Minimum:
    """Minimise an objective, beginning with an initial image.

    Args:
        objective: What to minimise, for images of the size of `init`.
        init: The initial image [H, W, 3], RGB 0–255.
        optimizer: The optimiser; default: `LBFGS()`.
        iterations: Largest number of updates. Fewer are made if no update can lower the loss.
        callback: Called with each step and its losses; returns True to stop.

    Raises:
        UserError: `init` does not have the size of the objective.
        RunError: Losses or gradient are not finite.
    """
    optimizer, pixels = optimizer or LBFGS(), np.asarray(init, np.float32)
    if pixels.shape != (*objective.size, 3):
        raise UserError(f"init must be an array {[*objective.size, 3]}, not {list(pixels.shape)}")
    step = CompiledStep(objective.evaluation, optimizer.static)
    solver = Solver(step, preprocess(pixels), optimizer, objective.arguments)
    good = solver.start()
    while good and solver.steps < iterations and not solver.stalled:
        if callback is not None and callback(solver.steps, solver.losses):
            break
        good = solver.advance(1 if callback else min(UPDATES_PER_CALL, iterations - solver.steps))
    if not good:
        raise RunError(f"after step {solver.steps} losses or gradient are not finite: try smaller steps")
    best = solver.state
    return Minimum(
        deprocess(best["best_image"]).numpy(),
        float(best["best_total"]),
        int(best["best_step"]),
        solver.losses,
    )
