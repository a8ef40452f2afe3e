"""Estimate the memory a run needs, and list the tile sizes; without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence

from neural_style_tf.config.schema import Config
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.tiling.grid import plan_tiles

FLOAT = 4
COLORS = 3
# The weights that were read, the network's, and oneDNN's copy of them in its own order; in tiles, of each
# pass.
WEIGHT_COPIES, WEIGHT_COPIES_TILED = 3, 6
# Winograd's kernels, 36 numbers for 9; what goes into their products and comes out, 36 numbers each for 16
# positions; 24 between the two passes of their sums, in float32; and what XLA takes to compile.
WINOGRAD_KERNELS, WINOGRAD_PRODUCTS, WINOGRAD_SUMS, COMPILED = 36 / 9, 2 * 36 / 16, 24 / 16, 150 * 2**20
# The network by direct convolutions that sees the style picture, and oneDNN's copy of its weights.
STYLE_NETWORK = 2
# Image, best image and gradient.
SOLVER_PICTURES = 3
# Adam: mean and variance. L-BFGS, beside its history: the image and the best trial of a line search, the
# direction, what of it is within bounds, and what finding it has in hand.
OPTIMIZER_PICTURES = {"adam": 2, "lbfgs": 8}
# What TensorFlow's pool of memory loses between large pieces.
LOST_PICTURES = 0.5
# The picture of 8 bits that is written.
BYTES_TO_SAVE = 4
# A style picture of this many times the pixels of the result takes no more than a step does, since it is only
# looked at; and one of so many pixels takes little beside the process.
PIXELS_LOOKED_AT, LEAST_LOOKED_AT = 2, 512 * 512
# Pixels from which on `utils.runtime.start_tensorflow` shall be sparing.
LARGE_PICTURE = 25_000_000
# Differences of neighbours in two directions, padded ones, and gradients.
VARIATION_PICTURES = 8
# TensorFlow's thread pools, compiled graphs and kernels, beyond those it has when imported.
OVERHEAD = 64 * 2**20


def estimate_bytes(
    height: int,
    width: int,
    layers: tuple[str, ...],
    *,
    optimizer: str,
    history: int,
    tile: int | None = None,
    content_layers: tuple[str, ...] = ("relu4_2",),
    half: bool = False,
    averaging: bool = False,
    winograd: bool = False,
    styles: int = 0,
    guided: float = 0.0,
) -> int:
    """Estimate what a run needs beyond the process with TensorFlow imported, in float32 on a CPU.

    Args:
        height: Of the result, pixels.
        width: Of the result.
        layers: All layers whose features the losses use.
        optimizer: `adam` or `lbfgs`.
        history: The pairs that L-BFGS remembers.
        tile: The longest side of a tile's core, pixels; None for the objective in one piece.
        content_layers: Those of `layers` whose features are stored for the whole content picture.
        half: Whether the network computes in bfloat16.
        averaging: Whether Adam keeps an average of its images.
        winograd: Whether blocks 3 and 4 are computed by Winograd's method.
        styles: Pixels of all style pictures together, each looked at as `tile_to_look` says.
        guided: Numbers for each pixel that sums over regions take, in float32.

    Returns:
        Bytes, the peak.
    """
    pixels = height * width
    tiled = tile is not None and tile < max(height, width)
    pictures = SOLVER_PICTURES + OPTIMIZER_PICTURES[optimizer]
    # The average, and what its update makes on the way.
    pictures += 2 * history if optimizer == "lbfgs" else 3 * averaging
    content = sum(floats_per_pixel(name) for name in content_layers)
    size = 0.5 if half else 1.0
    working = _working_floats(layers)
    if winograd:
        working += (WINOGRAD_PRODUCTS + WINOGRAD_SUMS / size) * _widest_winograd(layers)
    if tiled:
        content *= size
        work = size * _tile_floats(height, width, tile, layers, working) + guided * min(tile**2, pixels)
    else:
        work = pixels * (size * working + VARIATION_PICTURES * COLORS + guided)
    # A picture is saved between two passes.
    passing = max(work, BYTES_TO_SAVE / FLOAT * pixels) + LOST_PICTURES * COLORS * pixels
    copies = WEIGHT_COPIES_TILED if tiled else WEIGHT_COPIES
    weights, overhead = copies * _weight_count(layers), OVERHEAD
    if winograd:
        # Beside those that were read, and in place of all other copies.
        weights += (1 + size * WINOGRAD_KERNELS - copies) * _weight_count(layers, VGG19.winograd)
        weights += STYLE_NETWORK * _weight_count(layers)
        overhead += COMPILED
    # The pictures are gone when the solver comes; of a clip, whose frames are small, the styles stay.
    held = max(pixels * pictures, pixels + styles)
    floats = COLORS * held + pixels * content + passing + weights
    return round(FLOAT * floats) + overhead


def estimate_run(
    config: Config,
    size: tuple[int, int],
    tile: int | None,
    *,
    styles: Sequence[tuple[int, int]] = (),
    regions: int = 0,
    half: bool = False,
    winograd: bool = False,
) -> int:
    """Return `estimate_bytes` of a run with these settings and a result of `size` (H, W).

    Args:
        config: The settings.
        size: Of the result.
        tile: The longest side of a tile's core, pixels; None for the objective in one piece.
        styles: (H, W) of each style picture as it is seen.
        regions: How many masks say where a style goes.
        half: Whether the network computes in bfloat16.
        winograd: Whether blocks 3 and 4 are computed by Winograd's method.
    """
    # Each region's mask; its guides at the layers, as made and as the step takes them; what all cover.
    guides = sum(1 / VGG19.stride(layer) ** 2 for layer, _ in config.loss.style_layers)
    directing = regions * (1 + 2 * guides) + (regions > 0)
    # The photo, from which the painting gets its colours, or what no region covers.
    directing += COLORS * (regions > 0 or config.colors in ("content", "luminance"))
    return round(FLOAT * size[0] * size[1] * directing) + estimate_bytes(
        *size,
        config.loss.layers,
        optimizer=config.optimization.optimizer,
        history=config.optimization.history,
        tile=tile,
        content_layers=tuple(name for name, _ in config.loss.content_layers),
        half=half,
        averaging=config.optimization.averaging > 0,
        winograd=winograd,
        styles=sum(map(math.prod, styles)),
        guided=_guided_floats(tuple(name for name, _ in config.loss.style_layers), regions),
    )


def floats_per_pixel(name: str) -> float:
    """Return N_l M_l per pixel of the picture: 64 for relu1_1, 8 for relu4_2."""
    return VGG19.depth(name) / VGG19.stride(name) ** 2


def kept_floats(layers: tuple[str, ...]) -> float:
    """Return the floats per pixel that backpropagation from `layers` keeps: 320 down from relu5_1.

    A convolution's own output is gone when its ReLU is done, unless the losses use it.
    """
    names = VGG19.up_to(VGG19.deepest(layers))
    return sum(floats_per_pixel(name) for name in names if not name.startswith("conv") or name in layers)


def _working_floats(layers: tuple[str, ...]) -> float:
    """Return the floats per pixel at the peak, the beginning of the backward pass."""
    # The gradients at all `layers` exist before the backward pass needs them. When it reaches the widest
    # layers, those of the deeper ones are freed, but not all of that memory can be used again.
    widest = max(floats_per_pixel(name) for name in VGG19.up_to(VGG19.deepest(layers)))
    return kept_floats(layers) + _loss_floats(layers) + widest


def _guided_floats(layers: tuple[str, ...], regions: int) -> float:
    """Return the floats per pixel that moments of regions take at the widest of their layers."""
    # With soft masks the features times each guide, and what is made of them; with hard ones the features,
    # and their gradients, sorted by region, which is less.
    return (1 + regions) * max(map(floats_per_pixel, layers), default=0) if regions else 0


def _loss_floats(layers: tuple[str, ...]) -> float:
    return sum(floats_per_pixel(name) for name in layers)


def _widest_winograd(layers: tuple[str, ...]) -> float:
    """Return the floats per pixel of the widest layer that Winograd's method computes."""
    names = [name for name in VGG19.up_to(VGG19.deepest(layers)) if name in VGG19.winograd]
    return max(map(floats_per_pixel, names), default=0)


def _tile_floats(height: int, width: int, tile: int, layers: tuple[str, ...], working: float) -> float:
    """Return the floats of the largest tile at its peak."""
    step, margin = VGG19.alignment(layers)
    plan = plan_tiles(height, width, tile, stride=step, halo=margin)
    # The features of the core, and the gradients at them, are cut out of those of the window.
    return max(_area(place.window) * working + 2 * _area(place.core) * _loss_floats(layers) for place in plan)


def _area(box: tuple[int, int, int, int]) -> int:
    top, bottom, left, right = box
    return (bottom - top) * (right - left)


def _weight_count(layers: tuple[str, ...], counted: Container[str] = VGG19.layers) -> int:
    """Return how many numbers the weights of some convolutions are."""
    total, depth = 0, COLORS
    for name in VGG19.up_to(VGG19.deepest(layers)):
        if name.startswith("conv"):
            total += (9 * depth + 1) * VGG19.depth(name) * (name in counted)
            depth = VGG19.depth(name)
    return total


TILES = (4096, 2048, 1024, 512, 256)
SAFE_SHARE = 0.8
"""Share of the available memory that a run may be expected to take."""


def choose_tile(asked: str, estimate: Callable[[int | None], int], available: int | None) -> int | None:
    """Return the longest side of a run's tiles, pixels.

    Args:
        asked: `Config.tile`: `none`, `auto` for tiles with which the run fits, or their longest side.
        estimate: Tile (None: in one piece) → bytes, `estimate_bytes` of the run.
        available: From `available_bytes`.

    Returns:
        None for one piece. For `auto` that is where it fits so, or nothing is known; else the largest of
        `TILES` that fits, or if none does what takes the least.
    """
    if asked != "auto":
        return None if asked == "none" else int(asked)
    if available is None:
        return None
    for tile in (None, *TILES):
        if estimate(tile) <= SAFE_SHARE * available:
            return tile
    return min((None, *TILES), key=estimate)


def smaller_tile(tile: int | None, size: tuple[int, int]) -> int | None:
    """Return the next smaller of `TILES` (of one piece: of the longest side); None if there is none."""
    longest = max(size) if tile is None else min(tile, max(size))
    return next((smaller for smaller in TILES if smaller < longest), None)


def tile_to_look(
    picture: tuple[int, int], size: tuple[int, int], tile: int | None, *, halo: int
) -> int | None:
    """Return the longest side of the tiles in which a picture is looked at for its targets.

    Args:
        picture: (H, W) of it.
        size: (H, W) of the result.
        tile: That of the steps.
        halo: How far a tile's window reaches beyond its core.

    Returns:
        `tile`; but where the picture is so large that it would take more memory than a step, at most the
        largest of `TILES` that does not, or the smallest if all do.
    """
    most = max(PIXELS_LOOKED_AT * math.prod(size), LEAST_LOOKED_AT)
    if math.prod(picture) <= most:
        return tile
    fitting = next((one for one in TILES if (one + 2 * halo) ** 2 <= most), TILES[-1])
    return fitting if tile is None else min(tile, fitting)


def picture_bytes(height: int, width: int) -> int:
    """Return the size of an image in memory."""
    return FLOAT * COLORS * height * width
