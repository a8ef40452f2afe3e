"""Write files atomically, lock them against other processes, and keep their names short enough."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

PARTIAL, NAME_KEPT = ".partial-", 40
"""A temporary file's name begins with `PARTIAL`, followed by `NAME_KEPT` bytes of the final name."""
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EXDEV}
"""Error numbers by which network shares, object stores and FUSE say that they lack an operation."""


def exists(path: str | os.PathLike[str]) -> bool:
    """`Path.exists` that returns False where the parent folder is unreadable.

    `Path.exists` raises there, before the code that reads or writes the file can say why it cannot.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """`Path.is_file` that returns False where the parent folder is unreadable."""
    return os.path.isfile(path)  # noqa: PTH113


def shortened(name: str, most: int) -> str:
    """Return `name`, or if it is longer than `most` bytes, its beginning and a hash of the whole name."""
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return name
    mark = f"-{hashlib.sha256(data).hexdigest()[:8]}"
    return data[: most - len(mark)].decode("utf-8", "ignore") + mark


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of an empty temporary file with the suffix of `path`, which it replaces at the end.

    The temporary file lies in the same folder.
    If the body of the `with` raises, or the process dies, `path` keeps its former content or stays absent.
    """
    path = Path(path)
    # `leftovers` finds temporary files by this name.
    name = f"{PARTIAL}{shortened(path.name, NAME_KEPT)}-{secrets.token_hex(8)}{path.suffix}"
    temporary = path.with_name(name)
    try:
        # `open`, unlike `mkstemp`, gives the file the usual permissions.
        with temporary.open("xb") as file:
            yield temporary
            _move_into_place(file, temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _move_into_place(file: BinaryIO, temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, or copy it if the file system cannot rename."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        shutil.copyfile(temporary, path)
        temporary.unlink()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file to write to, which replaces `path` at the end; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_table(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping]) -> None:
    """Write a CSV file atomically; a missing value leaves an empty cell, other keys are ignored."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def leftovers(folder: Path, pattern: str) -> list[Path]:
    """Return the temporary files that killed processes left in `folder` for files that match `pattern`."""
    return sorted(folder.glob(f"{PARTIAL}{pattern}-*"))


class Lock:
    """A lock file, held by one process at a time; the system drops the lock when its process dies.

    The file exists while the lock is held. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: FileLock | None = None

    def acquire(self, seconds: float = 0.0) -> bool:
        """Take the lock, waiting up to `seconds`; return False if another process still holds it.

        On a file system without locks this always succeeds: there, the user must run only one process.
        """
        lock = FileLock(self._path, timeout=seconds, fallback_to_soft=False)
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
        # The file is removed while the lock is held, since later it may belong to another process. The folder
        # may be gone or read-only by now. Windows cannot remove an open file; there `FileLock` removes it.
        with contextlib.suppress(OSError):
            self._path.unlink()
        lock.release()
