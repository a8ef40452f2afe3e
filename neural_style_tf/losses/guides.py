"""Guides: where in the result each style goes, and from where in its picture it is taken.

Notation of this file, beside that of `functional`:

    m_r     the mask of a region r of the picture, 0–1                        [H, W]
    m_rl    the guide of the region: its mask at the positions of a layer l   [H_l, W_l]

The moments of a region are those of the features weighted by its guide and divided by the sum of the guide,
so that a small region has the statistics of its style as well as a large one has (Gatys et al., "Controlling
Perceptual Factors in Neural Style Transfer", arXiv 1611.07865, section 4). Without TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.models.architecture import VGG19, Architecture

if TYPE_CHECKING:
    from neural_style_tf.losses.term import Term

GUIDE_STEPS = 256
"""Values of a guide between 0 and 1: those that bfloat16 can hold."""
CONTENT = "content"
"""Name of the guide by which the content loss is weighted."""
LEAST = 1.0
"""Positions of a layer that a region must fill: the moments of fewer say nothing of a style."""


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A part of the picture, and what is painted there.

    Attributes:
        mask: [H, W], 0–1; None for the whole picture.
        styles: Numbers of its styles, from 0, which are blended there.
        weight: λ_r, a factor of its style loss.
    """

    mask: np.ndarray | None
    styles: tuple[int, ...]
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Guidance:
    """All masks of a run, at one size.

    Attributes:
        regions: What is painted where; together they need not cover the picture.
        sources: For each style its mask [h, w], 0–1, at the size of its picture; None for all of it.
        content: [H, W] ≥ 0, by which the content loss is weighted; None for 1 everywhere.
        kind: `simple`: the mean of a mask over each position's cell; `inside`: its minimum over all that the
            position sees, so that no style is taken from, or asked of, features that cross a border.
        architecture: Of the network whose layers are asked about.
    """

    regions: tuple[Region, ...] = (Region(None, (0,)),)
    sources: tuple[np.ndarray | None, ...] = (None,)
    content: np.ndarray | None = None
    kind: str = "simple"
    architecture: Architecture = VGG19

    @functools.cached_property
    def named(self) -> dict[str, Region]:
        """Name of a region, as terms have it → the region: `region1` …, and `""` for the whole picture."""
        return {
            "" if region.mask is None else f"region{number}": region
            for number, region in enumerate(self.regions, 1)
        }

    def region_guide(self, name: str, layer: str) -> np.ndarray | None:
        """Return the guide [1, H_l, W_l, 1] of a region at a layer; None for the whole picture."""
        return self._guide(self.named[name].mask, layer, name)

    def style_guide(self, number: int, layer: str) -> np.ndarray | None:
        """Return the guide [1, h_l, w_l, 1] of a style's picture at a layer; None for all of it."""
        return self._guide(self.sources[number], layer, f"style {number}")

    def guides(self, terms: Sequence[Term]) -> dict[str, dict[str, np.ndarray]]:
        """Return the guides of the image that some terms need: layer → name of a region → guide."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for term in terms:
            name, guide = term.region, None
            if term.source == "content":
                name, guide = CONTENT, self.content_guide(term.layer)
            elif term.region:
                guide = self.region_guide(term.region, term.layer)
            if guide is not None:
                found.setdefault(term.layer, {})[name] = guide
        return found

    @functools.cached_property
    def cover(self) -> np.ndarray | None:
        """How much of each place [H, W], 0–1, is painted; None for all of it."""
        masks = [region.mask for region in self.regions]
        return None if any(mask is None for mask in masks) else np.minimum(sum(masks), 1.0)

    def content_guide(self, layer: str) -> np.ndarray | None:
        """Return the weights [1, H_l, W_l, 1] of the content loss at a layer; None for 1 everywhere."""
        return None if self.content is None else at_layer(self.content, layer, architecture=self.architecture)

    def styles_of(self, name: str, layer: str) -> tuple[int, ...]:
        """Return the styles of a region that can be told at a layer; none where the region itself cannot."""
        guide = self.region_guide(name, layer)
        if guide is not None and guide.sum() < LEAST:
            return ()
        guides = {style: self.style_guide(style, layer) for style in self.named[name].styles}
        return tuple(style for style, one in guides.items() if one is None or one.sum() >= LEAST)

    def share(self, name: str, layer: str) -> float:
        """Return the weight of a region at a layer: λ_r times the share of the positions that it covers.

        So a stroke in a small region costs what it costs in a large one, and two halves with one style weigh
        as much as the whole.
        """
        guide, weight = self.region_guide(name, layer), self.named[name].weight
        return weight if guide is None else weight * float(guide.mean(dtype=np.float64))

    def _guide(self, mask: np.ndarray | None, layer: str, key: str) -> np.ndarray | None:
        if mask is None:
            return None
        if (key, layer) not in self._made:
            self._made[key, layer] = at_layer(mask, layer, self.kind, architecture=self.architecture)
        return self._made[key, layer]

    @functools.cached_property
    def _made(self) -> dict[tuple[str, str], np.ndarray]:
        return {}


EVERYWHERE = Guidance()
"""One style in all of the picture."""


def at_layer(
    mask: np.ndarray, layer: str, kind: str = "simple", *, architecture: Architecture = VGG19
) -> np.ndarray:
    """Return a mask [H, W] at the positions of a layer, float32 [1, H_l, W_l, 1]; see `Guidance`."""
    step = architecture.stride(layer)
    starts = [np.arange(0, side, step) for side in mask.shape]
    if kind == "inside":
        # Not before it is needed: mistakes in flags are told at once.
        from scipy import ndimage

        # Beyond its own cell a position sees this far on each side; nothing lies outside the picture.
        reach = architecture.halo(layer)
        mask = ndimage.minimum_filter(mask, size=2 * reach + 1, mode="nearest")
        cells = np.minimum.reduceat(np.minimum.reduceat(mask, starts[0], 0), starts[1], 1)
    else:
        sums = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), starts[0], 0), starts[1], 1)
        # The last cells may be narrower.
        counts = [np.diff([*start, side]) for start, side in zip(starts, mask.shape, strict=True)]
        cells = sums / np.outer(*counts)
    # So every precision has the same guide.
    steps = np.rint(cells * GUIDE_STEPS) / GUIDE_STEPS
    return steps.astype(np.float32)[np.newaxis, ..., np.newaxis]


def share_out(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return masks [H, W] whose sum is at most 1: where several overlap, they share the place."""
    total = np.maximum(sum(masks), 1.0)
    return [(mask / total).astype(np.float32) for mask in masks]


def is_everywhere(mask: np.ndarray | None) -> bool:
    """Return whether a mask is white everywhere, which is the same as none."""
    return mask is None or bool(mask.min() >= 1)
