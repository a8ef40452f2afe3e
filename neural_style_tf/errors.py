"""Errors of a run that are not bugs, and helpers that write their messages."""

from __future__ import annotations

import difflib
import itertools
import os
import re
import textwrap
from collections.abc import Iterable

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2
"""Exit codes of the command line."""
_LONGEST_REASON = 400
_TRACE = re.compile(r"\(most recent call last\):\s*$|^\s*File |^<stack traces|^Node: ")
"""Matches a line of a traceback of Python or of a TensorFlow graph."""


class UserError(ValueError):
    """A mistake of the user: a file, a flag, a combination of flags.

    The message is one line (or a few short ones) that says what was expected, what came, and what to
    do. The command line prints it without a traceback and exits with code 2.
    """


class UnreadableFile(UserError):
    """A picture or clip cannot be read. With `--skip_unreadable` a sweep leaves out the runs that need it."""


class RunError(RuntimeError):
    """A run with valid input cannot start or continue.

    The command line saves the last good state, if there is one, prints the message and exits with code 1.
    """


def show(path: str | bytes | os.PathLike[str]) -> str:
    """Return `path` for a message: as it is, or its `repr` if it has outer spaces or cannot be printed."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text.strip() == text and text else repr(text)


def one_line(text: str, longest: int = 300) -> str:
    """Return `text` as one printable line for a message, cut to `longest` characters.

    Characters that cannot be printed, such as line breaks, become spaces.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the word of `valid` closest to `word`, or "" if none is close."""
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def reason(error: BaseException) -> str:
    """Return the message of `error` in one line, without tracebacks that a library put into it.

    The message begins with the first line after the last traceback. If this line ends with a colon, all lines
    below it belong to the message; otherwise only the indented lines below it do.
    """
    lines = [line for line in str(error).splitlines() if line.strip() and "[[{{node" not in line]
    if traces := [at for at, line in enumerate(lines) if _TRACE.search(line)]:
        lines = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()] or lines[-1:]
    if lines and not lines[0].rstrip().endswith(":"):
        lines = lines[:1] + list(itertools.takewhile(lambda line: line[0].isspace(), lines[1:]))
    text = " ".join(lines) or type(error).__name__
    text = f"KeyError: {text}" if isinstance(error, KeyError) else text
    return textwrap.shorten(text, _LONGEST_REASON, placeholder=" …")
