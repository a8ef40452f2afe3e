"""The errors of a run that are not bugs, and how their messages show paths and reasons."""

from __future__ import annotations

import itertools
import os
import re
import textwrap

_LONGEST_REASON = 400
_TRACE = re.compile(r"\(most recent call last\):\s*$|^\s*File |^<stack traces|^Node: ")
"""Lines of a traceback, Python's or that of a TensorFlow graph."""


class UserError(ValueError):
    """A mistake of the user: a file, a flag, a combination of flags.

    The message is one line (or a few short ones) that says what was expected, what came, and what to
    do. The command line prints it without a traceback and exits with code 2.
    """


class UnreadableFile(UserError):
    """A picture or clip cannot be read; `--skip_unreadable` leaves such runs out of a sweep."""


class RunError(RuntimeError):
    """A run with valid input that could not go on; its last good state is saved.

    The command line prints the message and exits with code 1.
    """


def show(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path as one printable line: its `repr` if it has newlines, surrogates or outer spaces."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text.strip() == text and text else repr(text)


def reason(error: BaseException) -> str:
    """Return the message of an exception in one line, without tracebacks that a library put into it.

    After a traceback, it is the first line that is not part of one. A line that ends with a colon is a
    heading: all lines below it belong to the message. Otherwise only the indented lines below do.
    """
    lines = [line for line in str(error).splitlines() if line.strip() and "[[{{node" not in line]
    if traces := [at for at, line in enumerate(lines) if _TRACE.search(line)]:
        lines = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()] or lines[-1:]
    if lines and not lines[0].rstrip().endswith(":"):
        lines = lines[:1] + list(itertools.takewhile(lambda line: line[0].isspace(), lines[1:]))
    text = " ".join(lines) or type(error).__name__
    text = f"KeyError: {text}" if isinstance(error, KeyError) else text
    return textwrap.shorten(text, _LONGEST_REASON, placeholder=" …")
