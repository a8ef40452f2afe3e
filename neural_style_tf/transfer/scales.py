"""Plan the scales: the sizes of a run, coarse to fine, and their iterations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from neural_style_tf.config.schema import MOST_SCALES, Config
from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG19

COARSEST = 64
"""Longest side at the coarsest scale where `scales` is 0, in pixels: the nearest that the ratio allows."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of a run.

    Attributes:
        index: 0 is the coarsest.
        content: (H, W) of content and result, pixels.
        styles: (H, W) of each style picture.
        iterations: Updates at this size.
        first_step: Updates made before it.
    """

    index: int
    content: tuple[int, int]
    styles: tuple[tuple[int, int], ...]
    iterations: int
    first_step: int

    @property
    def end(self) -> int:
        """The step at which it ends."""
        return self.first_step + self.iterations


def plan_scales(
    content: tuple[int, int], styles: Sequence[tuple[int, int]], config: Config
) -> tuple[Scale, ...]:
    """Return the scales of a run, coarsest first.

    Style pictures shrink along with the content, so that strokes grow with the picture. A scale too
    small for the network is left out. Where `scales` is 0, a picture begins at the same size however large it
    becomes, so that the same strokes are laid out in a small and in a large painting of it.

    Args:
        content: (H, W) of the result.
        styles: (H, W) of each style picture at the last scale, before `config.sizes.style_scale`.
        config: `scales`, `scale_ratio`, `scale_iterations`, `iterations`, `style_scale`.

    Returns:
        At least one scale; the last is the full size with `config.iterations`.

    Raises:
        UserError: More than `MOST_SCALES`, or `style_scale` makes a style picture too small for the network.
    """
    needed = VGG19.stride(VGG19.deepest(config.loss.layers))
    factors = config.sizes.style_scale
    factors = factors * len(styles) if len(factors) == 1 else factors
    counts = _iterations(content, config)
    scales: list[Scale] = []
    for level, iterations in enumerate(counts):
        factor = config.sizes.scale_ratio ** (level - len(counts) + 1)
        size = shrink(content, factor)
        seen = tuple(shrink(style, factor * one) for style, one in zip(styles, factors, strict=True))
        last = level == len(counts) - 1
        for (height, width), one in zip(seen, factors, strict=True):
            if last and min(height, width) < needed:
                raise UserError(
                    f"--style_scale={one:g} makes the style picture {width}×{height} pixels; "
                    f"{VGG19.deepest(config.loss.layers)} needs sides of at least {needed}: use a "
                    "larger --style_scale, or a larger style picture"
                )
        if last or min(*size, *(side for style in seen for side in style)) >= needed:
            scales.append(Scale(len(scales), size, seen, iterations, scales[-1].end if scales else 0))
    return tuple(scales)


def _iterations(content: tuple[int, int], config: Config) -> tuple[int, ...]:
    """Return the iterations of each scale of a result of size `content`, coarsest first."""
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
    return (*(sizes.counts(coarser) or (default,) * coarser), default)


def shrink(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return a size times a factor, rounded, at least one pixel."""
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def work_left(scales: tuple[Scale, ...], now: Scale, step: int) -> int:
    """Return how many pixels are yet to be evaluated after a step of the scale `now`.

    Each later scale evaluates its initial image, too.
    """
    later = sum(math.prod(scale.content) * (scale.iterations + 1) for scale in scales[now.index + 1 :])
    return math.prod(now.content) * (now.end - step) + later
