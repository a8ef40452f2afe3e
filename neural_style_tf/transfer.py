"""The algorithm: from two pictures to a third, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.errors import RunError
from neural_style_tf.events import StepRecord
from neural_style_tf.initial import initial_pixels
from neural_style_tf.objective import compute_targets, deprocess, make_objective, preprocess, term_names
from neural_style_tf.optim import make_optimizer
from neural_style_tf.picture_size import fit_content, fit_style
from neural_style_tf.solver import Solver
from neural_style_tf.vgg import vgg19
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

FAULTS_ALLOWED = 3
SECONDS_PER_CALL = 1.0

Tick = Callable[[int], bool]
"""Called after each compiled call with the step reached; returning True ends the run early."""


def stylize(
    content: np.ndarray,
    style: np.ndarray,
    config: Config | None = None,
    *,
    weights: Weights | None = None,
    tick: Tick | None = None,
) -> Iterator[StepRecord]:
    """Paint `content` in the manner of `style`, one logged step at a time.

    Args:
        content: [H, W, 3], RGB 0–255; larger than `config.image_size` is reduced to it.
        style: The style picture, likewise, of any shape.
        config: All settings; default: the preset `original`.
        weights: The network; default: whatever `load_weights("auto")` finds.
        tick: See `Tick`.

    Yields:
        A record for step 0, every step that `config.logs`, and the last step.

    Raises:
        UserError: A picture that is not [H, W, 3], or too small for the network.
        RunError: The loss stopped being finite and did not recover; the last record was yielded before.
    """
    config = config or Config()
    weights = weights or load_weights("auto")
    content = fit_content(content, config)
    style = fit_style(style, config)
    solver = make_solver(content, style, config, weights)
    started = time.monotonic()
    if not solver.start():
        raise RunError(f"the loss of the initial image is not finite ({_culprits(solver)}); nothing to save")
    yield from _steps(solver, config, started, tick or (lambda step: False))


def make_solver(content: np.ndarray, style: np.ndarray, config: Config, weights: Weights) -> Solver:
    """Build the network, its targets, the initial image and what moves it.

    Args:
        content: [H, W, 3], RGB 0–255, used at this size.
        style: [H', W', 3], likewise.
        config: All settings.
        weights: The network.

    Returns:
        A solver that is ready to `start`.
    """
    network = vgg19(
        weights.kernels,
        weights.biases,
        outputs=config.layers,
        pooling=config.pooling,
        transpose_kernels=config.transpose_kernels,
    )
    targets = compute_targets(network, preprocess(content), preprocess(style), config)
    image = tf.Variable(preprocess(initial_pixels(config, content, style)))
    objective = make_objective(network, targets, config)
    return Solver(objective, make_optimizer(config, image), image, term_names(config))


def _steps(solver: Solver, config: Config, started: float, tick: Tick) -> Iterator[StepRecord]:
    step, faults, stopped, pace = 0, 0, False, SECONDS_PER_CALL
    notes: tuple[str, ...] = ()
    while True:
        over = stopped or faults > FAULTS_ALLOWED or step >= config.iterations
        if over or config.logs(step) or notes:
            yield _record(solver, started, last=over, notes=notes)
        if over:
            break
        count = min(_steps_to_record(step, config), max(1, int(SECONDS_PER_CALL / pace)))
        called = time.monotonic()
        good = bool(solver.advance(tf.constant(count, tf.int64)))
        pace = (time.monotonic() - called) / count
        step = int(solver.step)
        notes = ()
        if not good:
            faults += 1
            notes = (_fault_note(solver, step, faults),)
            solver.retreat()
        stopped = tick(step)
    if faults > FAULTS_ALLOWED:
        raise RunError(
            f"the loss was not finite {faults} times ({_culprits(solver)}, after step {step}); the best "
            f"image, of step {int(solver.best_step)}, is kept; try a smaller --learning_rate"
        )


def _steps_to_record(step: int, config: Config) -> int:
    periods = [config.log_every] + [config.save_every] * (config.save_every > 0)
    return min(config.iterations - step, *(period - step % period for period in periods))


def _record(solver: Solver, started: float, *, last: bool, notes: tuple[str, ...]) -> StepRecord:
    values = [float(value) for value in solver.values.numpy()]
    return StepRecord(
        step=int(solver.step),
        terms=dict(zip(solver.names, values, strict=True)),
        seconds=time.monotonic() - started,
        best_step=int(solver.best_step),
        best_total=float(solver.best_total),
        last=last,
        notes=notes,
        state=solver,
        _image=lambda: deprocess(solver.image).numpy(),
        _best=lambda: deprocess(solver.best_image).numpy(),
    )


def _culprits(solver: Solver) -> str:
    rejected = solver.rejected.numpy()
    names = [name for name, value in zip(solver.names, rejected, strict=True) if not np.isfinite(value)]
    layers = [name for name in names if "/" in name]
    return ", ".join(layers or [name for name in names if name != "total"] or names or ["gradient"])


def _fault_note(solver: Solver, step: int, faults: int) -> str:
    then = "halving the learning rate" if faults <= FAULTS_ALLOWED else "giving up"
    return f"step {step + 1} is not finite ({_culprits(solver)}); back to step {step}, {then}"
