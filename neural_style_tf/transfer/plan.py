"""The plan of a run: pictures, masks, colours and sizes, checked without TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.config.schema import Config, LossConfig
from neural_style_tf.errors import UserError
from neural_style_tf.images import resize
from neural_style_tf.images.masks import fit_mask
from neural_style_tf.losses.guides import Guidance, is_everywhere
from neural_style_tf.transfer.colors import LOSSES, Finish, change_colors
from neural_style_tf.transfer.initial import WORDS, initial_pixels
from neural_style_tf.transfer.masks import Masks, check_masks, without_unused
from neural_style_tf.transfer.regions import Regions
from neural_style_tf.transfer.scales import Scale, fit_content, plan_scales, style_size

if TYPE_CHECKING:
    from neural_style_tf.losses.temporal import Warped

FINDS_MASKS = "--match=regions finds the masks itself: leave out --content_mask and --style_mask"


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The pictures and masks of a run. Pictures are arrays [H, W, 3], RGB 0–255, of any size.

    Attributes:
        content: The content picture.
        style: The style picture, or a tuple of several to blend.
        initial: The picture that the run begins with; None for the one that `config.init` names.
        masks: Masks of the regions that each style paints, and of the parts of the pictures that are used;
            default: no masks.
        warped: For a frame of a clip, the earlier painted frames, warped to this frame; else None.

    Raises:
        UserError: A picture is not [H, W, 3].
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
                actual = type(pixels).__name__ if shape is None else list(shape)
                raise UserError(f"the {role} picture must be an array [H, W, 3], not {actual}")
        if not isinstance(self.masks, Masks):
            raise UserError(f"masks must be a Masks, not {type(self.masks).__name__}")

    @property
    def styles(self) -> tuple[np.ndarray, ...]:
        """All style pictures."""
        return tuple(self.style) if isinstance(self.style, tuple | list) else (self.style,)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A checked run: its pictures, [H, W, 3], RGB 0–255, and its scales. `prepared` changes some fields."""

    config: Config  # the settings, without styles of weight 0
    scales: tuple[Scale, ...]  # coarsest first
    photo: np.ndarray  # the content picture, at the size of the result
    content: np.ndarray  # equals `photo`; `prepared` changes its colours as `--colors` says
    # The style pictures. `prepared` reduces them to the size that is used, and changes their colours.
    styles: tuple[np.ndarray, ...]
    masks: Masks  # checked by `Masks.check`
    initial: np.ndarray | None  # initial image, of any size; None for the one that `config.init` names
    warped: Warped | None  # for a frame of a clip, the earlier painted frames, warped to this frame
    notes: tuple[str, ...]  # lines to show to the user
    # The inputs, if `--match=regions` still has to find the regions; see `with_regions`. Else None.
    unmatched: Inputs | None = None

    def prepared(self) -> Plan:
        """Return the plan with its pictures in the sizes and colours in which they are used.

        This is separate from `plan_run`, so that a sweep can check its runs without this work.
        """
        styles = [
            resize(style, to) if max(to) < max(style.shape[:2]) else style
            for style, to in zip(self.styles, self.scales[-1].styles, strict=True)
        ]
        content, styles, notes = change_colors(self.config.colors, self.photo, styles, self.masks)
        return dataclasses.replace(self, content=content, styles=tuple(styles), notes=(*self.notes, *notes))

    def at(self, scale: Scale) -> tuple[list[np.ndarray], Guidance, Warped | None, Finish | None]:
        """Return pictures (content first), masks, warped frame and `Finish` of a prepared plan at `scale`.

        The warped frame is None for a picture; the `Finish` is None if nothing is to be done.
        """
        pictures = [resize(self.content, scale.content), *map(resize, self.styles, scale.styles)]
        guidance = self.masks.at(scale.content, scale.styles, self.config)
        warped = None if self.warped is None else _resize_warped(self.warped, scale.content)
        recolor, finish = self.config.colors in ("content", "luminance"), None
        if recolor or guidance.cover is not None:
            finish = Finish(resize(self.photo, scale.content), recolor, guidance.cover)
        return pictures, guidance, warped, finish


def plan_run(inputs: Inputs, config: Config) -> Plan:
    """Check the pictures of a run against its settings, and plan its scales.

    `Session.run` accepts the plan instead of the inputs.
    """
    unmatched = inputs if config.loss.match == "regions" else None
    if unmatched is not None:
        check_unmatched(inputs, config)
    photo = fit_content(inputs.content, config)
    styles = [np.asarray(style, np.float32) for style in inputs.styles]
    # `Masks.check` refuses `mask_guides` without masks. With `--match=regions` there will be masks later.
    known = config if unmatched is None else config.replace(mask_guides=LossConfig.mask_guides)
    styles, masks, config = without_unused(styles, inputs.masks.check(len(styles), known), config)
    initial = inputs.initial
    if initial is None and config.init not in WORDS:
        # Read the file only once, at full size; each coarse scale reduces the image.
        initial = initial_pixels(config, photo, styles[0])
    size = photo.shape[:2]
    scales = plan_scales(size, [style_size(style.shape[:2], size, config) for style in styles], config)
    notes = check_masks(masks, scales, config)
    if config.colors in LOSSES:
        notes = (*notes, LOSSES[config.colors])
    return Plan(config, scales, photo, photo, tuple(styles), masks, initial, inputs.warped, notes, unmatched)


def check_unmatched(inputs: Inputs, config: Config) -> None:
    """Raise UserError if the masks or settings cannot be combined with `--match=regions`."""
    if inputs.masks.content:
        raise UserError(FINDS_MASKS)
    if config.loss.mask_weight:
        raise UserError(
            "--match=regions finds the regions itself, and how many: leave out --mask_weight, or paint with "
            "the masks that it writes"
        )
    if config.loss.style_blend:
        raise UserError("--match=regions paints each region with all styles alike: leave out --style_blend")


def with_regions(
    inputs: Inputs, config: Config, regions: Regions, *, moving: bool = False
) -> tuple[Inputs, Config]:
    """Return inputs and settings with masks that paint each region with the same region of the styles.

    A style picture is repeated for each of its regions, as a user would repeat `--style` with such masks. The
    regions are `moving` in a clip: they may be empty in some frames.
    """
    styles = [style for _, style in regions.pairs]
    seen, masks, scales = inputs.masks.style, inputs.masks, config.sizes.style_scale
    found = regions.style_masks()
    if any(mask is not None for mask in seen):
        found = tuple(
            mask if seen[style] is None else fit_mask(mask, seen[style].shape) * seen[style]
            for mask, style in zip(found, styles, strict=True)
        )
    masks = dataclasses.replace(
        masks, content=regions.content_masks(), style=found, moving=masks.moving or moving
    )
    if regions.count == 1 and all(map(is_everywhere, (masks.alpha, *seen))):
        config = config.replace(mask_guides=LossConfig.mask_guides)
    config = config.replace(
        match="none", style_scale=scales if len(scales) == 1 else tuple(scales[style] for style in styles)
    )
    pictures = tuple(inputs.styles[style] for style in styles)
    return dataclasses.replace(inputs, style=pictures, masks=masks), config


def _resize_warped(warped: Warped, size: tuple[int, int]) -> Warped:
    """Return `warped` resized to `size` (H, W)."""
    still = None if warped.still is None else fit_mask(warped.still, size) == 1
    return type(warped)(resize(warped.picture, size), fit_mask(warped.reliable, size), still)
