"""The loop over the steps of a run: call the compiled step, make records, recover from faults.

A fault is a step whose losses or gradient are not finite. Running out of memory is handled by smaller tiles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from neural_style_tf.config.schema import Config, LossConfig
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images.color_transfer import clipped_share
from neural_style_tf.losses.catalogue import part_factors, with_parts
from neural_style_tf.losses.objective import OUT_OF_MEMORY, tile_note
from neural_style_tf.losses.pixels import deprocess
from neural_style_tf.losses.term import Term
from neural_style_tf.transfer.colors import CLIPPED_NOTE, Finish
from neural_style_tf.transfer.pace import Pace
from neural_style_tf.transfer.records import Rows, StepRecord
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.transfer.solver import Solver
from neural_style_tf.transfer.state import RunState, restore

FAULTS_ALLOWED = 3
"""A run gives up after more faults than this."""
SECONDS_PER_CALL = 1.0
"""One compiled call makes as many steps as take about this time, in seconds."""
STALLED = ": no further step lowers the loss; "
"""Part of the note that a run or a frame ends early."""

Tick = Callable[[int], bool]
"""Function that is called after each compiled call with the current step. It returns True to stop the run."""
Until = Callable[[StepRecord], bool]
"""Stopping rule: a function that is called after each record. It returns True to end the scale, which then
counts as finished."""


class Loop:
    """The loop over the steps of a run, scale by scale. Its state is what checkpoints save and restore.

    Attributes:
        scales: All scales of the run, also those that a resumed run does not repeat.
        stopped: Whether `tick` has ended the run.
    """

    def __init__(
        self,
        scales: tuple[Scale, ...],
        config: Config,
        tick: Tick,
        cluster: Cluster,
        until: Until,
        pace: Pace | None = None,
    ) -> None:
        self.scales, self.stopped, self._pace = scales, False, pace or Pace(scales)
        self._config, self._tick, self._cluster, self._until = config, tick, cluster, until
        self._started = self._saved = time.monotonic()
        # Time at which the previous scale ended; None at the first scale.
        self._ended: float | None = None
        self._solver: Solver | None = None
        self._pictures: dict[str, tf.Variable | None] = {}
        self._state: RunState | None = None
        self._faults, self._notes = 0, []
        self._finish: Finish | None = None
        self._moves = 0

    def enter(
        self,
        solver: Solver,
        scale: Scale,
        terms: tuple[Term, ...],
        losses: LossConfig,
        notes: tuple[str, ...],
        finish: Finish | None = None,
    ) -> None:
        """Begin a scale.

        Args:
            solver: The solver of this scale.
            scale: The scale.
            terms: The terms of its losses.
            losses: The loss settings of this scale, with its weights.
            notes: Lines for the user, which the first record gets.
            finish: Changes the images of records when they are read; None to leave them as they are.
        """
        self._solver, self._state, self._finish = solver, RunState(solver.state, scale.index), finish
        self._terms, self._factors = terms, part_factors(losses)
        best = solver.state["best_image"]
        self._pictures = {"image": solver.image, "best_image": best, "average": solver.average}
        self._shape = (*solver.size, 3)
        self._notes += notes

    def leave(self, *, last: bool) -> None:
        """End a scale, and release its images, which the records would otherwise keep in memory.

        After the `last` scale the images are kept, so that the last record can be read.
        """
        self._solver, self._ended = None, time.monotonic()
        self._moves += not last
        if not last:
            self._pictures = {}
        # Deleted, since None would stay among the dependencies of a checkpoint.
        del self._state.solver

    def restore(self, prefix: str | None) -> None:
        """Read the checkpoint `prefix` on the chief, and broadcast it to all workers."""
        if self._cluster.rank == 0:
            restore(prefix, self._state)
        run = {name: getattr(self._state, name) for name in ("scale", "faults", "seconds")}
        self._cluster.broadcast_variables(tf.nest.flatten((run, self._solver.state)))
        self._faults = int(self._state.faults)
        self._started = time.monotonic() - float(self._state.seconds)

    def call(self, method: Callable[..., bool], *arguments: int) -> bool:
        """Call a method of the solver, and return its result.

        If memory runs out, change to smaller tiles, evaluate the image again, and return whether the result
        is finite.
        """
        self._moves += 1
        while True:
            try:
                return method(*arguments)
            except OUT_OF_MEMORY:
                tile = self._solver.go_smaller()
                if tile is None:
                    raise
            self._notes.append(tile_note(tile))
            method, arguments = self._solver.start, ()

    def steps(self, scale: Scale, *, recorded: bool) -> Iterator[StepRecord]:
        """Make the remaining steps of a scale, and yield a record of each step that is logged or saved.

        If `recorded` is True, the image at the beginning already has a record, and gets no other.

        Raises:
            RunError: There were more than `FAULTS_ALLOWED` faults.
        """
        solver, last_scale = self._solver, scale is self.scales[-1]
        step, per_step = scale.first_step + solver.steps, SECONDS_PER_CALL
        begun, first = time.monotonic(), step
        if self._ended is not None:
            self._pace.begin(scale, begun - self._ended)
        enough = False
        while True:
            failed = self._faults > FAULTS_ALLOWED
            stalled = step < scale.end and not failed and solver.stalled
            over = self.stopped or failed or stalled or enough or step >= scale.end
            last = over and (last_scale or failed or self.stopped)
            if stalled:
                then = "the run ends early" if last_scale else "on to the next scale"
                self._notes.append(f"step {step}{STALLED}{then}")
            logged = last or bool(self._notes) or (self._config.saving.logs(step) and not recorded)
            due = self._due(step)
            if logged or due:
                # A run that `tick` stops at its last step is finished, too.
                finished = last_scale and not failed and (stalled or enough or step >= scale.end)
                if last and self._finish is not None and self._finish.recolor:
                    self._notes += explain_clipping(self._rows("best_image", step))
                record = self._record(scale, last=last, finished=finished, logged=logged, due=due)
                yield record
                recorded = recorded or logged
                enough = not over and self._until(record)
            if over:
                break
            if enough:
                continue
            # A coarse clock may measure 0.
            steps_per_call = max(1, int(SECONDS_PER_CALL / max(per_step, 1e-6)))
            count = min(_steps_to_record(step, scale.end, self._config), steps_per_call)
            count = self._cluster.all_gather(count)[0]
            called = time.monotonic()
            good = self.call(solver.advance, count)
            per_step = (time.monotonic() - called) / count
            recorded = False
            if not good:
                self._fault(scale)
            step = scale.first_step + solver.steps
            self.stopped = any(self._cluster.all_gather(self._tick(step)))
            if step > first:
                self._pace.advance(scale, (time.monotonic() - begun) / (step - first))
        if self._faults > FAULTS_ALLOWED:
            best = scale.first_step + int(solver.state["best_step"])
            raise RunError(
                f"the loss was not finite {self._faults} times ({explain_culprits(solver)}, after step "
                f"{step}); the best image, of step {best}, is kept; try a smaller --learning_rate"
            )

    def _fault(self, scale: Scale) -> None:
        solver, failed = self._solver, scale.first_step + self._solver.steps + 1
        self._faults += 1
        culprits = explain_culprits(solver)
        # To continue, the run needs a finite gradient at the best image.
        while self._faults <= FAULTS_ALLOWED and not self.call(solver.retreat):
            self._faults += 1
        step = scale.first_step + solver.steps
        then = "halving the learning rate" if self._faults <= FAULTS_ALLOWED else "giving up"
        self._notes.append(
            f"step {failed} is not finite ({culprits}); back to the best image, of step {step}, {then}"
        )

    def _due(self, step: int) -> bool:
        """Return whether `config.saving.save_minutes` have passed since the last save."""
        now, minutes = time.monotonic(), self._config.saving.save_minutes
        due = minutes > 0 and now - self._saved >= 60 * minutes
        if due or self._config.saving.saves(step):
            self._saved = now
        return due

    def _record(self, scale: Scale, **marks: Any) -> StepRecord:
        solver, step = self._solver, scale.first_step + self._solver.steps
        seconds = time.monotonic() - self._started
        self._state.seconds.assign(seconds)
        self._state.faults.assign(self._faults)
        notes, self._notes = tuple(self._notes), []
        best_step = scale.first_step + int(solver.state["best_step"])
        best = "best_image", best_step, float(solver.state["best_total"])
        if marks["finished"] and solver.average is not None:
            try:
                total = solver.score_average()
            except OUT_OF_MEMORY:
                if self._cluster.workers > 1:
                    # The other workers wait for this one's part.
                    raise
                notes += ("out of memory: the average of the images is left out",)
            else:
                best = ("average", step, total) if total < best[2] else best
        return StepRecord(
            step=step,
            terms=with_parts(solver.losses, self._terms, self._factors),
            scale=scale.index,
            planned=self.scales[-1].end,
            seconds=seconds,
            seconds_left=self._pace.left(scale, step),
            best_step=best[1],
            best_total=best[2],
            **marks,
            notes=notes,
            state=self._state,
            image_rows=self._rows("image", step),
            best_rows=self._rows(best[0], step),
            painted_rows=self._rows(best[0], step, finished=False),
        )

    def _rows(self, name: str, step: int, *, finished: bool = True) -> Rows:
        finish, moves = self._finish if finished else None, self._moves

        # Refers to the loop, not to the solver, which a record would otherwise keep in memory.
        def read(top: int, bottom: int) -> np.ndarray:
            if self._moves != moves:
                raise UserError(
                    f"the pictures of the record of step {step} are gone, as the run has gone on: read "
                    "`image` and `best` before you ask for the next record"
                )
            rows = deprocess(self._pictures[name][:, top:bottom]).numpy()
            return rows if finish is None else finish(rows, top)

        return Rows(self._shape, read)


def explain_clipping(rows: Rows) -> list[str]:
    """Return a note if more than `CLIPPED_NOTE` of the values of `rows` are outside 0–255; else no note."""
    height, width, _ = rows.shape
    band = max(1, 2**18 // width)
    parts = (rows[top : top + band] for top in range(0, height, band))
    share = sum(len(part) * clipped_share(part) for part in parts) / height
    if share <= CLIPPED_NOTE:
        return []
    return [f"{share:.0%} of the values leave 0–255 in the photo's colours, and are clipped"]


def _steps_to_record(step: int, end: int, config: Config) -> int:
    periods = [config.saving.log_every] + [config.saving.save_every] * (config.saving.save_every > 0)
    return min(end - step, *(period - step % period for period in periods))


def explain_culprits(solver: Solver) -> str:
    """Return the names of the losses that were not finite at the last rejected image, for a message."""
    rejected = zip(solver.step.evaluation.names, solver.state["rejected"].numpy(), strict=True)
    names = [name for name, value in rejected if not np.isfinite(value)]
    layers = [name for name in names if "/" in name]
    return ", ".join(layers or [name for name in names if name != "total"] or names or ["gradient"])
