"""Read an untrusted file in a subprocess: `python -m neural_style_tf.weights._sandbox_worker REQUEST > NPZ`.

SciPy's reader of .mat files and the HDF5 library are written for files one trusts: truncated and crafted ones
have crashed the interpreter. Here a crash, an endless loop, or too much memory ends this process only.
REQUEST is a JSON object; the converted file goes to standard output, and a refusal as one JSON object to
standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

REFUSED, DISK_FULL = 3, 4


def main(argv: list[str]) -> int:
    """Convert one file.

    Args:
        argv: The request, a JSON object, see `convert`; and `memory`, the bytes this process may take, and
            `seconds`, the processor time it may use, both on top of what its libraries need to load.

    Returns:
        0, `DISK_FULL`, or `REFUSED` with the reason written to standard error.
    """
    request = json.loads(argv[0])
    _load_libraries()
    limit(request["memory"], request["seconds"])
    # Whatever a library prints must not get into the file.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with out:
        code, reason = convert(request, out)
    if reason:
        sys.stderr.write("\n" + json.dumps({"refused": reason}))
    return code


def convert(request: dict[str, Any], out: BinaryIO) -> tuple[int, str]:
    """Convert one file, in this process.

    Args:
        request: `form` ("mat" or "hdf5"), `path`, `widths` and `record` of the file.
        out: Gets the converted form.

    Returns:
        0, `DISK_FULL` or `REFUSED`, and why it was refused.
    """
    from neural_style_tf.weights.structure import WrongStructure

    try:
        _convert(request, out)
    except MemoryError:
        return REFUSED, "reading it needs more memory than such a file should"
    except WrongStructure as error:
        return REFUSED, str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DISK_FULL, ""
        form = "HDF5" if request["form"] == "hdf5" else "MATLAB"
        # What a reader did not foresee says nothing to a user.
        foreseen = isinstance(error, (OSError, ValueError))
        return REFUSED, f"a damaged {form} file" + (f" ({error})" if foreseen else "")
    return 0, ""


def limit(memory: int, seconds: float) -> None:
    """Limit what this process may use from now on.

    Args:
        memory: Bytes of address space beyond what it has.
        seconds: Processor time beyond what it used.
    """
    try:
        import resource
    except ImportError:
        return
    space, end = _address_space() + memory, int(time.process_time() + seconds) + 1
    limits = [
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_AS, (space, space)),
        # SIGXCPU at the first number, so that the reason is known; SIGKILL at the second.
        (resource.RLIMIT_CPU, (end, end + 1)),
    ]
    for what, values in limits:
        # Where the system does not know or allow the limit, the process alone has to do.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, values)


def _convert(request: dict[str, Any], out: BinaryIO) -> None:
    from neural_style_tf.weights.cache_format import write_converted
    from neural_style_tf.weights.keras_h5 import read_keras
    from neural_style_tf.weights.matconvnet import read_matconvnet
    from neural_style_tf.weights.provenance import Record

    if request["form"] == "hdf5":
        kernels, biases, layout, carried = read_keras(request["path"], widths=request["widths"])
    else:
        kernels, biases, layout, carried = read_matconvnet(request["path"], widths=request["widths"])
    record = asked = Record.from_json(request["record"])
    if carried:
        # A file that this program wrote: its record names the original.
        with contextlib.suppress(ValueError):
            record = Record.from_json(carried)
    # Size and time stay those of this file: they show whether the conversion is up to date.
    record = dataclasses.replace(record, layout=layout, size=asked.size, mtime_ns=asked.mtime_ns)
    write_converted(out, kernels, biases, record)


def _load_libraries() -> None:
    """Load what `_convert` needs, so that the limits count from there."""
    import h5py  # noqa: F401
    import scipy.io  # noqa: F401

    from neural_style_tf.weights import cache_format, keras_h5, matconvnet  # noqa: F401


def _address_space() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1_000_000_000


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
