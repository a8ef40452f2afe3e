"""The state of a run that a checkpoint saves, and how it is restored."""

from __future__ import annotations

import tensorflow as tf

from neural_style_tf.errors import UserError, show
from neural_style_tf.optim import State

_SCALE, _IMAGE = (f"state/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("scale", "solver/image"))
"""Keys of two variables in a checkpoint."""


class RunState(tf.Module):
    """What a checkpoint saves: all that a resumed run needs to continue bit for bit.

    Attributes:
        solver: The state of the solver at the current scale.
        scale: The index of this scale.
        faults: Number of images so far that were rejected because they were not finite.
        seconds: Time that the run took up to its newest record.
    """

    def __init__(self, solver: State, scale: int) -> None:
        super().__init__(name="run")
        self.solver = solver
        self.scale = tf.Variable(scale, dtype=tf.int64)
        self.faults = tf.Variable(0, dtype=tf.int64)
        self.seconds = tf.Variable(0.0, dtype=tf.float64)


def saved_scale(prefix: str, scales: int) -> int:
    """Return the index of the scale, one of `scales`, at which the checkpoint `prefix` was saved."""
    reader = tf.train.load_checkpoint(prefix)
    scale = int(reader.get_tensor(_SCALE)) if reader.has_tensor(_SCALE) else scales
    if not 0 <= scale < scales:
        raise _misfit(prefix, "it is of no size that this run has")
    return scale


def restore(prefix: str, state: RunState) -> None:
    """Read the checkpoint `prefix` into `state`, which must be of the same scale."""
    saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    _, height, width, _ = tf.raw_ops.VariableShape(input=state.solver["image"].handle).numpy().tolist()
    if saved.get(_IMAGE) != [1, height, width, 3]:
        raise _misfit(prefix, f"its image is not {width}×{height} pixels")
    try:
        tf.train.Checkpoint(state=state).read(prefix).assert_consumed()
    except (AssertionError, ValueError) as error:
        raise _misfit(prefix, "it is of another optimiser, or of other losses") from error


def _misfit(prefix: str, why: str) -> UserError:
    return UserError(
        f"--resume: {show(prefix)} does not fit this run: {why}; remove it to go on from the one before, or "
        "give --overwrite to begin anew"
    )
