"""The process that reads a .mat file: `python -m neural_style_tf.weights._mat_child REQUEST > OUT.npz`.

SciPy's reader is written for files one trusts: truncated and crafted ones have crashed the interpreter. Here
a crash, or too much memory, ends this process only. REQUEST is a JSON object; the converted file goes to
standard output, and a refusal as one JSON object to standard error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import sys
from typing import Any, BinaryIO

REFUSED, DISK_FULL = 3, 4


def main(argv: list[str]) -> int:
    """Convert one file.

    Args:
        argv: The request: `path`, `widths`, `memory` (bytes of address space) and `record`.

    Returns:
        0, `DISK_FULL`, or `REFUSED` with the reason written to standard error.
    """
    request = json.loads(argv[0])
    _limit(request["memory"])
    # Whatever a library prints must not get into the file.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        with out:
            _convert(request, out)
    except MemoryError:
        return _refuse("reading it needs more memory than such a file should")
    except Exception as error:
        from neural_style_tf.weights.structure import WrongStructure

        if isinstance(error, WrongStructure):
            return _refuse(str(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return DISK_FULL
        return _refuse(f"a damaged MATLAB file ({type(error).__name__}: {error})")
    return 0


def _convert(request: dict[str, Any], out: BinaryIO) -> None:
    from neural_style_tf.weights.converted import write_converted
    from neural_style_tf.weights.matconvnet import read_matconvnet
    from neural_style_tf.weights.record import Record

    kernels, biases, layout, carried = read_matconvnet(request["path"], widths=request["widths"])
    record = asked = Record.from_json(request["record"])
    if carried:
        # A file that this program wrote: its record names the original.
        with contextlib.suppress(ValueError):
            record = Record.from_json(carried)
    # Size and time stay those of the file at hand: they tell whether this conversion is up to date.
    record = dataclasses.replace(record, layout=layout, size=asked.size, mtime_ns=asked.mtime_ns)
    write_converted(out, kernels, biases, record)


def _limit(memory: int) -> None:
    try:
        import resource
    except ImportError:
        return
    for what, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        # Where the system does not know or allow the limit, the process alone has to do.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (value, value))


def _refuse(reason: str) -> int:
    sys.stderr.write("\n" + json.dumps({"refused": reason}))
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
