"""The listeners of a run: made at its first step, told of every step, closed however the run ends."""

from __future__ import annotations

import dataclasses
import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from neural_style_tf.jobs.task import Report
from neural_style_tf.transfer.records import Listener, Record


class Listeners:
    """What a run writes, prints and reports.

    `make` is called at the first step, so that an earlier run in the folder is kept until then. It yields the
    manifest first, and last those that report to others: what they report is saved by then. Messages of
    errors say where the `painting` is.
    """

    def __init__(self, make: Callable[[], Iterator[Listener]], painting: Path | None) -> None:
        self._make, self._painting = make, painting
        self._listeners: list[Listener] = []

    def begin(self) -> None:
        """Make the listeners, unless they are there."""
        if not self._listeners:
            for listener in self._make():
                self._listeners.append(listener)

    def on_step(self, record: Record) -> None:
        """Pass on a step; after a fault only to those that save the painting, and at once."""
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
        """Pass on the number of a step, about once a second."""
        for listener in self._listeners:
            listener.on_tick(step)

    def close(self, status: str) -> list[Exception]:
        """Close all, write the status of the run into its manifest, and return the errors."""
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
        """Raise the first of several errors, with a note that says where the painting is."""
        if not faults:
            return
        notes = [note for fault in faults for note in getattr(fault, "__notes__", ())]
        if not notes and self._painting and self._painting.exists():
            notes = [f"what is painted is in {self._painting}"]
        faults[0].__notes__ = notes
        raise faults[0]


class Reporting(Listener):
    """Reports the progress of a run to a sweep or the page, and stops it when their answer says so.

    A stop is noted in `received` as a signal. `saves` tells whether a step is saved.
    """

    def __init__(self, report: Report, received: list[int], saves: Callable[[int], bool]) -> None:
        self._report, self._received, self._saves = report, received, saves
        self._planned, self._seconds_left = 0, None

    def on_step(self, record: Record) -> None:
        """Report a step."""
        self._planned, self._seconds_left = record.planned, record.seconds_left
        self._pass_on(record.step, record.last or record.due or self._saves(record.step))

    def on_tick(self, step: int) -> None:
        """Report the number of a step about once a second, as one that is not saved."""
        self._pass_on(step, False)

    def _pass_on(self, step: int, saved: bool) -> None:
        if self._report(step, self._planned, saved, self._seconds_left) and not self._received:
            self._received.append(signal.SIGTERM)
