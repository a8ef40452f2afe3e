"""The ways a run can fail that are not bugs, and how paths and reasons are shown in their messages."""

from __future__ import annotations

import itertools
import os
import re
import textwrap

_LONGEST_REASON = 400
_TRACE = re.compile(r"\(most recent call last\):\s*$|^\s*File |^<stack traces|^Node: ")
"""Lines of a traceback, Python's or that of a TensorFlow graph."""


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


def reason(error: BaseException) -> str:
    """Return the message of an exception in one line, wherever in a library's text the reason stands.

    Below a traceback it is the first line that belongs to none. A heading, which ends with a colon, goes with
    all that it announces, another line with those that are indented under it.
    """
    lines = [line for line in str(error).splitlines() if line.strip() and "[[{{node" not in line]
    if traces := [at for at, line in enumerate(lines) if _TRACE.search(line)]:
        lines = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()] or lines[-1:]
    if lines and not lines[0].rstrip().endswith(":"):
        lines = lines[:1] + list(itertools.takewhile(lambda line: line[0].isspace(), lines[1:]))
    text = " ".join(lines) or type(error).__name__
    text = f"KeyError: {text}" if isinstance(error, KeyError) else text
    return textwrap.shorten(text, _LONGEST_REASON, placeholder=" …")
