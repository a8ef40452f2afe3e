"""Start TensorFlow: set it up before it is imported, and keep it quiet."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import itertools
import os
import platform
import re
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from neural_style_tf.errors import UserError, reason

if TYPE_CHECKING:
    import tensorflow as tf

PYTHONS = ((3, 11), (3, 13))
"""The oldest and the newest Python with which this package is tested."""

# Of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_CPUINFO, _DEVICES = Path("/proc/cpuinfo"), Path("/dev")
_WSL_DRIVERS = (Path("/usr/lib/wsl/lib/libcuda.so"), Path("/usr/lib/x86_64-linux-gnu/libcuda.so.1"))
"""Paths of NVIDIA's driver under WSL2, and in a container under WSL2."""
_NAME_OF_GPU = re.compile(r"\d+|(GPU|MIG)-.+")
# Environment variables that are removed. The first makes TensorBoard's plug-in import Keras 2, which may
# not be installed. The others override `--precision`.
_MISLEADING = (
    "TF_USE_LEGACY_KERAS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "TF_SET_ONEDNN_FPMATH_MODE",
)
_NOT_NEEDED = ("matplotlib", "mpl_toolkits", "pandas", "psutil", "cv2", "jax", "torch", "IPython", "sklearn")
"""Packages that Keras imports only if they are installed, for what is not used here: seconds of a start."""
# A GPU compiles kernels of an earlier architecture for itself. From this compute capability on that fails
# with TensorFlow's (CUDA_ERROR_INVALID_PTX; tensorflow/tensorflow issues 89272, 99592).
_NEEDS_ITS_OWN_KERNELS = 12


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the processor's name, or its architecture where the system does not tell the name."""
    names = []
    with contextlib.suppress(OSError):
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def nvidia_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return CUDA's names of the visible NVIDIA GPUs, such as `0`, whether or not TensorFlow can use them.

    CUDA counts from 0, even if a container has only `/dev/nvidia2`. WSL2 has one file for all GPUs, so they
    count as one GPU. Like CUDA, this reads `CUDA_VISIBLE_DEVICES` only up to the first invalid name.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        wsl = (_DEVICES / "dxg").exists() and any(path.exists() for path in _WSL_DRIVERS)
        return [str(number) for number in range(len(list(_DEVICES.glob("nvidia[0-9]*"))) or wsl)]
    names = map(str.strip, visible.split(","))
    return list(dict.fromkeys(itertools.takewhile(_NAME_OF_GPU.fullmatch, names)))


def missing_package(name: str) -> str:
    """Return a line that tells the user that package `name` is missing, and how to install it."""
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    if sys.version_info[:2] > PYTHONS[1]:
        return (
            f"{name} is not installed, and this Python {platform.python_version()} may be too new for it: "
            f"make an environment with Python {oldest} to {newest} and install neural-style-tf there"
        )
    return (
        f"{name} is not installed for this Python, {sys.executable}: "
        "pip install neural-style-tf, or activate the environment that has it"
    )


def check_installation() -> None:
    """Raise `UserError` if TensorFlow is not installed. TensorFlow is not imported."""
    if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow") is None:
        raise UserError(missing_package("TensorFlow"))


def use_tensorflow_backend() -> None:
    """Choose Keras' TensorFlow backend, whatever `KERAS_BACKEND` and `keras.json` say.

    Call this before TensorFlow is imported, since TensorFlow imports Keras. Raise `UserError` if Keras was
    already imported with another backend.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras was imported with the backend {keras.backend.backend()}, expected tensorflow: set the "
            "environment variable KERAS_BACKEND=tensorflow before it is imported"
        )


def prefer_onednn() -> None:
    """Use oneDNN's convolutions on every x86 processor; call this before TensorFlow is imported.

    By itself, TensorFlow uses them only on processors with AVX-512 VNNI, and Eigen's on others. With AVX2,
    too, oneDNN's are faster and take less memory.
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
    """Import TensorFlow, set up the process, and return the device's name, such as `CPU (2 cores)`.

    Raise `UserError` if TensorFlow cannot be imported.

    Args:
        verbose: Whether TensorFlow prints its start-up messages.
        sparing: Whether to return freed memory to the system at once, which makes a step slower
            (docs/large_pictures.md). Otherwise TensorFlow's pool on the CPU and the C library's heaps keep
            it, in pieces that may be too small for the next large picture.
        threads: Number of threads on the CPU; 0: one for each core.
        join: Function that joins a cluster. It is called before TensorFlow's first operation; later a process
            cannot join one.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    prefer_onednn()
    use_tensorflow_backend()
    for name in _MISLEADING:
        os.environ.pop(name, None)
    # Lets oneDNN keep its reordered copy of each filter. It caches them per kernel of a graph, and no graph
    # of this package changes its weights.
    os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
    if sparing:
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        _return_freed_memory()
    with contextlib.nullcontext() if verbose else _stderr_held_back():
        _import_tensorflow()
        import tensorflow as tf

        if not verbose:
            tf.get_logger().setLevel("ERROR")
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        all_gpus = tf.config.list_physical_devices("GPU")
        gpus = [gpu for gpu in all_gpus if not _lacks_kernels(gpu)]
        if len(gpus) < len(all_gpus):
            tf.config.set_visible_devices(gpus, "GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if not gpus:
            # It changes nothing on a CPU, and takes half a second of a start.
            tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    join()
    with contextlib.nullcontext() if verbose else _stderr_held_back():
        # The first operation also prints.
        tf.zeros([]).numpy()
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return f"GPU {details.get('device_name', gpus[0].name)}"
    return f"CPU ({threads or cores()} cores)"


def unused_gpu() -> str:
    """Return a line for the user about a visible NVIDIA GPU that TensorFlow does not use, else ''.

    `start_tensorflow` drops TensorFlow's own message about it.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if lacking := [gpu for gpu in gpus if _lacks_kernels(gpu)]:
        details = tf.config.experimental.get_device_details(lacking[0])
        capability = ".".join(map(str, details["compute_capability"]))
        others = "the other GPUs" if len(lacking) < len(gpus) else "the CPU"
        return (
            f"{details.get('device_name', 'a GPU')} is not used: TensorFlow {tf.__version__} has no kernels "
            f"for its compute capability {capability}; going on with {others}"
        )
    # With and without a variable that hides GPUs.
    if gpus or not nvidia_devices({}) or not nvidia_devices():
        return ""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.cudnn") is None:
        return (
            "there is an NVIDIA GPU that TensorFlow cannot use: its libraries come with "
            'pip install "neural-style-tf[gpu]", and --verbose shows what is missing'
        )
    return (
        "there is an NVIDIA GPU that TensorFlow cannot use, although its libraries are installed: "
        "is the driver too old for them? --verbose shows what is missing"
    )


def _import_tensorflow() -> None:
    """Import TensorFlow and Keras; raise `UserError` with the reason if that fails."""
    try:
        with _hidden(_NOT_NEEDED), _without_collector():
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
    except MemoryError:
        raise
    except Exception as error:
        place = "/".join(Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts[-3:])
        why = reason(error) if str(error).strip() else f"{type(error).__name__} in {place}"
        # TensorFlow loads the plugin's library, which needs symbols of one release.
        if "metal" in why:
            raise UserError(
                "tensorflow-metal was made for another release of TensorFlow and breaks this one: "
                f"pip uninstall tensorflow-metal, and it runs on the CPU ({why})"
            ) from error
        raise UserError(
            f"TensorFlow cannot be imported: {why}; install it anew, best in a new environment"
        ) from error


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Switch Python's garbage collector off, and never let it look at the objects that are made meanwhile.

    It would look through all that is imported again and again: a quarter of the time of the import.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Make packages appear as not installed, except those that are imported already."""
    hidden = dict.fromkeys(name for name in packages if name not in sys.modules)
    # None stands for a module that cannot be imported.
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _lacks_kernels(gpu: tf.config.PhysicalDevice) -> bool:
    """Return whether this build of TensorFlow has no kernels that run on `gpu`."""
    import tensorflow as tf

    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    # For example sm_89 and compute_90; the last digit is the minor version.
    built = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", ())
    majors = [int(match[1]) for name in built if (match := re.search(r"_(\d+)\d", name))]
    return capability[0] >= _NEEDS_ITS_OWN_KERNELS and capability[0] > max(majors, default=0)


def _return_freed_memory() -> None:
    """Let glibc return freed blocks of more than 1 MB to the system, not only those of more than 32 MB."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


_WATCH = """
import os, sys
if not os.read(0, 1):
    size = os.fstat(1).st_size
    lines = os.pread(1, 10_000, max(0, size - 10_000)).decode("utf-8", "replace").splitlines()
    # A fatal message begins with F; the stack may follow.
    fatal = [at for at, line in enumerate(lines) if line.startswith("F")] or [-3]
    words = " ".join(" ".join(lines[fatal[-1]:]).split())[:1000]
    words = words or "nothing; was it built for another processor?"
    sys.stderr.write(f"neural-style-tf: TensorFlow ended the process as it started; last words: {words}\\n")
"""
"""Program of a helper process that tells why its parent died.

Its standard input is a pipe from the parent, its standard output the file of the parent's held-back messages.
If the pipe closes before a byte came, the parent has died, and the program prints the end of this file.
"""


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Drop what C++ writes to file descriptor 2; if this process dies, a helper process shows the end."""
    with contextlib.ExitStack() as stack:
        try:
            sys.stderr.flush()
            saved = os.dup(2)
            stack.callback(os.close, saved)
            held_back = stack.enter_context(tempfile.TemporaryFile())
            # In a new session Ctrl-C does not end it.
            watch = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCH],
                stdin=subprocess.PIPE,
                stdout=held_back,
                start_new_session=True,
            )
            stack.callback(watch.communicate, b"1")
            stack.callback(os.dup2, saved, 2)
            os.dup2(held_back.fileno(), 2)
        except (OSError, ValueError, AttributeError):
            # Without standard error, or without another process, nothing is held back.
            pass
        yield
