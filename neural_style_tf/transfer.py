"""The algorithm: from two pictures to a third, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.checkpoint import RunState, restore, saved_scale
from neural_style_tf.config import Config
from neural_style_tf.distribute import Cluster
from neural_style_tf.errors import RunError
from neural_style_tf.events import StepRecord
from neural_style_tf.images import resize
from neural_style_tf.initial import initial_pixels
from neural_style_tf.objective import compute_targets, deprocess, make_objective, preprocess, term_names
from neural_style_tf.optim import make_optimizer
from neural_style_tf.picture_size import fit_content, fit_style
from neural_style_tf.pyramid import Scale, plan_scales, progress
from neural_style_tf.room import choose_tile
from neural_style_tf.runtime import has_bfloat16
from neural_style_tf.shares import make_shared_objective
from neural_style_tf.solver import Solver
from neural_style_tf.tiling import compute_targets_tiled, make_tiled_objective
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
    resume: str | None = None,
    initial: np.ndarray | None = None,
    cluster: Cluster | None = None,
) -> Iterator[StepRecord]:
    """Paint `content` in the manner of `style`, one logged step at a time.

    Args:
        content: [H, W, 3], RGB 0–255; larger than `config.image_size` is reduced to it.
        style: The style picture, likewise, of any shape.
        config: All settings; default: the preset `original`.
        weights: The network; default: whatever `load_weights("auto")` finds.
        tick: See `Tick`.
        initial: [H, W, 3], RGB 0–255, to begin with instead of what `config.init` names; resized.
        resume: Prefix of a checkpoint of the same run, to go on from; the steps up to it are not told again.
            Of several workers only the chief reads it.
        cluster: The replicas that share the work; default: this process alone.

    Yields:
        A record for step 0, every step that `config.logs`, the last step, and whenever a save is due.

    Raises:
        UserError: A picture that is not [H, W, 3], or too small for the network.
        RunError: The loss stopped being finite and did not recover; the last record was yielded before.
    """
    config, cluster = config or Config(), cluster or Cluster()
    weights = weights or load_weights("auto")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    content, style = fit_content(content, config), fit_style(style, config)
    scales = plan_scales(content.shape[:2], style.shape[:2], config)
    run = _Run(scales, config, tick or (lambda step: False), cluster)
    first, going_on = cluster.tell([saved_scale(resume) if resume else 0, bool(resume)])[0]
    coarser = None
    for scale in run.scales[first:]:
        solver = make_solver(
            resize(content, scale.content),
            resize(style, scale.style),
            _at(scale, config),
            weights,
            coarser=coarser,
            initial=initial,
            cluster=cluster,
        )
        run.enter(solver, scale)
        if going_on and scale.index == first:
            run.restore(resume)
        elif not solver.start():
            raise RunError(
                f"the loss of the initial image is not finite ({_culprits(solver)}); nothing to save"
            )
        yield from run.steps(solver, scale, told=going_on or scale.index > 0)
        if run.stopped:
            break
        coarser = solver


def make_solver(
    content: np.ndarray,
    style: np.ndarray,
    config: Config,
    weights: Weights,
    *,
    coarser: Solver | None = None,
    initial: np.ndarray | None = None,
    cluster: Cluster | None = None,
) -> Solver:
    """Build the network, its targets, the initial image and what moves it.

    Args:
        content: [H, W, 3], RGB 0–255, used at this size.
        style: [H', W', 3], likewise.
        config: All settings.
        weights: The network.
        coarser: The solver of the next coarser scale, whose image is taken up.
        initial: The picture to begin with otherwise; default: what `config.init` names.
        cluster: The replicas that share the work; default: this process alone.

    Returns:
        A solver that is ready to `start`.
    """
    cluster = cluster or Cluster()
    with cluster.scope():
        network = vgg19(
            weights.kernels,
            weights.biases,
            outputs=config.layers,
            pooling=config.pooling,
            transpose_kernels=config.transpose_kernels,
            compute_dtype=compute_dtype(config.precision),
        )
    pictures = (preprocess(content), preprocess(style))
    tile = choose_tile(config, content.shape[:2])
    if coarser is not None:
        initial = deprocess(coarser.image).numpy()
    elif initial is None:
        initial = initial_pixels(config, content, style)
    pixels = resize(initial, content.shape[:2])
    image = tf.Variable(preprocess(pixels))
    cluster.share([image])
    optimizer = make_optimizer(config, image, cluster.agree)
    if coarser is not None:
        optimizer.inherit(coarser.optimizer)
    if cluster.replicas > 1:
        objective = make_shared_objective(cluster, network, *pictures, config, tile=tile)
    elif tile is None:
        objective = make_objective(network, compute_targets(network, *pictures, config), config)
    else:
        targets = compute_targets_tiled(network, *pictures, config, tile=tile)
        objective = make_tiled_objective(network, targets, config, image.shape, tile=tile)
    return Solver(objective, optimizer, image, term_names(config))


def compute_dtype(precision: str) -> str:
    """Return what convolutions compute in for a `--precision`."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    return precision


def _at(scale: Scale, config: Config) -> Config:
    return config.replace(iterations=scale.iterations, scales=1, scale_iterations=())


class _Run:
    """The loop over steps, and what it must remember from one scale to the next."""

    def __init__(self, scales: tuple[Scale, ...], config: Config, tick: Tick, cluster: Cluster) -> None:
        self.scales, self.stopped = scales, False
        self._cluster = cluster
        self._config, self._tick = config, tick
        self._started = self._saved = time.monotonic()
        self._state: RunState | None = None
        self._faults = 0

    def enter(self, solver: Solver, scale: Scale) -> None:
        """Begin a scale."""
        self._state = RunState(solver, scale.index)

    def restore(self, prefix: str | None) -> None:
        """Go on from a checkpoint, the chief's."""
        if self._cluster.is_chief:
            restore(prefix, self._state)
        variables = (*self._state.variables, *self._state.solver.optimizer.variables)
        self._cluster.share({variable.ref(): variable for variable in variables}.values())
        self._faults = int(self._state.faults)
        self._started = time.monotonic() - float(self._state.seconds)

    def steps(self, solver: Solver, scale: Scale, *, told: bool) -> Iterator[StepRecord]:
        """Take all steps of a scale from where the solver stands, whose image may have been told before."""
        last_scale = scale is self.scales[-1]
        notes: tuple[str, ...] = ()
        step, pace = scale.first_step + int(solver.step), SECONDS_PER_CALL
        while True:
            over = self.stopped or self._faults > FAULTS_ALLOWED or step >= scale.end
            last = over and (last_scale or step < scale.end or self.stopped)
            logged, due = last or bool(notes) or (self._config.logs(step) and not told), self._due(step)
            if logged or due:
                yield self._record(solver, scale, last=last, notes=notes, logged=logged, due=due)
            if over:
                break
            # A coarse clock may say that a call took no time.
            at_once = max(1, int(SECONDS_PER_CALL / max(pace, 1e-6)))
            count = min(_steps_to_record(step, scale.end, self._config), at_once)
            count = self._cluster.tell(count)[0]
            called = time.monotonic()
            good = bool(solver.advance(tf.constant(count, tf.int64)))
            pace = (time.monotonic() - called) / count
            failed, notes, told = scale.first_step + int(solver.step) + 1, (), False
            if not good:
                notes = (self._fault(solver, failed, scale),)
            step = scale.first_step + int(solver.step)
            self.stopped = any(self._cluster.tell(self._tick(step)))
        if self._faults > FAULTS_ALLOWED:
            best = scale.first_step + int(solver.best_step)
            raise RunError(
                f"the loss was not finite {self._faults} times ({_culprits(solver)}, after step {step}); "
                f"the best image, of step {best}, is kept; try a smaller --learning_rate"
            )

    def _fault(self, solver: Solver, failed: int, scale: Scale) -> str:
        self._faults += 1
        culprits = _culprits(solver)
        solver.retreat()
        if not np.isfinite(solver.image.numpy()).all():
            culprits = "the image itself"
            solver.rewind()
        step = scale.first_step + int(solver.step)
        then = "halving the learning rate" if self._faults <= FAULTS_ALLOWED else "giving up"
        return f"step {failed} is not finite ({culprits}); back to step {step}, {then}"

    def _due(self, step: int) -> bool:
        """Return whether the last save is `config.save_minutes` ago."""
        now, minutes = time.monotonic(), self._config.save_minutes
        due = minutes > 0 and now - self._saved >= 60 * minutes
        if due or self._config.saves(step):
            self._saved = now
        return due

    def _record(self, solver: Solver, scale: Scale, **marks: Any) -> StepRecord:
        values = [float(value) for value in solver.values.numpy()]
        seconds = time.monotonic() - self._started
        self._state.seconds.assign(seconds)
        self._state.faults.assign(self._faults)
        return StepRecord(
            step=scale.first_step + int(solver.step),
            terms=dict(zip(solver.names, values, strict=True)),
            scale=scale.index,
            planned=self.scales[-1].end,
            progress=progress(self.scales, scale.first_step + int(solver.step)),
            seconds=seconds,
            best_step=scale.first_step + int(solver.best_step),
            best_total=float(solver.best_total),
            **marks,
            state=self._state,
            _image=lambda: deprocess(solver.image).numpy(),
            _best=lambda: deprocess(solver.best_image).numpy(),
        )


def _steps_to_record(step: int, end: int, config: Config) -> int:
    periods = [config.log_every] + [config.save_every] * (config.save_every > 0)
    return min(end - step, *(period - step % period for period in periods))


def _culprits(solver: Solver) -> str:
    rejected = solver.rejected.numpy()
    names = [name for name, value in zip(solver.names, rejected, strict=True) if not np.isfinite(value)]
    layers = [name for name in names if "/" in name]
    return ", ".join(layers or [name for name in names if name != "total"] or names or ["gradient"])
