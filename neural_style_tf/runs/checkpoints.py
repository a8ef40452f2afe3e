"""Write checkpoints, and find the newest readable one."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import tensorflow as tf

from neural_style_tf.config.schema import SaveConfig
from neural_style_tf.transfer.records import Listener, StepRecord

CHECKPOINTS_KEPT = 3


class Checkpoints(Listener):
    """Writes checkpoints of a run (its `RunState`) to `folder`, and keeps the last `CHECKPOINTS_KEPT`.

    `config` says which steps are saved. The last step is always saved, except if the run is complete and
    `save_every` is 0. Without `config.checkpoints` nothing is written.
    """

    def __init__(self, folder: Path, config: SaveConfig) -> None:
        self._folder, self._config = folder, config

    def on_step(self, record: StepRecord) -> None:
        last = record.last and (self._config.save_every or record.step < record.planned)
        due = self._config.saves(record.step) or record.due or last
        if not (due and self._config.checkpoints):
            return
        self._folder.mkdir(exist_ok=True)
        tf.train.Checkpoint(state=record.state).write(str(self._folder / f"ckpt-{record.step}"))
        for step in saved_steps(self._folder)[CHECKPOINTS_KEPT:]:
            # Remove the index file last: as long as it exists, `saved_steps` finds the step, and a later run
            # removes the rest.
            for file in sorted(self._folder.glob(f"ckpt-{step}.*")):
                file.unlink()


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint in `folder`, newest first."""
    names = [path.name.removeprefix("ckpt-").removesuffix(".index") for path in folder.glob("ckpt-*.index")]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def newest_good(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the path, without suffix, of the newest readable checkpoint in `folder`; None if there is none.

    Also return a line for each damaged checkpoint.
    """
    for unfinished in folder.glob("*_temp"):
        shutil.rmtree(unfinished, ignore_errors=True)
    notes: list[str] = []
    for step in saved_steps(folder):
        prefix = str(folder / f"ckpt-{step}")
        with contextlib.suppress(tf.errors.OpError, ValueError, RuntimeError, LookupError, TypeError):
            reader = tf.train.load_checkpoint(prefix)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
            return prefix, tuple(notes)
        notes.append(f"the checkpoint of step {step} is damaged; taking the one before")
    return None, tuple(notes)
