"""File names with numbers: their order, and the names of a clip's frames, such as `frame.%04d.exr`."""

from __future__ import annotations

import re
from pathlib import Path

from neural_style_tf.utils.files import exists


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key with which `frame2` comes before `frame10`."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in parts if part]


# A file name with the number of a frame: before, %d or %04d or ####, after.
_NUMBERED = re.compile(r"(.*?)(?:%0?(\d{0,2})d|(##+))(.*)", re.DOTALL)


def _parts(path: str) -> tuple[str, int, str] | None:
    """Return a file name before the number of a frame, the smallest count of digits, and the name after."""
    named = _NUMBERED.fullmatch(Path(path).name)
    return named and (named[1], len(named[3] or "") or int(named[2] or 1), named[4])


def is_numbered(path: str) -> bool:
    """Return whether a path is that of numbered frames, as `frame.%04d.exr` and `frame.####.exr`."""
    return _parts(path) is not None


def frame_file(path: str, number: int) -> str:
    """Return `path` with `number` in the place of `%04d` or `####`, with at least as many digits."""
    before, digits, after = _parts(path)
    return str(Path(path).with_name(f"{before}{number:0{digits}}{after}"))


def frame_files(path: str) -> list[str]:
    """Return the existing files of numbered frames, sorted.

    A path without a number is returned as it is; an empty one gives no files.
    """
    parts = _parts(path)
    if parts is None or exists(path):
        return [path] if path else []
    before, digits, after = parts
    named = re.compile(rf"{re.escape(before)}\d{{{digits},}}{re.escape(after)}")
    try:
        found = [str(file) for file in Path(path).parent.iterdir() if named.fullmatch(file.name)]
    except OSError:
        return []
    return sorted(found, key=natural)
