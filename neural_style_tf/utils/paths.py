"""What is asked of paths that may not be looked at."""

from __future__ import annotations

import os


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is something under a name; False where its folder may not be searched.

    `Path.exists` raises there, before what reads or writes the file can say in its own words that it cannot.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a file under a name; likewise."""
    return os.path.isfile(path)  # noqa: PTH113
