"""The table of measures, from which columns, documents and reports are made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from neural_style_tf.evaluation import measures
from neural_style_tf.evaluation.looks import (
    GRAM_LAYERS,
    PERCEPTUAL_LAYERS,
    STRUCTURE_LAYER,
    W2_LAYERS,
    Appearance,
    Trial,
)


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure, which is a column of the table."""

    name: str
    axis: Literal["content", "style", "neither"]
    unit: str  # or the range of its values
    says: str  # what it compares, in words
    function: Callable[[Trial], float] | None = None  # None for a column that another program computed
    best: float = 0.0  # the value of a perfect painting; 0 where less is better
    by_network: bool = True  # whether it needs the features of a network
    summed: bool = False  # whether it is part of `content_lost` or `style_missing`

    @property
    def less_is_better(self) -> bool:
        """Whether smaller values are better, as with all distances."""
        return self.best == 0.0

    @property
    def heading(self) -> str:
        """The name, with ↓ if less is better, ↑ if more is better."""
        return f"{self.name} {'↓' if self.less_is_better else '↑'}"

    def badness(self, value: float) -> float:
        """Return how far `value` is from the best value, so that less is better for each measure."""
        return value if self.less_is_better else self.best - value


def _of_layers(trial: Trial, layers: Sequence[str]) -> list[list[measures.FeatureStatistics]]:
    """Return the statistics of `layers` in the painting, and those in the style picture."""
    return [[side.statistics[layer] for layer in layers] for side in (trial.painting, trial.style)]


def _maps(look: Appearance) -> list:
    return [look.maps[layer] for layer in PERCEPTUAL_LAYERS]


MEASURES = (
    Measure(
        "ssim",
        "content",
        "–1…1",
        "local structure of the luma",
        lambda trial: measures.ssim(trial.painting.pixels, trial.photo.pixels),
        best=1.0,
        by_network=False,
        summed=True,
    ),
    Measure(
        "cfsd",
        "content",
        "nats",
        "which places are alike, at relu3_1",
        lambda trial: measures.cfsd(trial.painting.maps[STRUCTURE_LAYER], trial.photo.maps[STRUCTURE_LAYER]),
        summed=True,
    ),
    Measure(
        "perceptual",
        "content",
        "share",
        "features at each place, relu1_2 … relu4_3",
        lambda trial: measures.perceptual_distance(_maps(trial.painting), _maps(trial.photo)),
        summed=True,
    ),
    Measure(
        "w2",
        "style",
        "share",
        "distribution of features, as Gaussians, relu1_2 … relu4_2",
        lambda trial: measures.gaussian_w2(*_of_layers(trial, W2_LAYERS)),
        summed=True,
    ),
    Measure(
        "gram",
        "style",
        "share",
        "Gram matrices, relu1_1 … relu4_1",
        lambda trial: measures.gram_distance(*_of_layers(trial, GRAM_LAYERS)),
    ),
    Measure(
        "moments",
        "style",
        "share",
        "means and deviations of channels, relu1_1 … relu4_1",
        lambda trial: measures.moment_distance(*_of_layers(trial, GRAM_LAYERS)),
    ),
    Measure(
        "patches",
        "style",
        "grey levels",
        "distribution of 7×7 patches, at three sizes",
        lambda trial: measures.patch_distance(trial.painting.pixels, trial.style.pixels),
        by_network=False,
        summed=True,
    ),
    Measure(
        "colours",
        "style",
        "0…1",
        "histogram of colours",
        lambda trial: measures.colour_distance(trial.painting.pixels, trial.style.pixels),
        by_network=False,
        summed=True,
    ),
    Measure(
        "strokes",
        "style",
        "0…1",
        "how much edges nearby have one direction",
        lambda trial: abs(trial.painting.coherence - trial.style.coherence),
        by_network=False,
    ),
    Measure(
        "copied",
        "neither",
        "share",
        "pieces of the style picture in the painting, at relu4_1",
        lambda trial: measures.copied_share(trial.copied),
    ),
    Measure(
        "foreign",
        "neither",
        "share",
        "`copied`, where the photo shows something else",
        lambda trial: measures.foreign_share(trial.copied, trial.painting.copied, trial.photo.copied),
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}
CHEAP = tuple(measure for measure in MEASURES if not measure.by_network)
"""Measures that need only pixels: about a second at 512 pixels."""


LOST = Measure("content_lost", "content", "share", "mean of `ssim`, `cfsd`, `perceptual`, each a share")
MISSING = Measure("style_missing", "style", "share", "mean of `w2`, `patches`, `colours`, each a share")
SUMS = (LOST, MISSING)
"""Summaries of content and style. Each measure in them is a share of the distance of the empty control.

The empty control is the style picture for content, and the photo for style.
"""


def axis_shares(
    values: Mapping[str, float], photo: Mapping[str, float], style: Mapping[str, float]
) -> dict[str, float]:
    """Return the two `SUMS` of a painting by name: 0 if all of the content (style) is there, 1 if none is.

    `values`, `photo` and `style` are the values of the painting and of the two controls. A measure is left
    out if its control already has the best value; a sum without any measure is NaN.
    """
    sums = {}
    for total, control in ((LOST, style), (MISSING, photo)):
        shares = [
            measure.badness(values[measure.name]) / measure.badness(control[measure.name])
            for measure in MEASURES
            if measure.summed
            and measure.axis == total.axis
            and measure.name in values.keys() & control.keys()
            and measure.badness(control[measure.name]) > 0
        ]
        sums[total.name] = sum(shares) / len(shares) if shares else math.nan
    return sums


def judge(trial: Trial, chosen: Sequence[Measure] = MEASURES) -> dict[str, float]:
    """Return the value of each of the `chosen` measures by its name, for one painting."""
    return {measure.name: measure.function(trial) for measure in chosen if measure.function}
