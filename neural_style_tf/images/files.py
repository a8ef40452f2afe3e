"""Find picture files by a folder or a pattern, and read their bytes."""

from __future__ import annotations

import errno
import glob
import os
import stat
from itertools import islice
from pathlib import Path

from neural_style_tf.errors import UserError, did_you_mean, show
from neural_style_tf.utils.numbered import frame_files, is_numbered, natural

PICTURE_SUFFIXES = (
    *(".avif", ".bmp", ".exr", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpeg", ".jpg"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Suffixes of the pictures in a folder; a file that the user names may have any suffix."""
LITTER = ("desktop.ini", "ehthumbs.db", "thumbs.db")
"""Files that operating systems put beside pictures. Hidden files such as `._photo.jpg` are skipped, too."""

# Largest file: 8 bytes for each pixel (uncompressed 16-bit RGBA), and room for metadata.
_BYTES_PER_PIXEL = 8
_BYTES_OF_METADATA = 64 << 20
_NAMES_TO_COMPARE = 2000
ADVICE = "give a smaller picture, or raise --max_pixels"
"""Remedy for too many pixels."""


def expand_files(pattern: str) -> list[str]:
    """Return the files that match a pattern, or the pictures of a folder, sorted by `natural`.

    A pattern is a glob, or has the number of a frame as `%04d` or `####`.

    Files in `LITTER` and hidden files are left out. Any other name is returned as it is, also that of a
    missing file or an unreadable folder: reading it raises the error.
    """
    path = Path(pattern)
    try:
        # `Path("")` would be the current folder.
        if pattern and path.is_dir():
            names = [str(file) for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
        elif is_numbered(pattern) and not path.exists():
            names = frame_files(pattern)
        elif path.exists() or not glob.has_magic(pattern):
            return [pattern]
        else:
            names = glob.glob(pattern)  # noqa: PTH207 - absolute patterns, too
        return sorted((name for name in names if not _is_litter(name) and Path(name).is_file()), key=natural)
    except OSError:
        return [pattern]


def _is_litter(file: str) -> bool:
    name = Path(file).name
    return name.startswith(".") or name.lower() in LITTER


def read_bounded(path: str | os.PathLike[str], *, max_pixels: int) -> bytes:
    """Return the bytes of a file; raise `UserError` if it is unreadable, or too large for `max_pixels`.

    Only regular files are read: opening a pipe or a device could block or have effects.
    """
    name, file, data = show(path), Path(path), b""
    if not os.fspath(path):
        raise UserError("the name of the picture is empty; expected the path of a file")
    limit = _BYTES_PER_PIXEL * max_pixels + _BYTES_OF_METADATA
    try:
        status = file.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
            with file.open("rb") as opened:
                # A file that grows is cut. Read at least 1 MiB: files in /proc report size 0.
                data = opened.read(max(status.st_size, 1 << 20) + 1)
    except OSError as error:
        raise UserError(_why_unreadable(name, file, error)) from error
    except ValueError as error:
        raise UserError(f"{name} is not a valid file name: {error}") from None
    form = stat.S_IFMT(status.st_mode)
    if form == stat.S_IFDIR:
        raise UserError(f"{name} is a folder; expected a picture file")
    if form != stat.S_IFREG:
        kind = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}.get(form, "a device")
        raise UserError(f"{name} is {kind}; expected a picture in a regular file")
    if max(len(data), status.st_size) > limit:
        raise UserError(
            f"{name} holds more than {limit:,} bytes, too many for {max_pixels:,} pixels; {ADVICE}"
        )
    if not data:
        raise UserError(f"{name} is empty (0 bytes); expected a picture, such as PNG or JPEG")
    return data


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise `UserError` if a picture has more than `max_pixels`; `name` is the file in the message."""
    if width * height > max_pixels:
        raise UserError(
            f"{name} is {width} × {height} = {width * height:,} pixels,"
            f" over the limit of {max_pixels:,}; {ADVICE}"
        )


def _why_unreadable(name: str, path: Path, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"{name} {_missing(path)}"
        case errno.ENOTDIR:
            return f"{name} does not exist: a part of its path is a file, not a folder"
        case errno.EACCES | errno.EPERM:
            return f"{name} cannot be read: permission denied; change its permissions"
        case errno.ELOOP:
            return f"{name} cannot be read: it is a link that leads back to itself"
        case _:
            return f"{name} cannot be read: {error.strerror or type(error).__name__}"


def _missing(path: Path) -> str:
    if path.is_symlink():
        return "is a symbolic link to a file that does not exist"
    if not path.parent.is_dir():
        return f"does not exist: there is no folder {show(path.parent)}"
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _NAMES_TO_COMPARE)]
    except OSError:
        names = []
    return f"does not exist{did_you_mean(path.name, names)}"
