"""Plan the sizes of the pictures of a run, and its scales from coarse to fine.

A scale is one size at which the picture is painted. Its result is enlarged to begin the next, finer scale.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from neural_style_tf.config.schema import MOST_SCALES, QUALITIES, Config
from neural_style_tf.errors import UserError
from neural_style_tf.images import fit_size, resize
from neural_style_tf.models.architecture import VGG19

COARSEST = 64
"""Approximate longest side, in pixels, of the coarsest scale if the setting `scales` is 0."""


def content_size(size: tuple[int, int], config: Config) -> tuple[int, int]:
    """Return (H, W) of the result for a content picture of `size` (H, W)."""
    size = fit_size(size, config.sizes.image_size, enlarge=config.sizes.enlarge)
    _check_size(size, config, "content")
    return size


def style_size(size: tuple[int, int], result: tuple[int, int], config: Config) -> tuple[int, int]:
    """Return (H, W) to which a style picture of `size` (H, W) is reduced, before `style_scale` is applied.

    If `config.sizes.style_size` is −1, the longest side of the `result` (H, W) is the limit.
    """
    size = fit_size(size, max(result) if config.sizes.style_size == -1 else config.sizes.style_size)
    _check_size(size, config, "style")
    return size


def longest_of_style(result: tuple[int, int], config: Config, number: int = 0) -> int:
    """Return the longest side, in pixels, at which style `number` (from 0) is used; 0 for its own size.

    `result` is (H, W) of the result.
    """
    scales = config.sizes.style_scale
    longest = max(result) if config.sizes.style_size == -1 else config.sizes.style_size
    return math.ceil(longest * max(scales[number if number < len(scales) else 0], 1))


def fit_content(content: np.ndarray, config: Config) -> np.ndarray:
    """Return the content picture [H, W, 3] as float32, resized to the size of the result."""
    return resize(np.asarray(content, np.float32), content_size(content.shape[:2], config))


def _check_size(size: tuple[int, int], config: Config, role: str) -> None:
    height, width = size
    layer = VGG19.deepest(config.loss.layers)
    flag = "style_size" if role == "style" and config.sizes.style_size > 0 else "image_size"
    needed = VGG19.stride(layer)
    if min(size) < needed:
        raise UserError(
            f"the {role} picture would be {width}×{height} pixels; {layer} needs sides of "
            f"at least {needed}: use a larger picture, a larger --{flag}, or shallower layers"
        )


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of a run, with its number of steps."""

    index: int  # 0 for the coarsest scale
    content: tuple[int, int]  # (H, W) of the content picture and the result in pixels
    styles: tuple[tuple[int, int], ...]  # (H, W) of each style picture
    iterations: int  # number of updates at this size
    first_step: int  # number of updates at coarser sizes
    # Factor of the content weight α. It is `coarse_content` at the coarsest scale, and falls geometrically to
    # 1 at the last.
    content_factor: float = 1.0

    @property
    def end(self) -> int:
        """The step of the run after which this scale ends."""
        return self.first_step + self.iterations

    def settings(self, config: Config) -> Config:
        """Return the settings for painting only this scale, from those of the run."""
        return config.replace(
            iterations=self.iterations,
            quality="normal",
            scales=1,
            scale_iterations=(),
            content_weight=self.content_factor * config.loss.content_weight,
        )


def plan_scales(
    content: tuple[int, int], styles: Sequence[tuple[int, int]], config: Config
) -> tuple[Scale, ...]:
    """Return the scales of a run, coarsest first. The last has the full size and `config.iterations` steps.

    Style pictures are reduced together with the content, so that strokes grow when the painting is enlarged.
    Scales that are too small for the network are left out. If the setting `scales` is 0, the coarsest scale
    has about the same size for every size of the result, so small and large paintings have the same strokes.
    `content` is (H, W) of the result; `styles` are those of the style pictures from `style_size`.
    """
    needed = VGG19.stride(VGG19.deepest(config.loss.layers))
    factors = config.sizes.style_scale
    factors = factors * len(styles) if len(factors) == 1 else factors
    counts = _iterations(content, config)
    scales: list[Scale] = []
    for level, iterations in enumerate(counts):
        factor = config.sizes.scale_ratio ** (level - len(counts) + 1)
        size = shrink(content, factor)
        shrunk = tuple(
            shrink(style, factor * style_scale) for style, style_scale in zip(styles, factors, strict=True)
        )
        last = level == len(counts) - 1
        for (height, width), style_scale in zip(shrunk, factors, strict=True):
            if last and min(height, width) < needed:
                raise UserError(
                    f"--style_scale={style_scale:g} makes the style picture {width}×{height} pixels; "
                    f"{VGG19.deepest(config.loss.layers)} needs sides of at least {needed}: use a "
                    "larger --style_scale, or a larger style picture"
                )
        if last or min(*size, *(side for style in shrunk for side in style)) >= needed:
            scales.append(Scale(len(scales), size, shrunk, iterations, scales[-1].end if scales else 0))
    # 1 at the coarsest scale, 0 at the last.
    coarseness = [1 - scale.index / (len(scales) - 1) for scale in scales[:-1]] + [0.0]
    return tuple(
        dataclasses.replace(scale, content_factor=config.sizes.coarse_content**exponent)
        for scale, exponent in zip(scales, coarseness, strict=True)
    )


def _iterations(content: tuple[int, int], config: Config) -> tuple[int, ...]:
    """Return the iterations of each scale, coarsest first, for a result of size `content` (H, W)."""
    sizes, default = config.sizes, config.iterations
    if sizes.scales:
        coarser = sizes.scales - 1
    else:
        coarser = max(0, round(math.log(max(content) / COARSEST, sizes.scale_ratio)))
    if coarser >= MOST_SCALES:
        raise UserError(
            f"--scale_ratio={sizes.scale_ratio:g} makes more than {MOST_SCALES} sizes from {COARSEST} pixels "
            "on: take a larger one, or say how many with --scales"
        )
    counts = (*(sizes.counts(coarser) or (default,) * coarser), default)
    return tuple(math.ceil(count * QUALITIES[config.quality]) for count in counts)


def shrink(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return `size` (H, W) times `factor`, rounded to whole pixels, at least 1."""
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width
