"""The ways a run can fail that are not bugs, and how a path is shown in their messages."""

from __future__ import annotations

import os


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a combination.

    The message is one line (or a few short ones) that says what was expected, what came, and what to
    do. The command line prints it without a traceback and exits with code 2.
    """


class UnreadableFile(UserError):
    """A picture or clip of a run cannot be used; a sweep may leave such runs out."""


class RunError(RuntimeError):
    """A run that could not go on although its input was valid; whatever was good is saved.

    The command line prints the message and exits with code 1.
    """


def show(path: str | bytes | os.PathLike[str]) -> str:
    """Return the path as one printable line: its `repr` if it holds newlines, surrogates or the like."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text.strip() == text and text else repr(text)
