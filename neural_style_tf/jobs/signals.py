"""Signals that end a run: immediately during start-up; after the current step once there is a picture."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
"""The signals that end a run. Slurm can send SIGUSR1 or SIGUSR2 before a time limit."""


class Interrupts:
    """Receives the signals that end a run.

    Attributes:
        received: The numbers of the signals so far, in order.
        graceful: Whether the run saves and ends itself after the first signal. A second signal raises
            KeyboardInterrupt; if this is False, the first one does.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.graceful = False
        self._at_once = False

    @property
    def exit_code(self) -> int:
        """128 plus the number of the first signal, as shells define it; without a signal that of SIGINT."""
        return 128 + (self.received[0] if self.received else signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if not self.graceful or len(self.received) > 1:
            self._at_once = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Receive signals while the body of the `with` statement runs.

        A signal that this process was started to ignore, as by `nohup`, stays ignored.

        Raises:
            KeyboardInterrupt: A signal ended the body. It also replaces an exception that the signal caused:
                for example, an interrupted import may report that its package is damaged.
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
