"""The pictures of a run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.errors import UserError
from neural_style_tf.transfer.masks import Masks

if TYPE_CHECKING:
    from neural_style_tf.losses.temporal import Warped


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The pictures of a run, each [H, W, 3], RGB 0–255, of any size.

    A run drops them as soon as it can; whoever keeps this object keeps them in memory.

    Attributes:
        content: What is painted.
        style: The manner in which it is painted; of several, a tuple.
        initial: What the run begins with, instead of what `--init` names; None for the latter.
        masks: Where each style goes, and where it is from; default: everywhere.
        warped: What was painted before of this frame of a clip, and where it is known; resized to the frame.

    Raises:
        UserError: A picture that is not [H, W, 3].
    """

    content: np.ndarray
    style: np.ndarray | tuple[np.ndarray, ...]
    initial: np.ndarray | None = None
    masks: Masks = dataclasses.field(default_factory=Masks)
    warped: Warped | None = None

    def __post_init__(self) -> None:
        if not self.styles:
            raise UserError("there is no style picture: give at least one")
        pictures = [("content", self.content), *(("style", style) for style in self.styles)]
        pictures += [] if self.initial is None else [("initial", self.initial)]
        for role, pixels in pictures:
            shape = getattr(pixels, "shape", None)
            if shape is None or len(shape) != 3 or shape[-1] != 3:
                came = type(pixels).__name__ if shape is None else list(shape)
                raise UserError(f"the {role} picture must be an array [H, W, 3], not {came}")
        if not isinstance(self.masks, Masks):
            raise UserError(f"masks must be a Masks, not {type(self.masks).__name__}")

    @property
    def styles(self) -> tuple[np.ndarray, ...]:
        """All style pictures."""
        return tuple(self.style) if isinstance(self.style, tuple | list) else (self.style,)
