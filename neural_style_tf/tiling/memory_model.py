"""Estimate the memory that a run needs, and choose the size of tiles. Does not import TensorFlow.

The estimate is what a run on a CPU needs beyond a process that has imported TensorFlow:

    pictures   the image, the solver's and the optimiser's copies of it, masks, the photo's features
    step       the features that backpropagation keeps, and the gradients at its widest point: of the whole
               image, or of the largest tile
    weights    with the copies that oneDNN makes of them

It is meant to be a little too high. If it is too low and memory runs out, the run goes on in smaller tiles
(`smaller_tile`).
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
"""Pictures that the solver holds: the image, the best image, the gradient, and what TensorFlow's allocator
loses between large blocks."""
VARIATION_PICTURES = 8
"""Pictures that total variation holds: differences of neighbours in two directions, padded differences, and
gradients."""
WEIGHT_COPIES, WINOGRAD_WEIGHT_COPIES = 3, 6
"""Copies of the weights: those read from the file, the network's, and oneDNN's. Tiles have a network for each
of two passes. Winograd's method has kernels of 36 numbers instead of 9."""
WINOGRAD_FEATURES = 5.5
"""Float32 numbers that Winograd's method holds for each feature of a layer. For 16 positions, 36 numbers go
into each matrix product, up to 36 come out, and 16 are the result."""
NEAREST_MAPS, NEAREST_BLOCK = 5, 256
"""Feature maps that the loss by nearest neighbours holds: the features of the image, normalised features, the
nearest samples, and gradients. Number of samples that are compared at a time; their similarities are
float32."""
OVERHEAD = 64 * 2**20
"""Bytes for thread pools, compiled graphs and kernels."""

LARGE_PICTURE = 25_000_000
"""Number of pixels from which `utils.runtime.start_tensorflow` makes freed memory return to the system at
once."""
TILES = (4096, 2048, 1024, 512, 256)
"""Longest sides of a tile's core, in pixels, from which to choose."""
SAFE_SHARE = 0.8
"""Share of the available memory that the estimate of a run may reach."""
PIXELS_LOOKED_AT, LEAST_LOOKED_AT = 2, 512 * 512
"""A style picture with at most `PIXELS_LOOKED_AT` times the pixels of the result is looked at in one piece:
without a gradient, this takes no more memory than a step. So is any picture with at most `LEAST_LOOKED_AT`
pixels."""


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

    Args:
        config: Settings of the run.
        size: (H, W) of the result.
        tile: The longest side of a tile's core, in pixels; None for one piece.
        styles: (H, W) of each style picture after resizing.
        regions: The number of regions with masks.
        half: Whether the network computes in bfloat16.
        winograd: Whether Winograd's method is used for wide layers.
        architecture: The layers of the network.
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

    # The step, at the beginning of the backward pass. The output of a convolution is released after its ReLU,
    # unless the losses use it. The gradients at all layers of the losses exist before the backward pass needs
    # them. Tiles also have copies of the features of the core, and gradients at them.
    step = sum(count for name, count in features.items() if not name.startswith("conv") or name in layers)
    step += (3 if tiled else 1) * sum(features[layer] for layer in layers) + max(features.values())
    if winograd:
        wide = [features[name] for name in names if name in architecture.winograd]
        step += WINOGRAD_FEATURES * max(wide, default=0)
    step = number * step + VARIATION_PICTURES * RGB
    if regions:
        # Soft masks need float32 copies of the features at the widest layer: one, and one for each guide.
        step += (1 + regions) * max((features[layer] for layer in style), default=0)
    if config.loss.style_loss == "nearest":
        step += NEAREST_MAPS * sum(features[layer] for layer in style)
        step += max((NEAREST_BLOCK / architecture.stride(layer) ** 2 for layer in style), default=0)

    # Each region has its mask, and its guides twice: as arrays, and as tensors for the step. All regions
    # together have the mask of what they cover.
    guides = sum(1 / architecture.stride(layer) ** 2 for layer in style)
    kept = regions * (1 + 2 * guides) + (regions > 0)
    # The photo's features (in one piece, the content loss casts them to float32). Also the photo itself, for
    # its colours, or for what lies outside of all regions.
    kept += sum(features[layer] for layer in content) * (number if tiled else 1.0)
    kept += RGB * (regions > 0 or config.colors in ("content", "luminance"))
    pictures = SOLVER_PICTURES + facts_of(config.optimization.optimizer).pictures(config.optimization)
    # The style pictures are released before the solver is made. A clip keeps them, but its frames are small.
    held = RGB * max(pixels * pictures, pixels + sum(map(math.prod, styles)))

    convolutions = [name for name in names if name.startswith("conv")]
    depths = [RGB, *map(architecture.depth, convolutions)]
    weights = sum((9 * inputs + 1) * outputs for inputs, outputs in itertools.pairwise(depths))
    weights *= WINOGRAD_WEIGHT_COPIES if winograd else WEIGHT_COPIES * (2 if tiled else 1)
    return round(FLOAT_BYTES * (area * step + pixels * kept + held + weights)) + OVERHEAD


def choose_tile(setting: str, estimate: Callable[[int | None], int], available: int | None) -> int | None:
    """Return the longest side of a run's tiles in pixels for a `--tile` `setting`; None for one piece.

    `auto` takes one piece, or else the largest of `TILES`, for which `estimate(tile)` is at most `SAFE_SHARE`
    of the bytes that are `available`. If there is none, it takes the tile that needs the least. If
    `available` is None (unknown), it takes one piece.
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
    """Return the largest of `TILES` below `tile`; None if there is none.

    If `tile` is None, or longer than the longest side of `size`, that side is taken for `tile`.
    """
    longest = max(size) if tile is None else min(tile, max(size))
    return next((smaller for smaller in TILES if smaller < longest), None)


def tile_to_look(
    picture: tuple[int, int], size: tuple[int, int], tile: int | None, *, halo: int
) -> int | None:
    """Return the longest side of the tiles in which a source picture is looked at; None for one piece.

    This is `tile`, as in the steps, unless the source `picture` (H, W) would then take more memory than a
    step for a result of `size`. In that case it is at most the largest of `TILES` that takes no more, or else
    the smallest of `TILES`.
    """
    most = max(PIXELS_LOOKED_AT * math.prod(size), LEAST_LOOKED_AT)
    if math.prod(picture) <= most:
        return tile
    fitting = next((candidate for candidate in TILES if (candidate + 2 * halo) ** 2 <= most), TILES[-1])
    return fitting if tile is None else min(tile, fitting)
