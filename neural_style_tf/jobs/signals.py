"""Signals that end a run: at once during start-up, after the current step once there is a picture."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""Slurm can send one of the last two before a time limit."""


class Interrupts:
    """The signals that a run has `received`, in order.

    A run that is `graceful` saves and ends itself at the first signal; the second ends it at once.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.graceful = False
        self._at_once = False

    @property
    def exit_code(self) -> int:
        """128 plus the number of the first signal, the convention of shells."""
        return 128 + (self.received[0] if self.received else signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if not self.graceful or len(self.received) > 1:
            self._at_once = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Receive signals in the body; a signal that the parent process ignores (`nohup`) stays ignored.

        Raises:
            KeyboardInterrupt: A signal ended the body, also where that caused another error: an interrupted
                import may report that its package is damaged.
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
