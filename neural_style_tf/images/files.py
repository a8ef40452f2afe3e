"""Find picture files by a folder or a pattern, in the order of their numbers."""

from __future__ import annotations

import glob
import re
from pathlib import Path

PICTURES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpeg", ".jpg"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Endings of what a folder is searched for; a file that is named may have any."""
LITTER = ("desktop.ini", "ehthumbs.db", "thumbs.db")
"""Files that systems put beside pictures; so are all hidden ones, such as `._photo.jpg`."""


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts `frame2` before `frame10`."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts if part]


def expand_files(pattern: str) -> list[str]:
    """Return the files of a glob, or the pictures of a folder, in natural order, without litter.

    A plain name is itself, and so is what cannot be looked at: reading it says why.
    """
    path = Path(pattern)
    try:
        # An empty name is not the folder one is in.
        if pattern and path.is_dir():
            found = [str(one) for one in path.iterdir() if one.suffix.lower() in PICTURES]
        elif path.exists() or not glob.has_magic(pattern):
            return [pattern]
        else:
            found = glob.glob(pattern)  # noqa: PTH207 - absolute patterns, too
        return sorted((one for one in found if not _is_litter(one) and Path(one).is_file()), key=natural)
    except OSError:
        return [pattern]


def _is_litter(file: str) -> bool:
    name = Path(file).name
    return name.startswith(".") or name.lower() in LITTER
