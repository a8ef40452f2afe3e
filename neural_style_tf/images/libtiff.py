"""Silence libtiff's own error output; this program reports damaged files itself."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator

from PIL import Image


@contextlib.contextmanager
def quiet_libtiff() -> Iterator[None]:
    """Take libtiff's error handler away for as long as this lasts; Pillow does so with its warnings.

    Only one thread at a time: the handler belongs to the process. Where the library cannot be reached, its
    lines go to standard error as before.
    """
    change = _changer()
    if change is None:
        yield
        return
    before = change(None)
    try:
        yield
    finally:
        change(before)


@functools.cache
def _changer() -> Callable[[int | None], int | None] | None:
    try:
        # Found through the module of Pillow that is linked against it.
        change = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError, TypeError):
        return None
    change.argtypes, change.restype = [ctypes.c_void_p], ctypes.c_void_p
    return change
