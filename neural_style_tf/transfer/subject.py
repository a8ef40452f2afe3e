"""What a run paints, at its full size and at each scale, made of the pictures it is given."""

from __future__ import annotations

import dataclasses

import numpy as np

from neural_style_tf.config.schema import Config
from neural_style_tf.images import resize
from neural_style_tf.images.masks import fit_mask
from neural_style_tf.losses.guides import Guidance
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.colors import Finish, prepare
from neural_style_tf.transfer.initial import WORDS, initial_pixels
from neural_style_tf.transfer.inputs import Inputs
from neural_style_tf.transfer.masks import Masks, check_masks, without_unused
from neural_style_tf.transfer.picture_sizes import fit_content, style_size
from neural_style_tf.transfer.scales import Scale, plan_scales


@dataclasses.dataclass(eq=False)
class Subject:
    """What a run paints, at its full size.

    Attributes:
        content: [H, W, 3], RGB 0–255, as it is painted.
        styles: Each [h, w, 3], likewise.
        photo: The photo as it was.
        recolor: Whether the result gets its colours.
        masks: Checked.
        warped: Of a clip, what was painted before.
        initial: The picture to begin with, of any size; None for what `config.init` names.
        notes: Lines that the user should see.
    """

    content: np.ndarray
    styles: list[np.ndarray]
    photo: np.ndarray
    recolor: bool
    masks: Masks
    warped: Warped | None
    initial: np.ndarray | None
    notes: tuple[str, ...]

    def at(
        self, scale: Scale, config: Config
    ) -> tuple[list[np.ndarray], Guidance, Warped | None, Finish | None]:
        """Return what one scale paints.

        Returns:
            The pictures, content first; the masks; what was painted before of a frame; what is done to its
            images when they are read.
        """
        pictures = [resize(self.content, scale.content), *map(resize, self.styles, scale.styles)]
        guidance = self.masks.at(scale.content, scale.styles, config)
        warped = None if self.warped is None else resize_warped(self.warped, scale.content)
        finish = None
        if self.recolor or guidance.cover is not None:
            finish = Finish(resize(self.photo, scale.content), self.recolor, guidance.cover)
        return pictures, guidance, warped, finish


def plan_run(inputs: Inputs, config: Config) -> tuple[Subject, tuple[Scale, ...], Config]:
    """Return what is painted, at which scales, and the settings without styles that are not used.

    Raises:
        UserError: A picture that is not [H, W, 3], or too small for the network; masks that cannot be.
    """
    content = fit_content(inputs.content, config)
    styles = [np.asarray(style, np.float32) for style in inputs.styles]
    styles, masks, config = without_unused(styles, inputs.masks.check(len(styles), config), config)
    initial = inputs.initial
    if initial is None and config.init not in WORDS:
        # A file, which coarse scales see smaller.
        initial = initial_pixels(config, content, styles[0])
    result = content.shape[:2]
    scales = plan_scales(result, [style_size(style.shape[:2], result, config) for style in styles], config)
    check_masks(masks, scales, config)
    for number, size in enumerate(scales[-1].styles):
        if max(size) < max(styles[number].shape[:2]):
            styles[number] = resize(styles[number], size)
    painted = prepare(config.colors, content, styles, masks)
    subject = Subject(
        painted.content,
        painted.styles,
        painted.photo,
        painted.recolor,
        masks,
        inputs.warped,
        initial,
        painted.notes,
    )
    return subject, scales, config


def resize_warped(warped: Warped, size: tuple[int, int]) -> Warped:
    """Return what was painted before of a frame, at another size (H, W)."""
    still = None if warped.still is None else fit_mask(warped.still, size) == 1
    return Warped(resize(warped.picture, size), fit_mask(warped.reliable, size), still)
