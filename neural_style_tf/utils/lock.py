"""Lock files: what one process at a time may do; the system drops a lock when its process dies."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout

from neural_style_tf.utils.atomic import UNSUPPORTED


class Lock:
    """A lock file that is there while it is held.

    Args:
        path: Of the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: FileLock | None = None

    def acquire(self) -> bool:
        """Take the lock; return whether this process may go on.

        On a file system without locks it may: one process at a time is then the user's care.

        Raises:
            OSError: The file cannot be made.
        """
        lock = FileLock(self._path, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
        self._lock = lock
        return True

    def release(self) -> None:
        """Drop the lock, if it is held, and remove its file."""
        if self._lock is None:
            return
        lock, self._lock = self._lock, None
        # Removed while it is held: later it may be another process's. Windows removes no file that is open.
        # The folder may be gone, or no longer ours to write in.
        with contextlib.suppress(OSError):
            self._path.unlink()
        lock.release()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                self._path.unlink()
