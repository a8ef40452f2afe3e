"""The choices of `--optimizer`, with what a run needs to know about each before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural_style_tf.config.schema import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class OptimizerFacts:
    """Properties of an optimiser that are known without importing it."""

    path: str  # where to import it from, as `package.module:Class`
    # Returns the memory of its state and temporaries, as a multiple of the memory of one picture.
    pictures: Callable[[OptimizerConfig], float]
    # A frame of a clip is finished if this many steps hardly lower its loss.
    steps_to_gain: int = 50
    leaves: bool = True  # whether its first steps may make a good initial image worse


OPTIMIZERS = {
    # Two moment estimates; with averaging also the average and two temporaries of its update.
    "adam": OptimizerFacts("neural_style_tf.optim.adam:Adam", lambda config: 2 + 3 * (config.averaging > 0)),
    # The history (two pictures each). Then: the image, the best trial of the line search, the direction, its
    # part within bounds, and temporaries of the direction.
    "lbfgs": OptimizerFacts(
        "neural_style_tf.optim.lbfgs:LBFGS", lambda config: 2 * config.history + 8, 10, leaves=False
    ),
}
OWN_PICTURES = 8
"""Assumed `pictures` of a user's own optimiser. If it needs more memory, the run continues in tiles."""


def facts_of(optimizer: str) -> OptimizerFacts:
    """Return the facts of a value of `--optimizer`: a built-in name, or `package.module:Class`."""
    return OPTIMIZERS.get(optimizer) or OptimizerFacts(optimizer, lambda config: OWN_PICTURES)
