"""TensorBoard: the losses as curves, the image, the settings as text and as hyperparameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2, summary

from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.parsing import to_text
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.images import to_picture
from neural_style_tf.runs.output_dir import EVENTS
from neural_style_tf.transfer.records import Listener, Measurer, Record
from neural_style_tf.utils.console import printable
from neural_style_tf.utils.files import atomic_path

IMAGE_EVERY = 5
"""An image is written at every fifth saved step."""
LONGEST_SIDE = 2048
"""Longest side of the images, in pixels. A larger image is reduced by a whole factor."""


class Curves(Listener):
    """Writes TensorBoard event files: losses as curves, images, and the settings.

    No file says what a sweep varies. TensorBoard's HParams page finds the settings in which runs differ.

    `after` is the step at which the run is resumed; later events are removed. `measure` measures the result
    of a finished run, for the HParams page.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        job: Job,
        *,
        after: int = -1,
        measure: Measurer | None = None,
    ) -> None:
        self._measure, self._last = measure, None
        if after >= 0:
            trim_events(folder, after)
        self._writer = tf.summary.create_file_writer(str(folder))
        self._newest = after
        self._image_every = IMAGE_EVERY * config.saving.save_every
        settings = {name: _simple(value) for name, value in (flat(config) | flat(job)).items()}
        table = "\n".join(["|setting|value|", "|---|---|"] + [f"|{k}|{v}|" for k, v in settings.items()])
        with self._writer.as_default(step=max(after, 0)):
            tf.summary.text("config", printable(table))
            if after < 0:
                compared = {k: v for k, v in settings.items() if k not in tagged("anew", Job)}
                hparams.hparams({k: printable(v) if isinstance(v, str) else v for k, v in compared.items()})

    def on_step(self, record: Record) -> None:
        self._last = record
        if not record.logged or record.step <= self._newest:
            return
        self._newest = record.step
        with self._writer.as_default(step=record.step):
            for name, value in record.terms.items():
                tf.summary.scalar(f"loss/{name}", value)
            tf.summary.scalar("seconds", record.seconds)
            if self._image_every and (record.last or record.step % self._image_every == 0):
                picture = to_picture(record.image_rows)
                picture = picture.reduce(max(1, -(-max(picture.size) // LONGEST_SIDE)))
                tf.summary.image("image", np.asarray(picture)[np.newaxis])
            if record.finished:
                ended = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
                tf.summary.experimental.write_raw_pb(ended.SerializeToString())
        self._writer.flush()

    def on_end(self) -> None:
        # Measure at the very end, when the result is already saved.
        try:
            if self._measure and self._last is not None and self._last.finished:
                with self._writer.as_default(step=self._last.step):
                    for name, value in self._measure(self._last).items():
                        tf.summary.scalar(f"measure/{name}", value)
        finally:
            self._writer.close()


def _simple(value: Any) -> Any:
    """Return the value of a setting as TensorBoard takes it: of a list of one number this number."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 and isinstance(value[0], float) else to_text(value)


def trim_events(folder: Path, step: int) -> None:
    """Remove the events after `step`, and incomplete events, from the event files in `folder`."""
    for path in folder.glob(EVENTS):
        kept = [raw for raw in _events(path) if tf.compat.v1.Event.FromString(raw).step <= step]
        with atomic_path(path) as shorter, tf.io.TFRecordWriter(str(shorter)) as writer:
            for raw in kept:
                writer.write(raw)


def _events(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
