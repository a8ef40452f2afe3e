"""Lock files, held by one process at a time; the system drops a lock when its process dies."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout

from neural_style_tf.utils.atomic import UNSUPPORTED


class Lock:
    """A lock file that exists while it is held; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: FileLock | None = None

    def acquire(self) -> bool:
        """Take the lock; return False if another process holds it.

        On a file system without locks it is always taken: the user sees to it that one process runs.
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
        # Remove it while it is held: later it may be another process's. Windows cannot remove an open file.
        # The folder may be gone or read-only by now.
        with contextlib.suppress(OSError):
            self._path.unlink()
        lock.release()
        if os.name == "nt":
            with contextlib.suppress(OSError):
                self._path.unlink()
