"""Write files atomically: no reader, and no crash, ever sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from neural_style_tf.utils.text import shortened

PARTIAL, NAME_KEPT = ".partial-", 40
UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EXDEV}
"""Errors of file systems that lack an operation: network shares, object stores, FUSE."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty file beside `path`, with its suffix, to write to; it replaces `path` at the end.

    If the body raises, or the process dies, `path` keeps its former content (or stays absent).
    """
    path = Path(path)
    # The name tells `leftovers` to which file it belongs.
    temporary = path.with_name(f"{_partial(path)}{secrets.token_hex(8)}{path.suffix}")
    try:
        # `open`, unlike `mkstemp`, gives it the usual permissions.
        with temporary.open("xb") as written:
            yield temporary
            _move_into_place(written, temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _move_into_place(file: BinaryIO, temporary: Path, path: Path) -> None:
    """Give a complete file its name, also where the file system can neither sync nor rename."""
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
    """Open a binary file that replaces `path` at the end; see `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_piece(path: str | os.PathLike[str], data: bytes, *, first: bool, last: bool) -> None:
    """Add a piece to a file that arrives in several, from one writer; the last piece moves it into place."""
    path = Path(path)
    partial = path.with_name(f"{_partial(path)}pieces")
    try:
        with partial.open("wb" if first else "ab") as file:
            file.write(data)
            file.flush()
            if last:
                _move_into_place(file, partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def leftovers(folder: Path, pattern: str) -> list[Path]:
    """Return temporary files that killed processes left beside files of `folder` that match `pattern`."""
    return sorted(folder.glob(f"{PARTIAL}{pattern}-*"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def _partial(path: Path) -> str:
    return f"{PARTIAL}{shortened(path.name, NAME_KEPT)}-"
