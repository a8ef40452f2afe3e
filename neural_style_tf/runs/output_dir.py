"""The output folder of a run. It must not hold another run, and is locked while a run writes to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from neural_style_tf.errors import UserError
from neural_style_tf.utils.files import Lock, exists, leftovers

# `run.json` shows that the files are this program's. It is removed last: if removing the others were
# interrupted, the folder could not be used again without it.
FILES = ("result.png", "result.mp4", "metrics.jsonl", "flags.txt", "run.json")
FOLDERS = ("images", "frames", "checkpoints", "regions")
STEP_PICTURES = (
    *("images/step-*.png", "frames/frame-*.png"),
    *("regions/content_*", "regions/style_*.png", "regions/regions.png", "regions/regions.npz"),
)
STATES = ("checkpoints/ckpt-*", "checkpoints/frame-*.npz")
"""Patterns of the files that resuming continues from: checkpoints of a picture, states of a clip's frames."""
EVENTS = "events.out.tfevents.*.v2"
LOCK = ".neural-style-tf.lock"


def files_of_a_run(folder: Path) -> list[Path]:
    """Return the files in `folder` that `--overwrite` removes."""
    if not exists(folder):
        return []
    return [*_numbered_files(folder), *(folder / name for name in FILES if (folder / name).exists())]


def _numbered_files(folder: Path) -> list[Path]:
    return [path for pattern in (EVENTS, *STEP_PICTURES, *STATES) for path in folder.glob(pattern)]


def holds_run(folder: Path) -> bool:
    """Return whether `folder` holds any file or folder of a run."""
    return bool(_own_files(folder))


def check_folder(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise UserError if `folder` holds a run that may be neither replaced nor resumed, or unknown files.

    Files that are named like those of a run are unknown if there is no `run.json` that can be read.
    """
    if not holds_run(folder):
        return
    if not _is_ours(folder):
        name = _own_files(folder)[0]
        what = "a run.json that" if name == "run.json" else f"{name} but no run.json that"
        raise UserError(
            f"{str(folder)!r} holds {what} this program can read: move that away, or give another "
            "--output_dir"
        )
    if not (overwrite or resume):
        raise UserError(
            f"{str(folder)!r} already holds a run: --resume continues it, --overwrite replaces it, "
            "or give another --output_dir"
        )


def _own_files(folder: Path) -> list[str]:
    if not exists(folder):
        return []
    present = [name for name in (*FILES, *FOLDERS) if (folder / name).exists()]
    return present + sorted(path.name for path in folder.glob(EVENTS))


def _is_ours(folder: Path) -> bool:
    """Return whether `folder` has a `run.json` of this program. A run writes it first."""
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return isinstance(facts, dict) and "config" in facts
    except (OSError, ValueError, RecursionError):
        return False


def is_in_use(folder: Path) -> bool:
    """Return whether another process is writing a run to `folder`."""
    lock = Lock(folder / LOCK)
    # The lock file alone proves nothing, since a killed process leaves it. So try to acquire the lock.
    try:
        free = not (folder / LOCK).exists() or lock.acquire()
    except OSError:
        return False
    lock.release()
    return not free


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn an OSError about the output folder `folder` into a `UserError`."""
    try:
        yield
    except FileExistsError:
        raise UserError(f"--output_dir: {str(folder)!r} is not a folder") from None
    except OSError as error:
        raise UserError(f"--output_dir: cannot write in {str(folder)!r}: {error.strerror}") from None


class FolderInUse(UserError):
    """Another process is writing to the output folder."""


class OutputFolder:
    """The output folder of a run. It is created if needed, and locked until `release`.

    docs/robustness.md lists its files. Raises `FolderInUse`, or `UserError` if `check_folder` refuses it or
    it cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool, resume: bool = False) -> None:
        self.path = Path(path)
        self._lock = Lock(self.path / LOCK)
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._lock.acquire():
                raise FolderInUse(f"another run is writing to {str(self.path)!r}: give another --output_dir")
        try:
            check_folder(self.path, overwrite=overwrite, resume=resume)
        except UserError:
            self.release()
            raise
        self._sweep()

    def clear(self) -> None:
        """Remove the files of an earlier run, and nothing else."""
        for path in _numbered_files(self.path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for name in FOLDERS:
            with contextlib.suppress(OSError):
                (self.path / name).rmdir()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the temporary files that a killed run left."""
        # The name of a temporary file has only the beginning of a long file name.
        patterns = [
            self.path / name for name in (*FILES, EVENTS.removesuffix(".v2"), *STEP_PICTURES, *STATES)
        ]
        for path in [path for pattern in patterns for path in leftovers(pattern.parent, pattern.name)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def release(self) -> None:
        """Unlock the folder, and remove it if it is empty."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self.path.rmdir()
