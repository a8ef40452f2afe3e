"""Run cases in processes that may die, and say what became of each."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fuzzing.originals import PICTURES, WIDTHS, case, mutators
from neural_style_tf.errors import UserError
from neural_style_tf.images import load_image
from neural_style_tf.weights import _sandbox_worker, readers, sandbox

HANG, OVER = 10.0, 1_000_000_000
"""Seconds and bytes (beyond the file's size) that no case may take."""

CONTAINED = ("mat", "h5")
"""Kinds that the program reads in a child process: there a crash is a refusal."""

# A worker may take this much before the system stops it, so that what is over the limit is seen.
_ROOM = 4 * OVER
_LOUD = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        number: Of the case.
        result: "accepted", "refused", "crash", "hang" or "traceback".
        message: Why it was refused, or how it failed.
        seconds: It took.
        memory: Bytes the process grew by, at its peak, since it began.
        executed: What it ran that no file may run.
        stray: What a library printed.
    """

    number: int
    result: str
    message: str = ""
    seconds: float = 0.0
    memory: int = 0
    executed: str = ""
    stray: str = ""


def run(kind: str, seed: int, numbers: range) -> Iterator[Outcome]:
    """Run cases in worker processes, one at a time, each replaced where it dies.

    Args:
        kind: One of `originals.WEIGHTS` or `originals.PICTURES`.
        seed: Of the cases.
        numbers: Which cases.

    Yields:
        One outcome a case, in order.
    """
    # Made before the workers are forked, that each need not make them.
    mutators(kind)
    left = list(numbers)
    with _scratch():
        while left:
            with _worker(kind, seed, left) as lines:
                for line in lines:
                    yield Outcome(**line)
                    left.pop(0)
            if left:
                # It died, or was ended, at the first that is left; `lines` was told how.
                died = lines.how
                if died:
                    yield Outcome(left.pop(0), *died)


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """Keep what workers that die leave behind in a folder that is removed."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        try:
            yield
        finally:
            tempfile.tempdir = before


class _Lines:
    """What a worker reports, until it has nothing more to say."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self.pipe, self.how = pid, pipe, ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rest = b""
        while True:
            if not select.select([self.pipe], [], [], HANG)[0]:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.how = "hang", f"took more than {HANG:.0f} s", HANG
                return
            data = os.read(self.pipe, 1 << 16)
            if not data:
                status = os.waitpid(self.pid, 0)[1]
                if status:
                    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                    name = signal.Signals(number).name if number else f"exit code {os.WEXITSTATUS(status)}"
                    self.how = "crash", name
                return
            *whole, rest = (rest + data).split(b"\n")
            yield from map(json.loads, whole)


@contextlib.contextmanager
def _worker(kind: str, seed: int, numbers: list[int]) -> Iterator[_Lines]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 70
        try:
            os.close(reading)
            _work(kind, seed, numbers, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    try:
        yield _Lines(pid, reading)
    finally:
        os.close(reading)


def _work(kind: str, seed: int, numbers: list[int], pipe: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    room = _sandbox_worker._address_space() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    sandbox.run_child = _in_this_process
    executed: list[str] = []
    sys.addaudithook(lambda event, arguments: executed.append(event) if event in _LOUD else None)
    before = _peak()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stray:
        os.dup2(stray.fileno(), 2)
        path = Path(folder) / f"case.{kind}"
        for number in numbers:
            data = case(kind, seed, number)
            path.write_bytes(data)
            executed.clear()
            begin = time.monotonic()
            result, message = attempt(kind, path, random.Random(number))
            outcome = Outcome(
                number,
                result,
                message,
                seconds=time.monotonic() - begin,
                memory=max(0, _peak() - before - len(data)),
                executed=" ".join(executed),
                stray=_drain(stray),
            )
            os.write(pipe, json.dumps(dataclasses.asdict(outcome)).encode() + b"\n")
            if outcome.memory > OVER // 4:
                # The peak of a process never falls: the next case is for a new one.
                return


def attempt(kind: str, path: Path, rng: random.Random) -> tuple[str, str]:
    """Read one file as the program does.

    Args:
        kind: Of the file.
        path: The file.
        rng: Picks the flags a user could have given.

    Returns:
        "accepted", "refused" or "traceback", and the message.
    """
    try:
        if kind in PICTURES:
            # Two megapixels, lest most of the time goes into decoding nothing; in some, the program's limit.
            common = rng.random() < 0.995
            limit = {"max_pixels": 2_000_000} if common else {}
            longest = rng.choice((None, 20, 512)) if common else 512
            notes = load_image(path, longest=longest, allow_truncated=rng.random() < 0.3, **limit).notes
        else:
            notes = readers.read_file(path, widths=WIDTHS, keep=False).notes
        if not all(note.isprintable() for note in notes):
            return "traceback", f"notes of more than a printable line: {notes}"
    except UserError as error:
        if not str(error).isprintable():
            return "traceback", f"not one printable line: {error}"
        return "refused", str(error).replace(str(path), "FILE")
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return "accepted", ""


def _in_this_process(request: dict[str, Any], out: BinaryIO, wait: float) -> tuple[int, str]:
    """Do what the child of the program does, under its limit of memory; the parent sees to the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_sandbox_worker._address_space() + request["memory"], hard))
    try:
        return _sandbox_worker.convert(request, out)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _drain(file: BinaryIO) -> str:
    if not os.fstat(file.fileno()).st_size:
        return ""
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    text = os.read(file.fileno(), 2000).decode("utf-8", "replace")
    os.ftruncate(file.fileno(), 0)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return text
