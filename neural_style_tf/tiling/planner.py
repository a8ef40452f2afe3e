"""Decide from the memory that is needed and available whether a run is tiled, and how large tiles are."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import RunError
from neural_style_tf.models import winograd
from neural_style_tf.models.precision import compute_dtype
from neural_style_tf.tiling.memory_model import FLOAT_BYTES, RGB, choose_tile, estimate_run
from neural_style_tf.tiling.system_memory import allowed_bytes, available_bytes


class MemoryPlan(NamedTuple):
    """The memory that a run needs and the memory that is available, in bytes, and the tile to use."""

    needed: int  # estimated
    available: int | None  # None where it is unknown
    tile: int | None  # longest side of the tiles, in pixels; None for one piece
    pairs: int  # the part of `needed` that is for the history of L-BFGS

    def __str__(self) -> str:
        """Return the line that a run prints first."""
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
    config: Config, size: tuple[int, int], *, share: int | None = None, **estimated: Any
) -> MemoryPlan:
    """Choose the tile for a result of `size` (H, W), and estimate the memory of the run.

    `share` is the number of bytes that the run may take if other runs take the rest; None for no limit.
    `estimated` are the arguments `styles`, `regions` and `architecture` of `estimate_run`.
    """
    available = min((limit for limit in (memory_at_hand(), share) if limit is not None), default=None)
    estimate = functools.partial(_estimate, config, size, **estimated)
    tile = choose_tile(config.tile, estimate, available)
    tile = tile if tile is None or tile < max(size) else None
    optimization = config.optimization
    history = optimization.history if optimization.optimizer == "lbfgs" else 0
    return MemoryPlan(estimate(tile), available, tile, 2 * history * FLOAT_BYTES * RGB * size[0] * size[1])


def memory_at_hand() -> int | None:
    """Return the bytes that a run may take on each GPU, or on the host if there is no GPU.

    Return None if they are unknown.
    """
    if not tf.config.get_visible_devices("GPU"):
        return available_bytes()
    from tensorflow.python.client import device_lib

    # TensorFlow says only here how much memory a GPU had free when TensorFlow began to use it.
    return min(
        device.memory_limit for device in device_lib.list_local_devices() if "GPU" in device.device_type
    )


def _estimate(config: Config, size: tuple[int, int], tile: int | None, **estimated: Any) -> int:
    network = config.network
    chosen = winograd.select_convolution(network.convolution, network.precision, size[0] * size[1])
    half = compute_dtype(network.precision) == "bfloat16"
    return estimate_run(config, size, tile, half=half, winograd=chosen == "winograd", **estimated)


def check_memory(config: Config, size: tuple[int, int], tile: int | None, **estimated: Any) -> None:
    """Raise a RunError if a hard limit (cgroup, ulimit) would kill a run; arguments as of `plan_memory`."""
    allowed = allowed_bytes()
    needed = _estimate(config, size, tile, **estimated)
    if allowed is not None and needed > allowed and not tf.config.get_visible_devices("GPU"):
        raise RunError(
            f"{size[1]}×{size[0]} pixels need about {needed / 1e6:.0f} MB of memory, and a limit on this "
            f"process leaves {allowed / 1e6:.0f} MB: raise it, or try {'' if tile else '--tile=512, '}"
            "a smaller --image_size or --style_size, or with L-BFGS a shorter --history"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
