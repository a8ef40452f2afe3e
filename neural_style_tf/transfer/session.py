"""`stylize`, the algorithm: the loop over scales and steps."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.errors import RunError
from neural_style_tf.images import resize
from neural_style_tf.losses.objective import deprocess
from neural_style_tf.tiling.adaptive import OUT_OF_MEMORY, tile_note
from neural_style_tf.transfer.build import Coarser, Networks, make_solver
from neural_style_tf.transfer.picture_sizes import check_shape, fit_content, style_size
from neural_style_tf.transfer.records import Rows, StepRecord
from neural_style_tf.transfer.scales import Scale, plan_scales, work_left
from neural_style_tf.transfer.solver import Solver
from neural_style_tf.transfer.state import RunState, restore, saved_scale
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
        content: [H, W, 3], RGB 0–255; larger than `config.sizes.image_size` is reduced to it.
        style: The style picture, likewise, of any shape; reduced to `config.sizes.style_size`.
        config: All settings; default: the preset `original`.
        weights: The network; default: whatever `load_weights("auto")` finds.
        tick: See `Tick`.
        initial: [H, W, 3], RGB 0–255, to begin with instead of what `config.init` names; resized.
        resume: Prefix of a checkpoint of the same run, to go on from; the steps up to it are not told again.
            Of several workers only the chief reads it.
        cluster: The replicas that share the work; default: this process alone.

    Yields:
        A record for step 0, every step that `config.saving.logs`, the last step, and whenever a save is due.

    Raises:
        UserError: A picture that is not [H, W, 3], or too small for the network.
        RunError: The loss stopped being finite and did not recover; the last record was yielded before.
    """
    config, cluster = config or Config(), cluster or Cluster()
    weights = weights or load_weights("auto")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    check_shape(style, "style")
    content, style = fit_content(content, config), np.asarray(style, np.float32)
    result = content.shape[:2]
    scales = plan_scales(result, style_size(style.shape[:2], result, config), config)
    if max(scales[-1].style) < max(style.shape[:2]):
        style = resize(style, scales[-1].style)
    run = _Run(scales, config, tick or (lambda step: False), cluster)
    first, going_on = cluster.all_gather([saved_scale(resume) if resume else 0, bool(resume)])[0]
    coarser, networks = None, Networks(config, weights, cluster)
    for scale in run.scales[first:]:
        pictures = [resize(content, scale.content), resize(style, scale.style)]
        if scale is run.scales[-1]:
            # Each would take memory for as long as the run lasts.
            del content, style
        solver = make_solver(
            pictures,
            _at(scale, config),
            weights,
            coarser=coarser,
            initial=initial,
            cluster=cluster,
            networks=networks,
        )
        coarser = None
        run.enter(solver, scale)
        try:
            if going_on and scale.index == first:
                run.restore(resume)
            elif not run.call(solver.start):
                raise RunError(
                    f"the loss of the initial image is not finite ({_culprits(solver)}); nothing to save"
                )
            yield from run.steps(scale, told=going_on or scale.index > 0)
        finally:
            solver.release()
        if run.stopped or scale is run.scales[-1]:
            break
        coarser, initial = Coarser(solver.image, solver.optimizer), None
        run.leave()
        del solver
        # Its targets and gradient, which the compiled loop refers to, and it to itself.
        gc.collect()


def _at(scale: Scale, config: Config) -> Config:
    return config.replace(iterations=scale.iterations, scales=1, scale_iterations=())


class _Run:
    """The loop over steps, and what it must remember from one scale to the next."""

    def __init__(self, scales: tuple[Scale, ...], config: Config, tick: Tick, cluster: Cluster) -> None:
        self.scales, self.stopped = scales, False
        self._cluster = cluster
        self._config, self._tick = config, tick
        self._started = self._saved = time.monotonic()
        self._begun, self._work = self._started, 0
        self._solver: Solver | None = None
        self._state: RunState | None = None
        self._faults, self._notes = 0, []

    def enter(self, solver: Solver, scale: Scale) -> None:
        """Begin a scale."""
        self._solver, self._state = solver, RunState(solver, scale.index)
        self._notes += solver.objective.notes

    def leave(self) -> None:
        """Forget a scale, also for those who still hold a record of it."""
        self._solver = None
        # Deleted, since as None it would stay among the dependencies of a checkpoint.
        del self._state.solver

    def restore(self, prefix: str | None) -> None:
        """Go on from a checkpoint, the chief's."""
        if self._cluster.is_chief:
            restore(prefix, self._state)
        variables = (*self._state.variables, *self._state.solver.optimizer.variables)
        self._cluster.broadcast_variables({variable.ref(): variable for variable in variables}.values())
        self._faults = int(self._state.faults)
        self._started = time.monotonic() - float(self._state.seconds)

    def call(self, method: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> bool:
        """Call `start` or `advance` of the solver; when memory runs out, go on in smaller pieces."""
        while True:
            try:
                return bool(method(*arguments))
            except OUT_OF_MEMORY:
                smaller = self._solver.objective.smaller()
                if smaller is None:
                    raise
            self._solver.recover(smaller, moving=bool(arguments))
            self._notes.append(tile_note(smaller.tile))
            method, arguments = self._solver.start, ()

    def steps(self, scale: Scale, *, told: bool) -> Iterator[StepRecord]:
        """Take all steps of a scale from where the solver stands, whose image may have been told before."""
        solver, last_scale = self._solver, scale is self.scales[-1]
        step, pace = scale.first_step + int(solver.step), SECONDS_PER_CALL
        self._begun, self._work = time.monotonic(), work_left(self.scales, scale, step)
        while True:
            failed = self._faults > FAULTS_ALLOWED
            stalled = step < scale.end and not failed and solver.stalled
            over = self.stopped or failed or stalled or step >= scale.end
            last = over and (last_scale or failed or self.stopped)
            if stalled:
                then = "the run ends early" if last_scale else "on to the next scale"
                self._notes.append(f"step {step}: no further step lowers the loss; {then}")
            logged, due = (
                last or bool(self._notes) or (self._config.saving.logs(step) and not told),
                self._due(step),
            )
            if logged or due:
                yield self._record(scale, last=last, logged=logged, due=due)
            if over:
                break
            # A coarse clock may say that a call took no time.
            at_once = max(1, int(SECONDS_PER_CALL / max(pace, 1e-6)))
            count = min(_steps_to_record(step, scale.end, self._config), at_once)
            count = self._cluster.all_gather(count)[0]
            called = time.monotonic()
            good = self.call(solver.advance, tf.constant(count, tf.int64))
            pace = (time.monotonic() - called) / count
            told = False
            if not good:
                self._fault(scale)
            step = scale.first_step + int(solver.step)
            self.stopped = any(self._cluster.all_gather(self._tick(step)))
        if self._faults > FAULTS_ALLOWED:
            best = scale.first_step + int(solver.best_step)
            raise RunError(
                f"the loss was not finite {self._faults} times ({_culprits(solver)}, after step {step}); "
                f"the best image, of step {best}, is kept; try a smaller --learning_rate"
            )

    def _fault(self, scale: Scale) -> None:
        solver, failed = self._solver, scale.first_step + int(self._solver.step) + 1
        self._faults += 1
        culprits = _culprits(solver)
        # Without a gradient there the run cannot go on.
        while self._faults <= FAULTS_ALLOWED and not self.call(solver.retreat):
            self._faults += 1
        step = scale.first_step + int(solver.step)
        then = "halving the learning rate" if self._faults <= FAULTS_ALLOWED else "giving up"
        self._notes.append(
            f"step {failed} is not finite ({culprits}); back to the best image, of step {step}, {then}"
        )

    def _due(self, step: int) -> bool:
        """Return whether the last save is `config.saving.save_minutes` ago."""
        now, minutes = time.monotonic(), self._config.saving.save_minutes
        due = minutes > 0 and now - self._saved >= 60 * minutes
        if due or self._config.saving.saves(step):
            self._saved = now
        return due

    def _record(self, scale: Scale, **marks: Any) -> StepRecord:
        solver, step = self._solver, scale.first_step + int(self._solver.step)
        values = [float(value) for value in solver.values.numpy()]
        seconds = time.monotonic() - self._started
        self._state.seconds.assign(seconds)
        self._state.faults.assign(self._faults)
        notes, self._notes = tuple(self._notes), []
        best = "best_image", scale.first_step + int(solver.best_step), float(solver.best_total)
        if step == self.scales[-1].end and solver.average is not None:
            total = float(solver.score_average())
            best = ("average", step, total) if total < best[2] else best
        return StepRecord(
            step=step,
            terms=dict(zip(solver.names, values, strict=True)),
            scale=scale.index,
            planned=self.scales[-1].end,
            seconds=seconds,
            seconds_left=self._seconds_left(scale, step),
            best_step=best[1],
            best_total=best[2],
            **marks,
            notes=notes,
            state=self._state,
            image_rows=self._rows("image"),
            best_rows=self._rows(best[0]),
        )

    def _seconds_left(self, scale: Scale, step: int) -> float | None:
        left = work_left(self.scales, scale, step)
        done = self._work - left
        return (time.monotonic() - self._begun) / done * left if done > 0 else None

    def _rows(self, name: str) -> Rows:
        # Through the run, so that a record that is kept does not keep the solver.
        def read(top: int, bottom: int) -> np.ndarray:
            return deprocess(getattr(self._solver, name)[:, top:bottom]).numpy()

        return Rows(tuple(self._solver.image.shape[1:]), read)


def _steps_to_record(step: int, end: int, config: Config) -> int:
    periods = [config.saving.log_every] + [config.saving.save_every] * (config.saving.save_every > 0)
    return min(end - step, *(period - step % period for period in periods))


def _culprits(solver: Solver) -> str:
    rejected = solver.rejected.numpy()
    names = [name for name, value in zip(solver.names, rejected, strict=True) if not np.isfinite(value)]
    layers = [name for name in names if "/" in name]
    return ", ".join(layers or [name for name in names if name != "total"] or names or ["gradient"])
