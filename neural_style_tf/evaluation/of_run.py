"""Measures of a run's result that need no network; they are for comparing the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from neural_style_tf.evaluation.columns import CHEAP, judge
from neural_style_tf.evaluation.looks import SIZE, SMALLEST, Trial, Viewer
from neural_style_tf.evaluation.single import has_scikit_image
from neural_style_tf.images import fit_size, resize, to_picture
from neural_style_tf.transfer.records import StepRecord


class ResultMeasures:
    """Measures the result of a finished run, reduced to a longest side of 512 pixels if it is larger.

    `photo` has the size of the result. Style is measured only if there is a single style picture, with sides
    of at least 32 pixels. `notes` says why the result could not be measured, if it could not.
    """

    def __init__(self, photo: np.ndarray, styles: Sequence[np.ndarray]) -> None:
        self._photo = _reduced(photo)
        style = _reduced(styles[0]) if len(styles) == 1 else None
        self._style = style if style is not None and min(style.shape[:2]) >= SMALLEST else None
        self._values: dict[str, float] | None = None
        self.notes: list[str] = []

    def __call__(self, record: StepRecord) -> dict[str, float]:
        """Return the measures by name, for the last `record` of a run; without `ssim` if it cannot be had."""
        if self._values is None:
            try:
                self._values = self._measure(record)
            except Exception as error:
                # The painting is finished, so no error of a measure may make the run fail.
                self._values = {}
                self.notes.append(f"the result was not measured: {type(error).__name__}: {error}")
        return self._values

    def _measure(self, record: StepRecord) -> dict[str, float]:
        shape = self._photo.shape[:2]
        if min(shape) < SMALLEST:
            return {}
        chosen = [
            measure
            for measure in CHEAP
            if (measure.name != "ssim" or has_scikit_image())
            and (measure.axis == "content" or self._style is not None)
        ]
        picture = to_picture(record.best_rows).resize(shape[::-1], Image.Resampling.LANCZOS)
        viewer = Viewer()
        photo = viewer.look(self._photo)
        style = photo if self._style is None else viewer.look(self._style)
        return judge(Trial(viewer.look(np.asarray(picture)), photo, style), chosen)


def _reduced(pixels: np.ndarray) -> np.ndarray:
    # Returns a copy, so that the plan's own pictures can be freed when painting begins.
    return np.array(resize(pixels, fit_size(pixels.shape[:2], SIZE)))
