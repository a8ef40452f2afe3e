"""Paths: tests that never raise, and names of a limited length."""

from __future__ import annotations

import hashlib
import os


def exists(path: str | os.PathLike[str]) -> bool:
    """`Path.exists` that returns False where the parent folder is unreadable.

    `Path.exists` raises there, before the code that reads or writes the file can say why it cannot.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """`Path.is_file` that returns False where the parent folder is unreadable."""
    return os.path.isfile(path)  # noqa: PTH113


def shortened(name: str, most: int) -> str:
    """Return a file name of at most `most` bytes: a longer one is cut, and ends in a hash of the whole."""
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return name
    mark = f"-{hashlib.sha256(data).hexdigest()[:8]}"
    return data[: most - len(mark)].decode("utf-8", "ignore") + mark
