"""Turn an error into one line for the user: what went wrong, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from neural_style_tf.errors import RunError, UserError, reason
from neural_style_tf.utils.atomic import PARTIAL

KEPT = "what was saved before is kept"
OUT_OF_MEMORY = (
    "out of memory; try --tile=512, a smaller --image_size or --style_size, or with L-BFGS a shorter "
    f"--history; {KEPT}"
)
GO_ON, RETRY = "go on with --resume", "give the same command with --retry_failed"
"""What to do once the cause is gone: with a single run, and with one of a sweep."""
FULL = f"make room, then go on with --resume; {KEPT}"
"""After what a full disk, a quota or a limit on the size of files has stopped."""
DISK_ERRORS = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)}


def line_of(error: Exception) -> str | None:
    """Return the line for the user about any error, with its notes, or None for a bug."""
    line = _line_of(error)
    return None if line is None else "; ".join([line, *getattr(error, "__notes__", ())])


def _line_of(error: Exception) -> str | None:
    if isinstance(error, RunError):
        # For a file or memory the cause says what helps; for TensorFlow the error itself is clearer.
        cause = error.__cause__ if isinstance(error.__cause__, OSError | MemoryError) else None
        return explain(cause) or str(error)
    return str(error) if isinstance(error, UserError) else explain(error)


def explain(error: BaseException | None) -> str | None:
    """Return a line about an error that is no bug of ours, or None.

    TensorFlow's errors are recognised without importing it.
    """
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):
        return _explain_file(error)
    if not type(error).__module__.startswith("tensorflow"):
        return None
    text = str(error)
    # To TensorFlow a full disk, too, is a resource that is exhausted.
    for meaning in DISK_ERRORS.values():
        if meaning.lower() in text.lower():
            return f"{meaning} while a checkpoint or TensorBoard's file was written; {FULL}"
    if type(error).__name__ == "ResourceExhaustedError":
        return OUT_OF_MEMORY
    return f"TensorFlow could not go on: {reason(error)}; {KEPT}"


def _explain_file(error: OSError) -> str:
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is not None and path.name.startswith(PARTIAL):
        # The name of a file that is only there while it is written says nothing to a user.
        path = path.parent
    name = f": {path}" if path else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}{name}; {FULL}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{error.strerror}{name}; was it moved or removed during the run?"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}{name}; make it writable, then go on with --resume; {KEPT}"
    return f"{error.strerror or error}{name}; {KEPT}"
