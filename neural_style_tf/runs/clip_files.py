"""The files of a run that paints a clip: the frames, and the states from which the run is resumed."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from neural_style_tf.runs.callbacks import Saving, save_picture
from neural_style_tf.runs.resume import metric_rows
from neural_style_tf.transfer.records import FrameRecord, FrameState, Listener
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.utils.files import atomic_file
from neural_style_tf.utils.numbered import frame_file
from neural_style_tf.video.read import Clip

SPARE = 2
"""Number of states kept in addition to those that the next frame needs, in case the newest is damaged."""


def painted_frames(folder: Path) -> list[tuple[int, Path]]:
    """Return (number, path) of each painted frame in the output folder, in order."""
    return _numbered(folder / "frames", ".png")


def frame_times(folder: Path) -> dict[int, Fraction]:
    """Return when each frame in the `metrics.jsonl` of an output folder is shown, in seconds, by number."""
    times = {step: json.loads(line).get("time") for step, line in metric_rows(folder / "metrics.jsonl")}
    return {
        number: Fraction(time).limit_denominator(10**6)
        for number, time in times.items()
        if isinstance(time, int | float)
    }


class Frames(Listener):
    """Writes every painted frame to `frames/frame-000001.png` … in the output folder, and to `output`.

    `output` has `%04d` or `####` in the place of the number, or is "". The original `clip` has the numbers
    and the OpenEXR files of the frames.
    """

    keeps_painting = True

    def __init__(self, folder: Path, saving: Saving, clip: Clip, output: str = "") -> None:
        self._folder, self._saving, self._clip, self._output = folder, saving, clip, output

    def on_step(self, record: FrameRecord) -> None:
        number = record.step
        path = self._folder / "frames" / f"frame-{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        copies = [Path(frame_file(self._output, self._clip.name_of(number)))] if self._output else []
        saving = dataclasses.replace(self._saving, original=self._clip.original_of(number))
        save_picture(path, record.image_rows, saving, *copies)


class States(Listener):
    """Writes the state of each painted frame to `checkpoints/frame-000001.npz` … in the output folder.

    The last `needed` states, which the next frame needs, and a few spare ones are kept.
    """

    def __init__(self, folder: Path, needed: int) -> None:
        self._folder, self._kept = folder / "checkpoints", needed + SPARE

    def on_step(self, record: FrameRecord) -> None:
        self._folder.mkdir(exist_ok=True)
        state = record.state
        with atomic_file(self._folder / f"frame-{state.number:06d}.npz") as file:
            np.savez(file, scene=state.scene, source=state.source, painted=state.painted)
        for _, path in _numbered(self._folder, ".npz")[: -self._kept]:
            path.unlink()


def read_states(folder: Path, needed: int) -> tuple[list[FrameState], list[str]]:
    """Return the states from which a run is resumed, oldest first, and a line for each damaged state.

    These are the last `needed` readable states, or fewer if their scene began later. The list is empty if
    some of them are missing.
    """
    notes: list[str] = []
    states: list[FrameState] = []
    for number, path in reversed(_numbered(folder / "checkpoints", ".npz")):
        state = _read_state(number, path)
        if state is None:
            notes.append(f"the state of frame {number} is damaged; going on from before it")
            states = []
            continue
        if states and state.scene != states[0].scene:
            return states, notes
        states.insert(0, state)
        if len(states) == needed or state.scene == state.number:
            return states, notes
    return [], notes


def _read_state(number: int, path: Path) -> FrameState | None:
    try:
        with np.load(path) as state:
            return FrameState(number, int(state["scene"]), state["source"], state["painted"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def remove_after(folder: Path, number: int) -> None:
    """Remove the frames and states of all frames after `number`."""
    for name, suffix in (("frames", ".png"), ("checkpoints", ".npz")):
        for at, path in _numbered(folder / name, suffix):
            if at > number:
                path.unlink()


def _numbered(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    names = [(path.name.removeprefix("frame-").removesuffix(suffix), path) for path in folder.glob("frame-*")]
    return sorted((int(name), path) for name, path in names if name.isdecimal())


class FrameProgress(Listener):
    """Prints a line for each painted frame; `last` is the number of the last frame, 0 if it is unknown."""

    def __init__(self, console: Console, last: int) -> None:
        self._console, self._last = console, last
        self._before: FrameRecord | None = None

    def on_step(self, record: FrameRecord) -> None:
        for note in record.notes:
            self._console.say(note)
        parts = [
            f"frame {record.step}{f'/{self._last}' if self._last else ''}",
            f"total {record.total:.4g}",
            f"{record.iterations} iterations",
            f"{record.reliable:.0%} as before" if record.reliable else "a new scene",
        ]
        if self._before is not None:
            parts.append(f"{record.seconds - self._before.seconds:.3g} s/frame")
        self._before = record
        if record.seconds_left is not None:
            parts.append(f"{duration(record.seconds_left)} left")
        self._console.say("  ".join(parts))

    def on_iteration(self, step: int) -> None:
        """Show the iteration `step` of the present frame, on a terminal only."""
        if self._console.interactive:
            self._console.rewrite(f"  iteration {step}")
