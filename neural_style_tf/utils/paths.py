"""`exists` and `is_file` that return False where a parent folder is unreadable."""

from __future__ import annotations

import os


def exists(path: str | os.PathLike[str]) -> bool:
    """`Path.exists` that returns False where the parent folder is unreadable.

    `Path.exists` raises there, before the code that reads or writes the file can say why it cannot.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """`Path.is_file` that returns False where the parent folder is unreadable."""
    return os.path.isfile(path)  # noqa: PTH113
