"""The choices of `--optimizer`, and what planning needs to know of them without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neural_style_tf.config.schema import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class OptimizerFacts:
    """What is known of an optimiser before it is imported."""

    path: str  # `package.module:Class` of the `Optimizer`
    # Settings → size of its state and temporaries, in pictures.
    pictures: Callable[[OptimizerConfig], float]
    steps_to_gain: int = 50  # steps over which a frame of a clip must gain, or it is done
    leaves: bool = True  # whether the first steps may lead away from a good initial image


OPTIMIZERS = {
    # Both moment estimates; with averaging the average, and two temporaries of its update.
    "adam": OptimizerFacts("neural_style_tf.optim.adam:Adam", lambda config: 2 + 3 * (config.averaging > 0)),
    # The history; the image and the best trial of a line search, the direction, the part of it within bounds,
    # and temporaries of the direction.
    "lbfgs": OptimizerFacts(
        "neural_style_tf.optim.lbfgs:LBFGS", lambda config: 2 * config.history + 8, 10, leaves=False
    ),
}
OWN_PICTURES = 8
"""Pictures that an optimiser of the user's is expected to take; a run that takes more goes on in tiles."""


def facts_of(optimizer: str) -> OptimizerFacts:
    """Return what is known of a choice of `--optimizer`, or of a user's class, `package.module:Class`."""
    return OPTIMIZERS.get(optimizer) or OptimizerFacts(optimizer, lambda config: OWN_PICTURES)
