"""Number formats: what convolutions compute in, and what sums are accumulated in."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def has_bfloat16() -> bool:
    """Return whether convolutions in bfloat16 run on the hardware rather than in emulation."""
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return capability >= (8, 0)
    return "avx512_bf16" in _cpu_flags() or has_amx()


def has_amx() -> bool:
    """Return whether the processor has Intel's matrix units for bfloat16."""
    return "amx_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def compute_dtype(precision: str) -> str:
    """Return what convolutions compute in for a `--precision`."""
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    return precision


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor in which sums may be taken: bfloat16 becomes float32, all else stays."""
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor
