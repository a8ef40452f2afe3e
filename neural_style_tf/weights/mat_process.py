"""Read a .mat file in a process of its own, once, and keep the converted form beside it."""

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

import numpy as np

import neural_style_tf
from neural_style_tf.atomic import atomic_file
from neural_style_tf.errors import UserError
from neural_style_tf.weights import _mat_child
from neural_style_tf.weights.converted import converted_path, read_converted
from neural_style_tf.weights.known import hash_file, refusal
from neural_style_tf.weights.record import Record, record_of
from neural_style_tf.weights.structure import WIDTHS, WrongStructure, printable

Read = tuple[dict[str, np.ndarray], dict[str, np.ndarray], Record]

# SciPy needs the file's inflated arrays (the published file: 1.1 times its length) and copies of the largest.
_MEMORY_FACTOR, _MEMORY_BASE = 2, 1_500_000_000
# A slow network folder delivers a megabyte a second.
_SECONDS_BASE, _SECONDS_PER_BYTE = 60.0, 1e-6

_CHILD = (sys.executable, "-m", _mat_child.__name__)


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
    if keep:
        # A damaged or foreign file there is worth nothing: it is made again.
        with contextlib.suppress(WrongStructure, OSError):
            read = read_converted(out, widths=widths)
            if read[2].describes(path.stat()):
                return read
    if log:
        log(f"Reading {path} once; the next run starts from its converted form")
    if keep:
        # OSError: the folder is read-only or full. Refusals are no OSError and pass through.
        with contextlib.suppress(OSError):
            convert_mat(path, out, widths=widths)
            return _read_back(path, out, widths)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "converted.npz"
        try:
            convert_mat(path, out, widths=widths)
        except OSError as error:
            raise UserError(f"{path}: cannot be converted: {error}") from None
        return _read_back(path, out, widths)


def convert_mat(
    path: Path,
    out: Path,
    *,
    widths: Sequence[int] = WIDTHS,
    memory: int | None = None,
    seconds: float | None = None,
) -> None:
    """Convert a .mat file to our own form, atomically.

    Args:
        path: The .mat file.
        out: The .npz to write.
        widths: Number of filters of each of the sixteen convolutions.
        memory: Limit of the child's address space, in bytes; by default what such a file can need.
        seconds: How long it may take; by default what the file's length can need on a slow disk.

    Raises:
        UserError: The file is not a VGG-19, is damaged, or reading it crashed or took too long.
        OSError: `out` cannot be written.
    """
    try:
        stat, hashes = path.stat(), hash_file(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    record = record_of(path, stat, hashes, origin="matconvnet", layout="")
    request = {
        "path": str(path.absolute()),
        "widths": [int(width) for width in widths],
        "memory": memory or _MEMORY_FACTOR * stat.st_size + _MEMORY_BASE,
        "record": record.to_json(),
    }
    seconds = seconds or _SECONDS_BASE + _SECONDS_PER_BYTE * stat.st_size
    with atomic_file(out) as file:
        try:
            done = subprocess.run(
                [*_CHILD, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                # The package is found from here, whatever the user's folder holds.
                cwd=Path(neural_style_tf.__file__).parents[1],
                # Each thread of a linear algebra library would claim address space.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                # Ctrl-C reaches this process, which then ends the child.
                start_new_session=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise refusal(path, f"reading it took more than {seconds:.0f} seconds, a damaged file") from None
        if done.returncode == _mat_child.DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
        if done.returncode:
            raise refusal(path, _reason(done.returncode, done.stderr.decode("utf-8", "replace")))
    now = path.stat()
    if not record.describes(now):
        out.unlink(missing_ok=True)
        raise UserError(f"{path}: changed while it was read; try again when it is complete")


def _reason(returncode: int, stderr: str) -> str:
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            name = f"signal {-returncode}"
        return f"reading it crashed MATLAB's reader ({name}): a damaged file"
    last = stderr.rstrip().rpartition("\n")[2]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return printable(str(json.loads(last)["refused"]))
    return f"reading it failed ({printable(last, 200) or f'exit code {returncode}'})"


def _read_back(path: Path, out: Path, widths: Sequence[int]) -> Read:
    try:
        return read_converted(out, widths=widths)
    except (WrongStructure, OSError) as error:
        raise UserError(f"{path}: its converted form cannot be read back: {error}") from None
