"""The pictures of a run."""

from __future__ import annotations

import dataclasses

import numpy as np

from neural_style_tf.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The pictures of a run, each [H, W, 3], RGB 0–255, of any size.

    A run drops them as soon as it can; whoever keeps this object keeps them in memory.

    Attributes:
        content: What is painted.
        style: The manner in which it is painted.
        initial: What the run begins with, instead of what `--init` names; None for the latter.

    Raises:
        UserError: A picture that is not [H, W, 3].
    """

    content: np.ndarray
    style: np.ndarray
    initial: np.ndarray | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            pixels = getattr(self, field.name)
            if pixels is not None and (pixels.ndim != 3 or pixels.shape[-1] != 3):
                raise UserError(
                    f"the {field.name} picture must be an array [H, W, 3], not {list(pixels.shape)}"
                )
