"""Signals that end a run: at once during start-up, after the current step once there is a picture."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""The last two are what Slurm sends before a time limit if asked to."""


class Interrupts:
    """What was received so far.

    Attributes:
        received: Signal numbers, in order.
        graceful: Whether the first one only asks; the second always ends at once.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.graceful = False
        self._at_once = False

    @property
    def exit_code(self) -> int:
        """128 plus the first signal, as shells have it."""
        return 128 + (self.received[0] if self.received else signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if not self.graceful or len(self.received) > 1:
            self._at_once = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Receive signals in the body; one that is ignored from outside, as by `nohup`, stays ignored.

        Raises:
            KeyboardInterrupt: A signal was to end the body at once, even if another error came of it: an
                import that is broken off may say that its package is damaged.
        """
        former = {}
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                former[number] = signal.signal(number, self._receive)
        try:
            yield
        except Exception:
            if self._at_once:
                raise KeyboardInterrupt from None
            raise
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
