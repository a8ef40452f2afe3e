"""Turn an exception into one line for the user: what went wrong, and what to do."""

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
"""What to do once the cause of an error is removed: for a single run, and for a run of a sweep."""
FULL = f"make room, then go on with --resume; {KEPT}"
"""What to do after a full disk, an exceeded quota, or a limit on the size of files."""
DISK_ERRORS = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)}


def exit_code_of(command: Callable[[], int], say_error: Callable[[str], None]) -> int:
    """Call `command`, pass the line of its error to `say_error`, and return the exit code; raise bugs."""
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
    """Return the message of `error` with its notes, or None if it is a bug."""
    if isinstance(error, RunError) and isinstance(error.__cause__, OSError | MemoryError):
        # Such a cause gives better advice. TensorFlow's messages are less clear.
        line = explain(error.__cause__)
    else:
        line = str(error) if isinstance(error, RunError | UserError) else explain(error)
    return None if line is None else "; ".join([line, *getattr(error, "__notes__", ())])


def explain(error: BaseException) -> str | None:
    """Return the message for an error of the operating system or of TensorFlow; None for other errors."""
    if isinstance(error, MemoryError):
        return MEMORY_ADVICE
    if isinstance(error, OSError):
        return _explain_file(error)
    if not type(error).__module__.startswith("tensorflow"):
        return None
    text = str(error)
    # TensorFlow also reports a full disk as ResourceExhaustedError.
    for meaning in DISK_ERRORS.values():
        if meaning.lower() in text.lower():
            return f"{meaning} while a checkpoint or TensorBoard's file was written; {FULL}"
    if type(error).__name__ == "ResourceExhaustedError":
        return MEMORY_ADVICE
    return f"TensorFlow could not go on: {reason(error)}; {KEPT}"


def _explain_file(error: OSError) -> str:
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    if path is not None and path.name.startswith(PARTIAL):
        # The user does not know the names of temporary files.
        path = path.parent
    name = f": {path}" if path else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}{name}; {FULL}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{error.strerror}{name}; was it moved or removed during the run?"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}{name}; make it writable, then go on with --resume; {KEPT}"
    return f"{error.strerror or error}{name}; {KEPT}"
