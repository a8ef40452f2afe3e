"""Check the masks of a run, and resize them for each scale to a `losses.guides.Guidance`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from neural_style_tf.config.schema import Config, LossConfig
from neural_style_tf.errors import UserError
from neural_style_tf.images.masks import fit_mask
from neural_style_tf.losses.guides import Guidance, Region, is_everywhere, scale_overlaps
from neural_style_tf.transfer.scales import Scale


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """The masks of a run. Each is a float array [h, w], 0–1, of any size; it is resized to its picture.

    Attributes:
        content: For each style a mask of the region of the result that this style paints. If empty, every
            style paints everywhere.
        style: For each style a mask of the part of its picture that is used, or None for the whole picture.
            If empty, all pictures are used as a whole.
        content_weight: Weight of the content loss at each pixel; None for 1 everywhere.
        alpha: Opacity of the photo; None for an opaque photo. Transparent pixels are not painted.
        moving: Whether these are the masks of one frame of a clip. Then a region may be empty in this frame.

    Raises:
        UserError: A mask has another shape, type or range.
    """

    content: tuple[np.ndarray, ...] = ()
    style: tuple[np.ndarray | None, ...] = ()
    content_weight: np.ndarray | None = None
    alpha: np.ndarray | None = None
    moving: bool = False

    def __post_init__(self) -> None:
        single = {"content_weight": self.content_weight, "alpha": self.alpha}
        several = {"content": self.content, "style": self.style}
        for name, masks in several.items():
            if not isinstance(masks, tuple | list):
                raise UserError(f"Masks: {name} must be a tuple of masks, one for each style")
            object.__setattr__(self, name, tuple(masks))
        pairs = [*single.items(), *((name, mask) for name, masks in several.items() for mask in masks)]
        for name, mask in pairs:
            if mask is None and name != "content":
                continue
            if not isinstance(mask, np.ndarray) or mask.ndim != 2 or not mask.size:
                raise UserError(f"Masks: {name} must be arrays [H, W], not {type(mask).__name__}")
            if mask.dtype.kind not in "fb" or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
                raise UserError(f"Masks: {name} must be numbers from 0 to 1, as floats")

    @property
    def regions(self) -> int:
        """Number of masks of the result: `content`, or else 1 for a photo with transparency."""
        return len(self.content) or int(self.alpha is not None)

    @property
    def is_guided(self) -> bool:
        """Whether a style paints only a part of the result, or only a part of its picture is used."""
        return bool(self.content) or self.alpha is not None or any(mask is not None for mask in self.style)

    def check(self, styles: int, config: Config) -> Masks:
        """Check the masks for a number of style pictures; return them without those that are all white."""
        check_count("content_mask", self.content, styles)
        check_count("style_mask", self.style, styles)
        for flag in ("style_blend", "mask_weight"):
            numbers = getattr(config.loss, flag)
            if numbers and len(numbers) != styles:
                raise UserError(
                    f"--{flag} has {len(numbers)} numbers, but there are {styles} styles: give one for each"
                )
        if len(config.sizes.style_scale) not in (1, styles):
            raise UserError(
                f"--style_scale has {len(config.sizes.style_scale)} numbers, but there are {styles} styles: "
                "give one for all, or one for each"
            )
        # If all content masks are white, the styles are blended, unless `mask_weight` weights the regions.
        is_blend = all(map(is_everywhere, self.content)) and not config.loss.mask_weight and not self.moving
        content = () if is_blend else self.content
        if config.loss.style_blend and content and styles > 1:
            raise UserError(
                "--style_blend mixes styles in one place, and with --content_mask each has its own: to make "
                "one count more there, give --mask_weight"
            )
        if config.loss.mask_weight and not content:
            raise UserError("--mask_weight is about the regions of --content_mask, and there is none")
        weights = () if self.content_weight is None else (self.content_weight,)
        for flag, masks in (
            ("content_mask", content),
            ("style_mask", self.style),
            ("content_weight_mask", weights),
        ):
            for number, mask in enumerate(masks):
                if mask is not None and not mask.max() > 0 and not self.moving:
                    which = f", the one of style {number + 1}," if len(masks) > 1 else ""
                    raise UserError(f"--{flag}{which} is black everywhere: white says where")
        checked = Masks(
            content,
            tuple(None if is_everywhere(mask) else mask for mask in self.style) or (None,) * styles,
            None if is_everywhere(self.content_weight) else self.content_weight,
            None if is_everywhere(self.alpha) else self.alpha,
            self.moving,
        )
        if config.loss.mask_guides != LossConfig.mask_guides and not checked.is_guided:
            white = " but white ones, which say nothing" if self.is_guided else ""
            raise UserError(
                f"--mask_guides={config.loss.mask_guides} is about masks, and there is none{white}"
            )
        return checked

    def at(self, size: tuple[int, int], style_sizes: Sequence[tuple[int, int]], config: Config) -> Guidance:
        """Resize checked masks to an image of `size` (H, W), and to style pictures of `style_sizes`."""
        alpha = None if self.alpha is None else fit_mask(self.alpha, size)
        all_styles = tuple(range(len(style_sizes)))
        if self.content:
            weights = config.loss.mask_weight or (1.0,) * len(all_styles)
            shares = scale_overlaps([fit_mask(mask, size) for mask in self.content])
            visible = [share if alpha is None else share * alpha for share in shares]
            regions = tuple(
                Region(mask, (style,), weight)
                for style, (mask, weight) in enumerate(zip(visible, weights, strict=True))
            )
        else:
            regions = (Region(alpha, all_styles),)
        for number, region in enumerate(regions):
            if region.mask is not None and not region.mask.max() > 0 and not self.moving:
                where = f"the region of style {number + 1}" if self.content else "the photo"
                raise UserError(f"{where} is transparent everywhere: nothing to paint")
        sources = tuple(
            None if mask is None else fit_mask(mask, style_size)
            for mask, style_size in zip(self.style, style_sizes, strict=True)
        )
        factors = [fit_mask(mask, size) for mask in (self.content_weight, alpha) if mask is not None]
        content = np.prod(factors, axis=0).astype(np.float32) if factors else None
        return Guidance(regions, sources, content, config.loss.mask_guides)


def without_unused(
    styles: list[np.ndarray], masks: Masks, config: Config
) -> tuple[list[np.ndarray], Masks, Config]:
    """Return styles, masks and settings without the styles whose weight in `style_blend` is 0."""
    blend, scales = config.loss.style_blend, config.sizes.style_scale
    used = [number for number in range(len(styles)) if not blend or blend[number] > 0]
    if len(used) == len(styles) or masks.content:
        return styles, masks, config
    config = config.replace(
        style_blend=tuple(blend[number] for number in used) if len(used) > 1 else (),
        style_scale=scales if len(scales) == 1 else tuple(scales[number] for number in used),
    )
    masks = dataclasses.replace(masks, style=tuple(masks.style[number] for number in used))
    return [styles[number] for number in used], masks, config


def check_count(flag: str, masks: Sequence[object], styles: int) -> None:
    """Raise UserError if the number of masks of `--flag` is neither 0 nor the number of styles."""
    if masks and len(masks) != styles:
        raise UserError(
            f"--{flag} is given {len(masks)} times, and --style {styles}: give one for each style, in the "
            "same order"
        )


def _subject(masks: Masks, style: int) -> str:
    """Return the words by which a message refers to the region of a style."""
    if masks.content or masks.style[style] is not None:
        return f"the mask of style {style + 1}"
    return "what is visible of the photo"


def check_masks(masks: Masks, scales: Sequence[Scale], config: Config) -> tuple[str, ...]:
    """Return a line for each region that is too small for some style layers at a scale."""
    layers = [layer for layer, _ in config.loss.style_layers]
    lines: list[str] = []
    for scale in scales:
        guidance = masks.at(scale.content, scale.styles, config)
        if masks.moving:
            # A region that is too small in one frame may be large enough in another.
            continue
        for name, style in [
            (name, style) for name, region in guidance.named.items() for style in region.styles
        ]:
            too_deep = [layer for layer in layers if style not in guidance.styles_of(name, layer)]
            if scale is scales[-1] and too_deep and too_deep == layers:
                raise UserError(
                    f"{_subject(masks, style)} is too small for every layer of --style_layers at this size: "
                    "enlarge it, or the picture"
                )
            if too_deep:
                height, width = scale.content
                lines.append(
                    f"at {width}×{height} pixels {_subject(masks, style)} is too small for "
                    f"{', '.join(too_deep)}: left out there"
                )
    return tuple(lines)
