"""Save the state of a run."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.events import Listener, StepRecord

KEPT = 3


class Checkpoints(Listener):
    """`checkpoints/`: image, optimiser state and best image; the last few are kept.

    Args:
        folder: Where they go.
        config: Which steps are saved; the last one always is, unless none are.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self._folder, self._config = folder, config
        self._manager: tf.train.CheckpointManager | None = None

    def on_step(self, record: StepRecord) -> None:
        """Save if due."""
        if not (self._config.saves(record.step) or (record.last and self._config.save_every)):
            return
        if self._manager is None:
            checkpoint = tf.train.Checkpoint(solver=record.state)
            self._manager = tf.train.CheckpointManager(checkpoint, str(self._folder), max_to_keep=KEPT)
        self._manager.save(checkpoint_number=record.step)
