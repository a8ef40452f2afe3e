"""Start TensorFlow: set it up before it is imported, and keep it quiet."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# Of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_DEVICES = Path("/dev")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def nvidia_devices() -> list[str]:
    """Return the numbers of the NVIDIA GPUs of this machine, whether or not TensorFlow can use them."""
    return sorted(path.name.removeprefix("nvidia") for path in _DEVICES.glob("nvidia[0-9]*"))


def prefer_onednn() -> None:
    """Let TensorFlow use oneDNN's convolutions on every x86 processor; call it before TensorFlow is imported.

    TensorFlow itself does so only on processors with AVX-512 VNNI. With AVX2 they are faster, too, and take
    less memory than Eigen's.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def start_tensorflow(
    *,
    verbose: bool = False,
    sparing: bool = False,
    threads: int = 0,
    join: Callable[[], object] = lambda: None,
) -> str:
    """Import TensorFlow for a run of the command line and return the name of the device it will use.

    Memory of a GPU is taken as needed. Only the command line calls this: its settings hold for the
    whole process.

    Args:
        verbose: Let TensorFlow print its start-up messages.
        sparing: Give memory that is free back to the system. TensorFlow's own pool on the CPU keeps it, in
            pieces that the next large picture does not fit into, and so do the C library's heaps; without
            them a step takes longer (docs/large_pictures.md).
        threads: That compute on the CPU; 0: one for each core.
        join: Called before the first operation, after which no process can become one of a cluster.

    Returns:
        Such as `CPU (2 cores)` or `GPU NVIDIA H200`.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prefer_onednn()
    # oneDNN may keep its reordered copy of each filter. It caches per kernel of a graph; this package
    # runs every convolution inside a graph whose weights never change.
    os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
    if sparing:
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        _return_freed_memory()
    with contextlib.nullcontext() if verbose else _silent_stderr():
        import tensorflow as tf

        if not verbose:
            tf.get_logger().setLevel("ERROR")
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    join()
    with contextlib.nullcontext() if verbose else _silent_stderr():
        # The first operation prints, too.
        tf.zeros([]).numpy()
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"GPU {details.get('device_name', gpus[0].name)}"
    return f"CPU ({threads or cores()} cores)"


def unused_gpu() -> str:
    """Return a line for the user if there is an NVIDIA GPU that TensorFlow does not use, else ''.

    To be asked after `start_tensorflow`, which drops TensorFlow's own message. A GPU that
    CUDA_VISIBLE_DEVICES hides is not missed.
    """
    import tensorflow as tf

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if hidden or tf.config.list_physical_devices("GPU") or not nvidia_devices():
        return ""
    return (
        "there is an NVIDIA GPU that TensorFlow cannot use: its libraries come with "
        'pip install "neural-style-tf[gpu]", and --verbose shows what is missing'
    )


def _return_freed_memory() -> None:
    """Let the C library take each piece of memory above 1 MB from the system, and give it back when freed.

    By itself glibc does so from 32 MB on, and keeps the smaller pieces for what may come.
    Other C libraries are left as they are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what C++ writes to file descriptor 2, which no Python setting reaches."""
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
