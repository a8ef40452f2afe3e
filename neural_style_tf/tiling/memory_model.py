"""Estimate the memory that a run needs, and list the tile sizes; without TensorFlow.

The estimate is what a run takes beyond the process with TensorFlow imported, on a CPU:

    pictures   the image, the solver's and the optimiser's copies of it, masks, the photo's features
    step       the features that backpropagation keeps, and the gradients at its widest point: of the whole
               image, or of the largest tile
    weights    with the copies that oneDNN makes of them

It is meant to be a little too high. Should it be too low, a run goes on in smaller tiles (`smaller_tile`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from neural_style_tf.config.optimizers import facts_of
from neural_style_tf.config.schema import Config
from neural_style_tf.models.architecture import VGG19, Architecture
from neural_style_tf.tiling.grid import plan_tiles, window_area

FLOAT_BYTES, RGB = 4, 3
SOLVER_PICTURES = 3.5
"""Image, best image and gradient, and what TensorFlow's allocator loses between large blocks."""
VARIATION_PICTURES = 8
"""Total variation: differences of neighbours in two directions, padded ones, and gradients."""
WEIGHT_COPIES, WINOGRAD_WEIGHT_COPIES = 3, 7
"""The weights that were read, the network's, and oneDNN's copy of them; tiles have a network for each of two
passes. By Winograd's method: kernels of 36 numbers for 9, and a direct network for the style pictures."""
WINOGRAD_FEATURES = 7.5
"""Numbers that Winograd's method holds for each feature of a layer: 36 go into its products for 16 positions
and 36 come out, and 24 are between the two passes of its sums, in float32."""
NEAREST_MAPS, NEAREST_BLOCK = 5, 256
"""Nearest neighbours: features of the image, normalised ones, the samples nearest to them, and gradients; and
the samples that are compared at a time, whose similarities are float32."""
OVERHEAD, XLA = 64 * 2**20, 150 * 2**20
"""Bytes of thread pools, compiled graphs and kernels; bytes that XLA takes to compile."""

LARGE_PICTURE = 25_000_000
"""Pixels from which on `utils.runtime.start_tensorflow` returns freed memory to the system at once."""
TILES = (4096, 2048, 1024, 512, 256)
SAFE_SHARE = 0.8
"""Share of the available memory that a run may be expected to take."""
PIXELS_LOOKED_AT, LEAST_LOOKED_AT = 2, 512 * 512
"""A style picture is looked at in one piece up to so many times the pixels of the result, which takes no more
memory than a step (it needs no gradient), and up to so many pixels in any case."""


def estimate_run(
    config: Config,
    size: tuple[int, int],
    tile: int | None,
    *,
    styles: Sequence[tuple[int, int]] = (),
    regions: int = 0,
    half: bool = False,
    winograd: bool = False,
    architecture: Architecture = VGG19,
) -> int:
    """Return the bytes that a run needs at its peak.

    `size` is (H, W) of the result, `styles` those of the style pictures after resizing. `tile` is the longest
    side of a tile's core in pixels, None for one piece. There are masks of so many `regions`. The network of
    this `architecture` computes in bfloat16 (`half`), and wide layers by Winograd's method (`winograd`).
    """
    content, style = (
        [architecture.resolve(layer) for layer, _ in pairs]
        for pairs in (config.loss.content_layers, config.loss.style_layers)
    )
    layers = (*content, *style)
    names = architecture.up_to(architecture.deepest(layers))
    # M_l N_l divided by the pixels of the picture: 64 for relu1_1, 8 for relu4_2.
    features = {name: architecture.depth(name) / architecture.stride(name) ** 2 for name in names}
    pixels, number = math.prod(size), 0.5 if half else 1.0
    tiled, area = tile is not None and tile < max(size), pixels
    if tiled:
        stride, halo = architecture.alignment(layers)
        area = max(map(window_area, plan_tiles(*size, tile, stride=stride, halo=halo)))

    # The step, at the beginning of the backward pass. A convolution's output is gone when its ReLU is done,
    # unless the losses use it. The gradients at all layers of the losses exist before the backward pass needs
    # them; tiles also have the features of the core, and the gradients at them.
    step = sum(count for name, count in features.items() if not name.startswith("conv") or name in layers)
    step += (3 if tiled else 1) * sum(features[layer] for layer in layers) + max(features.values())
    if winograd:
        wide = [features[name] for name in names if name in architecture.winograd]
        step += WINOGRAD_FEATURES * max(wide, default=0)
    step = number * step + VARIATION_PICTURES * RGB
    if regions:
        # With soft masks: the features, times each guide, at the widest layer, in float32.
        step += (1 + regions) * max((features[layer] for layer in style), default=0)
    if config.loss.style_loss == "nearest":
        step += NEAREST_MAPS * sum(features[layer] for layer in style)
        step += max((NEAREST_BLOCK / architecture.stride(layer) ** 2 for layer in style), default=0)

    # Each region: its mask, and its guides as made and as the step takes them; for all, what they cover.
    guides = sum(1 / architecture.stride(layer) ** 2 for layer in style)
    kept = regions * (1 + 2 * guides) + (regions > 0)
    # The photo's features, which in one piece the content loss casts to float32; and the photo itself, for
    # its colours, or for what is outside of all regions.
    kept += sum(features[layer] for layer in content) * (number if tiled else 1.0)
    kept += RGB * (regions > 0 or config.colors in ("content", "luminance"))
    pictures = SOLVER_PICTURES + facts_of(config.optimization.optimizer).pictures(config.optimization)
    # The style pictures are released before the solver is made; a clip keeps them, but its frames are small.
    held = RGB * max(pixels * pictures, pixels + sum(map(math.prod, styles)))

    convolutions = [name for name in names if name.startswith("conv")]
    depths = [RGB, *map(architecture.depth, convolutions)]
    weights = sum((9 * inputs + 1) * outputs for inputs, outputs in itertools.pairwise(depths))
    weights *= WINOGRAD_WEIGHT_COPIES if winograd else WEIGHT_COPIES * (2 if tiled else 1)
    return round(FLOAT_BYTES * (area * step + pixels * kept + held + weights)) + OVERHEAD + XLA * winograd


def choose_tile(setting: str, estimate: Callable[[int | None], int], available: int | None) -> int | None:
    """Return the longest side of a run's tiles in pixels for a `--tile`; None for one piece.

    `auto` takes one piece, or the largest of `TILES`, whose `estimate` (tile → bytes) is at most `SAFE_SHARE`
    of the available bytes (None: unknown); if there is none, whichever needs the least.
    """
    if setting != "auto":
        return None if setting == "none" else int(setting)
    if available is None:
        return None
    for tile in (None, *TILES):
        if estimate(tile) <= SAFE_SHARE * available:
            return tile
    return min((None, *TILES), key=estimate)


def smaller_tile(tile: int | None, size: tuple[int, int]) -> int | None:
    """Return the largest of `TILES` below `tile`, or None if there is none.

    A `tile` that is None or longer than the longest side of `size` counts as that side.
    """
    longest = max(size) if tile is None else min(tile, max(size))
    return next((smaller for smaller in TILES if smaller < longest), None)


def tile_to_look(
    picture: tuple[int, int], size: tuple[int, int], tile: int | None, *, halo: int
) -> int | None:
    """Return the tile in which a picture (H, W) is looked at for its targets.

    It is `tile`, that of the steps, unless the picture would then take more memory than a step for a result
    of `size`: then at most the largest of `TILES` that does not, or the smallest.
    """
    most = max(PIXELS_LOOKED_AT * math.prod(size), LEAST_LOOKED_AT)
    if math.prod(picture) <= most:
        return tile
    fitting = next((candidate for candidate in TILES if (candidate + 2 * halo) ** 2 <= most), TILES[-1])
    return fitting if tile is None else min(tile, fitting)
