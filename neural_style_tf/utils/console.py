"""Print lines and progress to the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO


class Console:
    """Writes lines to a stream, and goes silent, not down, when nobody reads it any more.

    Args:
        quiet: Drop everything but errors.
        stream: Where lines go; default: standard output.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.stream = stream if stream is not None else sys.stdout
        self.live_line = False

    @property
    def interactive(self) -> bool:
        """Whether a person watches, so that a line may be rewritten."""
        with contextlib.suppress(ValueError, AttributeError):
            return not self.quiet and self.stream.isatty()
        return False

    def say(self, line: str) -> None:
        """Write a line."""
        if self.quiet:
            return
        self._write(("\n" if self.live_line else "") + line + "\n")
        self.live_line = False

    def rewrite(self, line: str) -> None:
        """Replace the line on which the cursor stands."""
        self._write(f"\r\x1b[2K{line}")
        self.live_line = True

    def error(self, line: str) -> None:
        """Write an error line to standard error, even when quiet."""
        if self.live_line:
            self.say("")
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"neural-style-tf: {printable(line, encoding_of(sys.stderr))}\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(printable(text, encoding_of(self.stream)))
            self.stream.flush()
        except (OSError, ValueError, AttributeError):
            # The reader is gone (`| head`) or the stream is closed: the run goes on without it.
            self.quiet = True


def encoding_of(stream: TextIO) -> str:
    """Return how a stream encodes what is written to it."""
    return getattr(stream, "encoding", None) or "utf-8"


def printable(text: str, encoding: str = "utf-8") -> str:
    """Return `text` with what cannot be encoded escaped, such as names that are not UTF-8."""
    return text.encode(encoding, "backslashreplace").decode(encoding)


def duration(seconds: float) -> str:
    """Return `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
