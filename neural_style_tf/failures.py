"""What went wrong, in one line for the user: what, and what helps."""

from __future__ import annotations

import errno
import os

KEPT = "what was saved before is kept"
OUT_OF_MEMORY = (
    "out of memory; try --tile=512, a smaller --image_size or --style_size, or with L-BFGS a shorter "
    f"--history; {KEPT}"
)
FULL = f"make room, then go on with --resume; {KEPT}"
"""After what a full disk, a quota or a limit on the size of files has stopped."""
DISK_ERRORS = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)}


def explain(error: BaseException) -> str | None:
    """Return a line about an error that is no bug of ours, or None.

    TensorFlow's errors are told apart without importing it.
    """
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):
        name = f": {os.fsdecode(error.filename)}" if error.filename else ""
        rest = FULL if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else KEPT
        return f"{error.strerror or error}{name}; {rest}"
    if not type(error).__module__.startswith("tensorflow"):
        return None
    text = str(error)
    # To TensorFlow a full disk, too, is a resource that is exhausted.
    for meaning in DISK_ERRORS.values():
        if meaning.lower() in text.lower():
            return f"{meaning} while a checkpoint or TensorBoard's file was written; {FULL}"
    if type(error).__name__ == "ResourceExhaustedError":
        return OUT_OF_MEMORY
    return f"TensorFlow could not go on: {(text.splitlines() or [''])[0]}; {KEPT}"
