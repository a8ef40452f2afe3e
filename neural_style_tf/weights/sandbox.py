"""Read an untrusted weight file in a sandboxed subprocess, with limits on time and memory.

A .mat file is read once, and its converted form is kept beside it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import neural_style_tf
from neural_style_tf.errors import UserError, show
from neural_style_tf.utils.atomic import atomic_file
from neural_style_tf.utils.paths import is_file
from neural_style_tf.weights import _sandbox_worker
from neural_style_tf.weights.cache_format import converted_path, read_converted
from neural_style_tf.weights.provenance import Record, record_of
from neural_style_tf.weights.registry import hash_file, refusal
from neural_style_tf.weights.structure import WIDTHS, WrongStructure, printable

Read = tuple[dict[str, np.ndarray], dict[str, np.ndarray], Record]

# Beyond the length of the file. The published .mat inflates to 1.1 times its length.
_MEMORY = 900_000_000
# Of processor time: hashing, inflating and writing, on a slow machine.
_SECONDS, _SECONDS_PER_BYTE = 5.0, 1e-7
# Of waiting: a slow network folder delivers a megabyte a second.
_WAIT, _WAIT_PER_BYTE = 60.0, 1e-6

_CHILD = (sys.executable, "-m", _sandbox_worker.__name__)
_ENVIRONMENT = {
    # Each thread of a linear algebra library would claim address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # HDF5 loads no library because a file names an unknown filter.
    "HDF5_PLUGIN_PRELOAD": "::",
}
_FORMS = {"mat": ("matconvnet", "MATLAB"), "hdf5": ("keras", "HDF5")}


ONCE = "once; the next run starts from its converted form"
EACH_TIME = (
    "in a folder that is read-only, as each run will have to: python -m neural_style_tf.weights FILE "
    "--convert OUT.npz makes a form that is read at once"
)


def read_mat(
    path: Path, *, widths: Sequence[int] = WIDTHS, keep: bool = True, log: Callable[[str], None] | None = None
) -> Read:
    """Read a .mat file, from its converted form where that is up to date.

    Args:
        path: The .mat file.
        widths: Number of filters of each of the sixteen convolutions.
        keep: Use and write the converted form beside it; a folder that cannot be written is no error.
        log: Told, in one line, that the slow first reading begins.

    Returns:
        Kernels, layer name → [3, 3, N_in, N_out] float32 RGB; biases, layer name → [N_out]; the record.

    Raises:
        UserError: The file is not a VGG-19, is damaged, or reading it crashed.
    """
    out = converted_path(path)
    # Its name may be too long.
    if keep and is_file(out):
        # A damaged or foreign file there is worth nothing: it is made again.
        with contextlib.suppress(WrongStructure, OSError):
            read = read_converted(out, widths=widths)
            if read[2].describes(path.stat()):
                return read
    keep = keep and os.access(out.parent, os.W_OK)
    if log:
        log(f"Reading {show(path)} {ONCE if keep else EACH_TIME}")
    if keep:
        # OSError: the folder is read-only or full. Refusals are no OSError and pass through.
        with contextlib.suppress(OSError):
            convert(path, out, widths=widths)
            return _read_back(path, out, widths)
    return read_once(path, "mat", widths=widths)


def read_once(path: Path, form: str, *, widths: Sequence[int] = WIDTHS) -> Read:
    """Read a file and keep nothing.

    Args:
        path: The file.
        form: "mat" or "hdf5".
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        As `read_mat`.

    Raises:
        UserError: The file is not a VGG-19, is damaged, or reading it crashed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "converted.npz"
        try:
            convert(path, out, form, widths=widths)
        except OSError as error:
            raise UserError(f"{show(path)}: cannot be converted: {error}") from None
        return _read_back(path, out, widths)


def convert(
    path: Path,
    out: Path,
    form: str = "mat",
    *,
    widths: Sequence[int] = WIDTHS,
    memory: int | None = None,
    wait: float | None = None,
) -> None:
    """Convert a file to our own form, atomically.

    Args:
        path: The file.
        out: The .npz to write.
        form: "mat" or "hdf5".
        widths: Number of filters of each of the sixteen convolutions.
        memory: How much the child may take for the file, in bytes; by default what such a file can need.
        wait: Seconds it may take; by default what the file's length can need on a slow disk.

    Raises:
        UserError: The file is not a VGG-19, is damaged, or reading it crashed or took too long.
        OSError: `out` cannot be written.
    """
    try:
        stat, hashes = path.stat(), hash_file(path)
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None
    record = record_of(path, stat, hashes, origin=_FORMS[form][0], layout="")
    request = {
        "form": form,
        "path": str(path.absolute()),
        "widths": [int(width) for width in widths],
        "record": record.to_json(),
        "memory": memory or stat.st_size + _MEMORY,
        "seconds": _SECONDS + _SECONDS_PER_BYTE * stat.st_size,
    }
    wait = wait or _WAIT + _WAIT_PER_BYTE * stat.st_size
    with atomic_file(out) as file:
        try:
            code, reason = run_child(request, file, wait)
        except subprocess.TimeoutExpired:
            raise refusal(path, f"reading it took more than {wait:.0f} seconds, a damaged file") from None
        if code == _sandbox_worker.DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
        if code < 0:
            raise refusal(path, _crash(-code, _FORMS[form][1]))
        if code:
            raise refusal(path, printable(reason))
    now = path.stat()
    if not record.describes(now):
        out.unlink(missing_ok=True)
        raise UserError(f"{show(path)}: changed while it was read; try again when it is complete")


def run_child(request: dict[str, Any], out: BinaryIO, wait: float) -> tuple[int, str]:
    """Run the child.

    Args:
        request: See `_sandbox_worker.main`.
        out: Gets the converted form.
        wait: Seconds it may take.

    Returns:
        Its exit code, negative if a signal ended it, and why the file was refused.

    Raises:
        subprocess.TimeoutExpired: It took longer.
    """
    done = subprocess.run(
        [*_CHILD, json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        # The package is found from here, whatever the user's folder holds.
        cwd=Path(neural_style_tf.__file__).parents[1],
        env={**os.environ, **_ENVIRONMENT},
        # Ctrl-C reaches this process, which then ends the child.
        start_new_session=True,
        timeout=wait,
        check=False,
    )
    last = done.stderr.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return done.returncode, str(json.loads(last)["refused"])
    return done.returncode, f"reading it failed ({printable(last, 200) or f'exit code {done.returncode}'})"


def _crash(number: int, form: str) -> str:
    if number == getattr(signal, "SIGXCPU", 0):
        return "reading it takes far longer than such a file should, a damaged file"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"reading it crashed the {form} reader ({name}): a damaged file"


def _read_back(path: Path, out: Path, widths: Sequence[int]) -> Read:
    try:
        return read_converted(out, widths=widths)
    except (WrongStructure, OSError) as error:
        raise UserError(f"{show(path)}: its converted form cannot be read back: {error}") from None
