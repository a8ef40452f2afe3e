"""Guides: weights that say where each style is painted, and which part of its picture it is taken from.

Notation of this file, beside that of `functional`:

    m_r     the mask of a region r of the picture, 0–1                        [H, W]
    m_rl    the guide of the region: its mask at the positions of a layer l   [H_l, W_l]
    H_l     the number of rows of positions of layer l, W_l that of columns
    λ_r     the weight of the region

Moments of a region are weighted by its guide and divided by the sum of the guide. So a small region matches
the statistics of its style as well as a large region does (Gatys et al., "Controlling Perceptual Factors in
Neural Style Transfer", arXiv 1611.07865, section 4). This module does not import TensorFlow.
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
"""Guides are rounded to multiples of 1/256. bfloat16 holds these exactly, so the guide is the same in every
precision."""
CONTENT = "content"
"""Name of the guide that weights the positions in the content loss."""
LEAST = 1.0
"""Smallest useful sum of a guide: moments of less than one position say nothing about a style."""


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A part of the result, and the styles that are painted there."""

    mask: np.ndarray | None  # m_r [H, W], 0–1; None for the whole picture
    styles: tuple[int, ...]  # indices of the styles, which are blended
    weight: float = 1.0  # λ_r, a factor of the region's style loss


@dataclasses.dataclass(frozen=True, eq=False)
class Guidance:
    """All masks of a run, at one size of the result."""

    regions: tuple[Region, ...] = (Region(None, (0,)),)  # they may leave parts of the result uncovered
    # For each style, the mask [h, w], 0–1, of the part of its picture to use; None for the whole picture.
    sources: tuple[np.ndarray | None, ...] = (None,)
    content: np.ndarray | None = None  # weight of each pixel in the content loss [H, W], ≥ 0; None: 1
    # How a mask becomes a guide. `simple` takes the mean of the mask over the pixels of each position.
    # `inside` takes the minimum over its receptive field: features that see across a border belong to no
    # style.
    kind: str = "simple"
    architecture: Architecture = VGG19  # that of the network

    @functools.cached_property
    def named(self) -> dict[str, Region]:
        """A dict of the regions by name: `region1`, `region2` …, or `""` for a region without a mask."""
        return {
            "" if region.mask is None else f"region{number}": region
            for number, region in enumerate(self.regions, 1)
        }

    def region_guide(self, name: str, layer: str) -> np.ndarray | None:
        """Return the guide m_rl [1, H_l, W_l, 1] of the region `name`; None for the whole picture."""
        return self._guide(self.named[name].mask, layer, name)

    def style_guide(self, number: int, layer: str) -> np.ndarray | None:
        """Return the guide [1, h_l, w_l, 1] of the picture of style `number`; None for the whole picture."""
        return self._guide(self.sources[number], layer, f"style {number}")

    def content_guide(self, layer: str) -> np.ndarray | None:
        """Return each position's weight in the content loss [1, H_l, W_l, 1]; None without a content mask."""
        return None if self.content is None else at_layer(self.content, layer, architecture=self.architecture)

    def guides(self, terms: Sequence[Term]) -> dict[str, dict[str, np.ndarray]]:
        """Return the guides of the image that `terms` need, a dict of dicts: first by layer, then by region.

        The guide of the content loss has the name `CONTENT`.
        """
        guides: dict[str, dict[str, np.ndarray]] = {}
        for term in terms:
            name, guide = term.region, None
            if term.source == "content":
                name, guide = CONTENT, self.content_guide(term.layer)
            elif term.region:
                guide = self.region_guide(term.region, term.layer)
            if guide is not None:
                guides.setdefault(term.layer, {})[name] = guide
        return guides

    @functools.cached_property
    def cover(self) -> np.ndarray | None:
        """How much of each pixel is painted [H, W], 0–1; None if a region is the whole picture."""
        masks = [region.mask for region in self.regions]
        return None if any(mask is None for mask in masks) else np.minimum(sum(masks), 1.0)

    def styles_of(self, name: str, layer: str) -> tuple[int, ...]:
        """Return the indices of the styles of the region `name` at `layer`.

        A style whose mask is too small at this layer is left out. If the region itself is too small, the
        result is empty.
        """
        guide = self.region_guide(name, layer)
        if guide is not None and guide.sum() < LEAST:
            return ()
        guides = {style: self.style_guide(style, layer) for style in self.named[name].styles}
        return tuple(style for style, guide in guides.items() if guide is None or guide.sum() >= LEAST)

    def share(self, name: str, layer: str) -> float:
        """Return λ_r times the share of the layer's positions that lie in the region `name`.

        With this factor a brush stroke costs the same in a small region as in a large one, and two halves
        with one style weigh as much as the whole picture.
        """
        guide, weight = self.region_guide(name, layer), self.named[name].weight
        return weight if guide is None else weight * float(guide.mean(dtype=np.float64))

    def _guide(self, mask: np.ndarray | None, layer: str, key: str) -> np.ndarray | None:
        if mask is None:
            return None
        if (key, layer) not in self._cache:
            self._cache[key, layer] = at_layer(mask, layer, self.kind, architecture=self.architecture)
        return self._cache[key, layer]

    @functools.cached_property
    def _cache(self) -> dict[tuple[str, str], np.ndarray]:
        return {}


EVERYWHERE = Guidance()
"""One style for the whole picture, without masks."""


def at_layer(
    mask: np.ndarray, layer: str, kind: str = "simple", *, architecture: Architecture = VGG19
) -> np.ndarray:
    """Return the guide of `mask` [H, W] at the positions of `layer`, float32 [1, H_l, W_l, 1].

    `kind` is `simple` or `inside`; see `Guidance`.
    """
    step = architecture.stride(layer)
    starts = [np.arange(0, side, step) for side in mask.shape]
    if kind == "inside":
        # Import SciPy late, so that mistakes in flags are reported in the first second.
        from scipy import ndimage

        # On each side, the receptive field extends `reach` pixels beyond the position's own cell. `nearest`
        # makes sure that nothing beyond the picture counts.
        reach = architecture.halo(layer)
        mask = ndimage.minimum_filter(mask, size=2 * reach + 1, mode="nearest")
        cells = np.minimum.reduceat(np.minimum.reduceat(mask, starts[0], 0), starts[1], 1)
    else:
        sums = np.add.reduceat(np.add.reduceat(mask.astype(np.float64), starts[0], 0), starts[1], 1)
        # The last cells of a row or column may be smaller.
        counts = [np.diff([*start, side]) for start, side in zip(starts, mask.shape, strict=True)]
        cells = sums / np.outer(*counts)
    steps = np.rint(cells * GUIDE_STEPS) / GUIDE_STEPS
    return steps.astype(np.float32)[np.newaxis, ..., np.newaxis]


def scale_overlaps(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return `masks` [H, W], scaled down where they overlap, so that their sum is at most 1 everywhere."""
    total = np.maximum(sum(masks), 1.0)
    return [(mask / total).astype(np.float32) for mask in masks]


def is_everywhere(mask: np.ndarray | None) -> bool:
    """Return whether `mask` selects the whole picture: it is None, or 1 (white) everywhere."""
    return mask is None or bool(mask.min() >= 1)
