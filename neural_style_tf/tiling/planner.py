"""Decide, from memory needed and available, whether a run is tiled, and with which tile."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import RunError
from neural_style_tf.models import winograd
from neural_style_tf.models.precision import compute_dtype
from neural_style_tf.tiling.memory_model import choose_tile, estimate_run, picture_bytes
from neural_style_tf.tiling.system_memory import allowed_bytes, available_bytes


class MemoryPlan(NamedTuple):
    """What a run needs and what there is.

    Attributes:
        needed: Bytes, estimated.
        available: Bytes; None where it is unknown.
        tile: The longest side of the tiles, or None for one piece.
        pairs: Of `needed`, what the history of L-BFGS takes.
    """

    needed: int
    available: int | None
    tile: int | None
    pairs: int

    def __str__(self) -> str:
        """Return the line that a run begins with."""
        line = f"memory: about {_gigabytes(self.needed)} needed"
        if self.pairs:
            line += f" ({_gigabytes(self.pairs)} of it for --history)"
        if self.available is not None:
            line += f", {_gigabytes(self.available)} available"
        line += f"; in pieces of {self.tile} pixels" if self.tile else "; in one piece"
        if self.available is not None and self.needed > self.available:
            line += ". That is too much: try a smaller --tile, --image_size, --style_size or --history"
        return line


def plan_memory(
    config: Config,
    size: tuple[int, int],
    *,
    styles: Sequence[tuple[int, int]] = (),
    regions: int = 0,
    share: int | None = None,
) -> MemoryPlan:
    """Choose in which pieces a result of `size` (H, W) is visited, and estimate what that takes.

    Args:
        config: What is computed.
        size: Of the result.
        styles: (H, W) of each style picture as it is seen.
        regions: How many masks say where a style goes.
        share: Bytes that the run may take at most, because others run beside it.
    """
    available = min((one for one in (memory_at_hand(), share) if one is not None), default=None)
    estimate = functools.partial(_estimate, config, size, styles=styles, regions=regions)
    tile = choose_tile(config.tile, estimate, available)
    tile = tile if tile is None or tile < max(size) else None
    pairs = (
        picture_bytes(*size) * 2 * config.optimization.history * (config.optimization.optimizer == "lbfgs")
    )
    return MemoryPlan(estimate(tile), available, tile, pairs)


def memory_at_hand() -> int | None:
    """Return the bytes that a run may take of each GPU, or of the host if there is none."""
    if not tf.config.get_visible_devices("GPU"):
        return available_bytes()
    from tensorflow.python.client import device_lib

    # The only place where TensorFlow offers the memory of a GPU: what was free when it began to use it.
    return min(
        device.memory_limit for device in device_lib.list_local_devices() if "GPU" in device.device_type
    )


def _estimate(
    config: Config,
    size: tuple[int, int],
    tile: int | None,
    *,
    styles: Sequence[tuple[int, int]],
    regions: int,
) -> int:
    settings, pixels = config.network, size[0] * size[1]
    chosen = winograd.select_convolution(settings.convolution, settings.precision, pixels)
    return estimate_run(
        config,
        size,
        tile,
        styles=styles,
        regions=regions,
        half=compute_dtype(settings.precision) == "bfloat16",
        winograd=chosen == "winograd",
    )


def check_memory(
    config: Config,
    size: tuple[int, int],
    tile: int | None,
    *,
    styles: Sequence[tuple[int, int]] = (),
    regions: int = 0,
) -> None:
    """Raise if a hard limit (cgroup, ulimit) would kill the run; arguments as of `plan_memory`.

    Raises:
        RunError: What is needed, what is available, and which flags help.
    """
    allowed = allowed_bytes()
    needed = _estimate(config, size, tile, styles=styles, regions=regions)
    if allowed is not None and needed > allowed and not tf.config.get_visible_devices("GPU"):
        raise RunError(
            f"{size[1]}×{size[0]} pixels need about {needed / 1e6:.0f} MB of memory, and a limit on this "
            f"process leaves {allowed / 1e6:.0f} MB: raise it, or try {'' if tile else '--tile=512, '}"
            "a smaller --image_size or --style_size, or with L-BFGS a shorter --history"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
