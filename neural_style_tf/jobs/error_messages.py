"""Turn an error into one line for the user: what went wrong, and what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from neural_style_tf.errors import FAILURE, USAGE_ERROR, RunError, UserError, reason
from neural_style_tf.utils.files import PARTIAL

KEPT = "what was saved before is kept"
MEMORY_ADVICE = (
    "out of memory; try --tile=512, a smaller --image_size or --style_size, or with L-BFGS a shorter "
    f"--history; {KEPT}"
)
GO_ON, RETRY = "go on with --resume", "give the same command with --retry_failed"
"""Advice once the cause is gone, for a single run and for a run of a sweep."""
FULL = f"make room, then go on with --resume; {KEPT}"
"""Advice after a full disk, a quota or a limit on the size of files."""
DISK_ERRORS = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)}


def exit_code_of(command: Callable[[], int], say_error: Callable[[str], None]) -> int:
    """Call a command and return its exit code; an error is said in one line, and only a bug is raised.

    KeyboardInterrupt is the caller's.
    """
    try:
        return command()
    except UserError as error:
        say_error(str(error))
        return USAGE_ERROR
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        say_error(line)
    return FAILURE


def line_of(error: Exception) -> str | None:
    """Return the message of any error, with its notes, or None for a bug."""
    line = _line_of(error)
    return None if line is None else "; ".join([line, *getattr(error, "__notes__", ())])


def _line_of(error: Exception) -> str | None:
    if isinstance(error, RunError):
        # A cause about a file or memory gives better advice; one of TensorFlow is less clear than the error.
        cause = error.__cause__ if isinstance(error.__cause__, OSError | MemoryError) else None
        return explain(cause) or str(error)
    return str(error) if isinstance(error, UserError) else explain(error)


def explain(error: BaseException | None) -> str | None:
    """Return a line about an error of the system or of TensorFlow; None for all others, which are bugs.

    This does not import TensorFlow.
    """
    if isinstance(error, MemoryError):
        return MEMORY_ADVICE
    if isinstance(error, OSError):
        return _explain_file(error)
    if not type(error).__module__.startswith("tensorflow"):
        return None
    text = str(error)
    # TensorFlow reports a full disk as ResourceExhaustedError, too.
    for meaning in DISK_ERRORS.values():
        if meaning.lower() in text.lower():
            return f"{meaning} while a checkpoint or TensorBoard's file was written; {FULL}"
    if type(error).__name__ == "ResourceExhaustedError":
        return MEMORY_ADVICE
    return f"TensorFlow could not go on: {reason(error)}; {KEPT}"


def _explain_file(error: OSError) -> str:
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is not None and path.name.startswith(PARTIAL):
        # Temporary files have names that a user does not know.
        path = path.parent
    name = f": {path}" if path else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}{name}; {FULL}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{error.strerror}{name}; was it moved or removed during the run?"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}{name}; make it writable, then go on with --resume; {KEPT}"
    return f"{error.strerror or error}{name}; {KEPT}"
