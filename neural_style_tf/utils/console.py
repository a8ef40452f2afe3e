"""Print lines and progress to the terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TextIO


class Console:
    """Writes lines to `stream` (default: standard output). If `quiet`, only errors are written."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.stream = stream if stream is not None else sys.stdout
        self.live_line = False

    @property
    def interactive(self) -> bool:
        """Whether the stream is a terminal, where a line can be rewritten."""
        with contextlib.suppress(ValueError, AttributeError):
            return not self.quiet and self.stream.isatty()
        return False

    def say(self, line: str) -> None:
        """Write `line`, unless the console is quiet."""
        if self.quiet:
            return
        self._write(("\n" if self.live_line else "") + line + "\n")
        self.live_line = False

    def rewrite(self, line: str) -> None:
        """Write a line without a line break, so that on a terminal the next call replaces it."""
        self._write(f"\r\x1b[2K{line}")
        self.live_line = True

    def error(self, line: str) -> None:
        """Write `line` to standard error, even if the console is quiet."""
        if self.live_line:
            self.say("")
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"neural-style-tf: {printable(line, sys.stderr)}\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(printable(text, self.stream))
            self.stream.flush()
        except (OSError, ValueError, AttributeError):
            # The stream is closed, or its reader has ended, as `| head` does: go on without output.
            self.quiet = True


class Download:
    """Shows the progress of a download: one live line on a terminal, elsewhere a line every 15 seconds."""

    LIVE, PLAIN = 1.0, 15.0
    """Seconds between two lines, on a terminal and elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = self._shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes have arrived."""
        now, live = time.monotonic(), self._console.interactive
        self._begun, self._shown = self._begun or now, self._shown or now
        if done < total and now - self._shown < (self.LIVE if live else self.PLAIN):
            return
        self._shown, seconds = now, max(now - self._begun, 1e-3)
        line = f"  {done / 1e6:,.0f} of {total / 1e6:,.0f} MB  {done / 1e6 / seconds:.3g} MB/s"
        line += f"  {duration(seconds * (total - done) / done)} left" if 0 < done < total else ""
        (self._console.rewrite if live else self._console.say)(line)


def printable(text: str, stream: TextIO | None = None) -> str:
    r"""Return `text` with an escape such as `\xe9` for what `stream` (default: UTF-8) cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def duration(seconds: float) -> str:
    """Return `seconds` as `1:02:03`, or as `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
