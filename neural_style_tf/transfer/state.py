"""The state of a run in a checkpoint, and how it is restored."""

from __future__ import annotations

import tensorflow as tf


class RunState(tf.Module):
    """Everything a run must know to go on as if it had not been interrupted.

    Args:
        solver: Image, best image, and the optimiser's state at one scale.
        scale: The index of that scale.

    Attributes:
        faults: How many images were refused because they were not finite.
        seconds: Of computing, up to the newest record.
    """

    def __init__(self, solver: tf.Module, scale: int) -> None:
        super().__init__(name="run")
        self.solver = solver
        self.scale = tf.Variable(scale, dtype=tf.int64)
        self.faults = tf.Variable(0, dtype=tf.int64)
        self.seconds = tf.Variable(0.0, dtype=tf.float64)


def saved_scale(prefix: str) -> int:
    """Return the scale of a checkpoint."""
    return int(tf.train.load_checkpoint(prefix).get_tensor("state/scale/.ATTRIBUTES/VARIABLE_VALUE"))


def restore(prefix: str, state: RunState) -> None:
    """Read a checkpoint into a state built for its scale.

    Raises:
        ValueError: It is of another picture or optimiser.
    """
    saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    height, width = state.solver.size
    if saved.get("state/solver/image/.ATTRIBUTES/VARIABLE_VALUE") != [1, height, width, 3]:
        raise ValueError(f"{prefix} does not fit this run: its image is not {width}×{height} pixels")
    try:
        tf.train.Checkpoint(state=state).read(prefix).assert_consumed()
    except AssertionError as error:
        raise ValueError(f"{prefix} does not fit this run: {error}") from error
