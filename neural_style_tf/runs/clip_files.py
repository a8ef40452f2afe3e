"""The files of a clip's run: frames, what later frames need, progress; and how such a run goes on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from neural_style_tf.runs.callbacks import Saving, save_picture
from neural_style_tf.runs.resume import metric_rows
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.utils.atomic import atomic_file
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.video.memory import SPARE, Memory


def frame_path(folder: Path, number: int) -> Path:
    """Return the picture of a painted frame in the output folder."""
    return folder / "frames" / f"frame-{number:06d}.png"


def painted_frames(folder: Path) -> list[tuple[int, Path]]:
    """Return number and picture of each painted frame in the output folder, in order."""
    return _numbered(folder / "frames", ".png")


def frame_times(folder: Path) -> dict[int, Fraction]:
    """Return number → when it is shown, in seconds, of each frame that the output folder's metrics know."""
    times = {step: json.loads(line).get("time") for step, line in metric_rows(folder / "metrics.jsonl")}
    return {
        number: Fraction(time).limit_denominator(10**6)
        for number, time in times.items()
        if isinstance(time, int | float)
    }


class Frames(Listener):
    """`frames/frame-000001.png` …: every painted frame.

    Args:
        folder: The output folder.
        saving: How pictures are saved.
    """

    keeps_painting = True

    def __init__(self, folder: Path, saving: Saving) -> None:
        self._folder, self._saving = folder, saving

    def on_step(self, record: StepRecord) -> None:
        """Write the frame."""
        path = frame_path(self._folder, record.step)
        path.parent.mkdir(exist_ok=True)
        save_picture(path, record.best_rows, self._saving)


class States(Listener):
    """`checkpoints/frame-000001.npz` …: what the next frames need, so that a run goes on with the same bits.

    Args:
        folder: The output folder.
        needed: How many of them the next frame needs.
    """

    def __init__(self, folder: Path, needed: int) -> None:
        self._folder, self._kept = folder / "checkpoints", needed + SPARE

    def on_step(self, record: StepRecord) -> None:
        """Write the state, then remove the oldest."""
        memory: Memory = record.state
        _write_state(self._folder / f"frame-{memory.number:06d}.npz", memory)
        for _, path in _numbered(self._folder, ".npz")[: -self._kept]:
            path.unlink()


def read_states(folder: Path, needed: int) -> tuple[list[Memory], tuple[str, ...]]:
    """Return what is known of the frames that are painted, the oldest first, and a line for each damaged one.

    Args:
        folder: The output folder.
        needed: How many states the next frame needs, if its scene has as many.
    """
    notes: list[str] = []
    found = _numbered(folder / "checkpoints", ".npz")
    while found:
        known: list[Memory] = []
        for number, path in reversed(found):
            memory = _read_state(number, path)
            if memory is None:
                notes.append(f"the state of frame {number} is damaged; going on from before it")
                found = [one for one in found if one[0] < number]
                break
            if known and memory.scene != known[0].scene:
                return known, tuple(notes)
            known.insert(0, memory)
            if len(known) == needed or memory.scene == memory.number:
                return known, tuple(notes)
        else:
            return [], tuple(notes)
    return [], tuple(notes)


PASSES = "frame-*.pass-*.npz"


def holds_passes(folder: Path) -> bool:
    """Return whether what earlier passes made of an unfinished scene is in the output folder."""
    return any((folder / "checkpoints").glob(PASSES))


class PassFiles:
    """`checkpoints/frame-000001.pass-1.npz` …: what each pass but the last made of a scene.

    Args:
        folder: The output folder.
        begin: Called before anything is written.
        say: Gets a line for each frame that is done.
        going_on: Whether what lies in the folder is of this run; else it is not read before `begin`.
    """

    def __init__(
        self, folder: Path, begin: Callable[[], None], say: Callable[[str], None], *, going_on: bool
    ) -> None:
        self._folder, self._begin, self._say = folder / "checkpoints", begin, say
        self._ours = going_on

    def read(self, turn: int, number: int) -> Memory | None:
        """Return what a pass made of a frame; None if it did not, or it is damaged."""
        return _read_state(number, self._path(turn, number)) if self._ours else None

    def write(self, turn: int, memory: Memory) -> None:
        """Keep what a pass made of a frame."""
        self._begin()
        # What an earlier run left is gone now.
        self._ours = True
        _write_state(self._path(turn, memory.number), memory)
        self._say(f"pass {turn}: frame {memory.number}")

    def forget(self, before: int) -> None:
        """Remove what was made of the frames before one."""
        for path in self._folder.glob(PASSES):
            number = path.name.removeprefix("frame-").partition(".")[0]
            if number.isdecimal() and int(number) < before:
                path.unlink()

    def _path(self, turn: int, number: int) -> Path:
        return self._folder / f"frame-{number:06d}.pass-{turn}.npz"


def _write_state(path: Path, memory: Memory) -> None:
    path.parent.mkdir(exist_ok=True)
    arrays = {"scene": memory.scene, "source": memory.source, "painted": memory.painted}
    with atomic_file(path) as file:
        np.savez(file, **arrays, **({} if memory.masks is None else _as_arrays(memory.masks)))


def _as_arrays(masks: Masks) -> dict[str, np.ndarray]:
    """Return masks as arrays with names; those that are not there are left out."""
    found = {f"content_mask_{number}": mask for number, mask in enumerate(masks.content)}
    # As many as styles, of which some have none.
    styles = [np.zeros((0, 0), np.float32) if mask is None else mask for mask in masks.style]
    found |= {f"style_mask_{number}": mask for number, mask in enumerate(styles)}
    return found if masks.content_weight is None else found | {"content_weight": masks.content_weight}


def _as_masks(state: Mapping[str, np.ndarray]) -> Masks:
    """Return the masks, of a clip's frame, of what `_as_arrays` made."""
    content, style = (
        [state[f"{kind}_mask_{number}"] for number in range(sum(f"{kind}_mask_" in name for name in state))]
        for kind in ("content", "style")
    )
    given = tuple(mask if mask.size else None for mask in style)
    return Masks(tuple(content), given, state.get("content_weight"), moving=True)


def _read_state(number: int, path: Path) -> Memory | None:
    try:
        with np.load(path) as state:
            masks = _as_masks(state) if any("mask" in name or "weight" in name for name in state) else None
            return Memory(number, int(state["scene"]), state["source"], state["painted"], masks)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def remove_after(folder: Path, number: int) -> None:
    """Remove frames and states after a frame."""
    for name, suffix in (("frames", ".png"), ("checkpoints", ".npz")):
        for at, path in _numbered(folder / name, suffix):
            if at > number:
                path.unlink()


def _numbered(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    names = [(path.name.removeprefix("frame-").removesuffix(suffix), path) for path in folder.glob("frame-*")]
    return sorted((int(name), path) for name, path in names if name.isdecimal())


class FrameProgress(Listener):
    """A line for each frame.

    Args:
        console: Where to write.
        last: Number of the last frame; 0 if that is not known.
        every: How far apart frames are.
    """

    def __init__(self, console: Console, last: int, every: int) -> None:
        self._console, self._last, self._every = console, last, every
        self._begun: tuple[int, float] | None = None

    def on_step(self, record: StepRecord) -> None:
        """Write losses, speed and the remaining time."""
        for note in record.notes:
            self._console.say(note)
        of = f"/{self._last}" if self._last else ""
        parts = [f"frame {record.step}{of}", f"total {record.total:.4g}"]
        parts.append(f"{record.facts['iterations']:g} iterations")
        known = record.facts["reliable"]
        parts.append(f"{known:.0%} as before" if known else "a new scene")
        if self._begun is None:
            # The first has compiling in it.
            self._begun = record.step, record.seconds
        else:
            done = (record.step - self._begun[0]) / self._every
            pace = (record.seconds - self._begun[1]) / done
            parts.append(f"{pace:.3g} s/frame")
            if self._last:
                parts.append(f"{duration(pace * (self._last - record.step) / self._every)} left")
        self._console.say("  ".join(parts))

    def on_tick(self, step: int) -> None:
        """Show a person that something happens."""
        if self._console.interactive:
            self._console.rewrite(f"  iteration {step}")
