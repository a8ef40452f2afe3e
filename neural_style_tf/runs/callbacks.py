"""Listeners of a run that write metrics.jsonl, result.png and pictures of steps, and print the progress."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_style_tf.config.schema import SaveConfig
from neural_style_tf.errors import RunError, UserError, reason, show
from neural_style_tf.images import exr, resize, save_image
from neural_style_tf.transfer.records import Listener, Record, Rows, StepRecord
from neural_style_tf.utils.console import Console, duration


class ProgressLine(Listener):
    """Prints the losses. On a terminal one line is updated; otherwise each logged step has its own line.

    `printed` are notes that were printed before, and are not printed again.
    """

    def __init__(self, console: Console, printed: Sequence[str] = ()) -> None:
        self._console, self._printed = console, printed
        self._last: StepRecord | None = None

    def on_step(self, record: StepRecord) -> None:
        for note in record.notes:
            if note not in self._printed:
                self._console.say(note)
        self._last = record
        show = self._console.rewrite if self._console.interactive else self._console.say
        show(self._line(record.step))

    def on_tick(self, step: int) -> None:
        if self._console.interactive and self._last is not None:
            self._console.rewrite(self._line(step))

    def on_end(self) -> None:
        if self._console.live_line:
            self._console.say("")

    def _line(self, step: int) -> str:
        record = self._last
        parts = [f"step {step}/{record.planned}"]
        parts += [f"{name} {record.terms[name]:.4g}" for name in ("total", "content", "style", "tv")]
        if record.step:
            parts.append(f"{record.seconds / record.step:.3g} s/step")
        if record.seconds_left is not None:
            parts.append(f"{duration(record.seconds_left)} left")
        return "  ".join(parts)


class Metrics(Listener):
    """Writes `metrics.jsonl`: one JSON object for each logged step after step `after`.

    Each line is written by a single call of the system, without a buffer.
    """

    def __init__(self, path: Path, *, after: int = -1) -> None:
        self._file = path.open("ab", buffering=0)
        self._newest = after

    def on_step(self, record: Record) -> None:
        if record.logged and record.step > self._newest:
            row = {"step": record.step, **record.facts, **record.terms}
            self._file.write(json.dumps(row | {"seconds": round(record.seconds, 4)}).encode() + b"\n")
            self._newest = record.step

    def on_end(self) -> None:
        self._file.close()


@dataclasses.dataclass(frozen=True)
class Saving:
    """How pictures are saved; see `images.save_image`."""

    alpha: np.ndarray | None = None  # transparency of the content picture, uint8 [H, W]; None for opaque
    stretch: bool = False  # whether the contrast is stretched to 0–255
    bits: int = 8  # bits per channel of results; pictures of steps have 8
    profile: bytes | None = None  # ICC profile of the pixels; None for sRGB
    dpi: tuple[float, float] | None = None  # pixels per inch; None to leave them out
    original: exr.Original | None = None  # the photo's OpenEXR file; None for other formats


class Pictures(Listener):
    """Writes the image of each saved step to `images/step-000020.png` …; `config` says which are saved."""

    def __init__(self, folder: Path, config: SaveConfig, saving: Saving) -> None:
        self._folder, self._config = folder, config
        self._saving = dataclasses.replace(saving, bits=8)

    def on_step(self, record: StepRecord) -> None:
        if not self._config.saves(record.step):
            return
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"step-{record.step:06d}.png"
        _save(path, record.image_rows, self._saving)


class Result(Listener):
    """Writes the best image so far to the first of `paths`, and the final result to all of them.

    A file is replaced in one step, so it is never incomplete.
    """

    keeps_painting = True

    def __init__(self, paths: list[Path], config: SaveConfig, saving: Saving) -> None:
        self._paths, self._config, self._saving = paths, config, saving

    def on_step(self, record: StepRecord) -> None:
        if record.last or record.due or self._config.saves(record.step):
            path, *copies = self._paths if record.finished else self._paths[:1]
            save_picture(path, record.best_rows, self._saving, *copies)


def save_picture(path: Path, image: Rows, saving: Saving, *copies: Path) -> None:
    """Save `image` to `path` and to each of `copies`. If none can be written, save it to another folder.

    Raise RunError if a file cannot be written. Its note says where the picture is saved instead.
    """
    kept: list[Path] = []
    faults: list[RunError] = []
    for one in (path, *copies):
        try:
            _save(one, image, saving)
            kept.append(one)
        except RunError as error:
            faults.append(error)
    if faults:
        found = kept[0] if kept else _rescue(path, image, saving)
        faults[0].add_note(f"the picture is in {found}" if found else "it could be saved nowhere else")
        raise faults[0]


def _rescue(lost: Path, image: Rows, saving: Saving) -> Path | None:
    """Save `image` in a new folder, because `lost` cannot be written; return the path, or None."""
    plain = dataclasses.replace(saving, bits=8)
    for place in (tempfile.gettempdir(), Path.home(), lost.parent):
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="neural-style-tf-rescued-", dir=place))
            with contextlib.suppress(RunError):
                _save(path := folder / f"{lost.stem}.png", image, plain)
                return path
            # If the encoder fails, save an array, which `--init` can read.
            with contextlib.suppress(OSError):
                np.save(path := folder / f"{lost.stem}.npy", image[:])
                return path
            shutil.rmtree(folder)
    return None


def _save(path: Path, image: Rows, saving: Saving) -> None:
    """Save `image`; raise RunError if the folder is gone or not writable, or the encoder fails."""
    try:
        save_image(path, image, **vars(saving) | {"alpha": fit_alpha(saving.alpha, image)})
    except UserError as error:
        # Not the user's mistake: the folder was checked when the run began.
        raise RunError(f"{error}; was its folder moved, removed or made read-only during the run?") from error
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"{show(path)} could not be written: {reason(error)}") from error


def fit_alpha(alpha: np.ndarray | None, image: Rows) -> np.ndarray | None:
    """Return `alpha`, uint8 [H, W], resized to the size of `image`, which a coarse scale makes smaller."""
    if alpha is None or alpha.shape == image.shape[:2]:
        return alpha
    return np.rint(resize(alpha, image.shape[:2])).astype(np.uint8)
