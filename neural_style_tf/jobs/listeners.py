"""The listeners (callbacks) of a run: created at its first step, called at each step, closed at its end."""

from __future__ import annotations

import dataclasses
import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from neural_style_tf.jobs.task import Report
from neural_style_tf.transfer.records import Listener, Record


class Listeners:
    """Calls the listeners of a run, which write, print and report.

    Args:
        make: Creates the listeners. It is called at the first step, so that an earlier run in the folder is
            kept until then. The first listener is the `ManifestWriter`. Those that report the progress come
            last, so that what they report is already saved.
        painting: Path of the result, which messages of errors name; None for a worker that does not write.
    """

    def __init__(self, make: Callable[[], Iterator[Listener]], painting: Path | None) -> None:
        self._make, self._painting = make, painting
        self._listeners: list[Listener] = []

    def begin(self) -> None:
        """Create the listeners, unless this was done before."""
        if not self._listeners:
            for listener in self._make():
                self._listeners.append(listener)

    def on_step(self, record: Record) -> None:
        """Pass `record` to all listeners, then raise the first of their errors.

        After an error only the listeners that save the painting are called, and told to save this step.
        """
        self.begin()
        faults: list[Exception] = []
        for listener in self._listeners:
            if faults and not listener.keeps_painting:
                continue
            try:
                listener.on_step(dataclasses.replace(record, due=True) if faults else record)
            except Exception as error:
                faults.append(error)
        self.raise_first(faults)

    def on_tick(self, step: int) -> None:
        """Pass the number of the current step to all listeners; called about once a second."""
        for listener in self._listeners:
            listener.on_tick(step)

    def close(self, status: str) -> list[Exception]:
        """Close all listeners, write `status` into the manifest, and return the errors that occurred."""
        calls = [listener.on_end for listener in self._listeners]
        if self._listeners:
            calls.append(functools.partial(self._listeners[0].finish, status))
        faults: list[Exception] = []
        for call in calls:
            try:
                call()
            except Exception as error:
                faults.append(error)
        return faults

    def raise_first(self, faults: Sequence[Exception]) -> None:
        """Raise the first of the errors `faults`, if any, with a note that says where the painting is."""
        if not faults:
            return
        notes = [note for fault in faults for note in getattr(fault, "__notes__", ())]
        if not notes and self._painting and self._painting.exists():
            notes = [f"what is painted is in {self._painting}"]
        faults[0].__notes__ = notes
        raise faults[0]


class Reporting(Listener):
    """Reports the progress of a run to a sweep or to the page in the browser.

    To stop the run, SIGTERM is appended to `received`, the `Interrupts.received`. `saves` returns whether a
    step is saved.
    """

    def __init__(self, report: Report, received: list[int], saves: Callable[[int], bool]) -> None:
        self._report, self._received, self._saves = report, received, saves
        self._planned, self._seconds_left = 0, None

    def on_step(self, record: Record) -> None:
        """Report the step of `record`, and whether it is saved."""
        self._planned, self._seconds_left = record.planned, record.seconds_left
        self._pass_on(record.step, record.last or record.due or self._saves(record.step))

    def on_tick(self, step: int) -> None:
        """Report the current step, which is not saved; called about once a second."""
        self._pass_on(step, False)

    def _pass_on(self, step: int, saved: bool) -> None:
        if self._report(step, self._planned, saved, self._seconds_left) and not self._received:
            self._received.append(signal.SIGTERM)
