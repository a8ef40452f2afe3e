"""Number formats of convolutions and of sums."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def has_bfloat16() -> bool:
    """Return whether convolutions in bfloat16 run on the hardware rather than in emulation."""
    if tf.config.get_visible_devices("GPU"):
        return has_tf32()
    flags = _cpu_flags()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def has_tf32() -> bool:
    """Return whether there are GPUs, and all have NVIDIA's tensor cores for TF32 and bfloat16."""
    gpus = tf.config.get_visible_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return bool(gpus) and all(gpu.get("compute_capability", (0, 0)) >= (8, 0) for gpu in details)


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def compute_dtype(precision: str) -> str:
    """Return the type of the features for a setting of `--precision`."""
    if precision == "auto":
        # This is right for GPUs, too: those with TF32 also have bfloat16, which takes half the memory.
        return "bfloat16" if has_bfloat16() else "float32"
    return "float32" if precision == "tf32" else precision


def switch_tf32(precision: str) -> None:
    """Allow or forbid TensorFlow to multiply float32 as TF32, in the whole process.

    Only `float32` forbids it. In `bfloat16` it is allowed, because products have fewer bits anyway.
    """
    tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Cast bfloat16 to float32, so that sums are exact enough; return other types unchanged."""
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor
