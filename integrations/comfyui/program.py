"""Find the program neural-style-tf, and run it in a process of its own."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAM, FLAGS = "NEURAL_STYLE_TF", "NEURAL_STYLE_TF_FLAGS"
"""Environment variables: the program, or a Python that has it; and flags for every run.

They are no inputs of the node: a workflow of somebody else must not choose which program runs here.
"""
START = "import sys; from neural_style_tf.cli import start; sys.exit(start())"
SECONDS_BETWEEN_LOOKS = 0.1
_STEP = re.compile(r"step (\d+)/(\d+)\b")
_MISTAKE = "neural-style-tf: "
"""Prefix of the line in which the program says why it failed."""
_log = logging.getLogger("neural-style-tf")


def find_program() -> tuple[list[str], list[str]]:
    """Return the beginning of the command that paints, and the flags that belong to its end.

    Raises:
        RuntimeError: It is not installed, or an environment variable is wrong.
    """
    named = os.environ.get(PROGRAM, "")
    try:
        flags = shlex.split(os.environ.get(FLAGS, ""))
    except ValueError as error:
        raise RuntimeError(f"{FLAGS} cannot be read: {error}") from None
    if named:
        path = shutil.which(os.path.expanduser(named))  # noqa: PTH111
        if path is None:
            raise RuntimeError(
                f"{PROGRAM} is {named!r}, where no program is: expected the path of neural-style-tf, or of "
                "the Python that has it"
            )
        # The process has another current folder.
        path = os.path.abspath(path)  # noqa: PTH100
        python = Path(path).name.startswith("python")
        return [path, *(("-c", START) if python else ())], flags
    if all(importlib.util.find_spec(name) for name in ("neural_style_tf", "tensorflow")):
        return [sys.executable, "-c", START], flags
    if path := shutil.which("neural-style-tf"):
        return [path], flags
    raise RuntimeError(
        "neural-style-tf is not installed here: install it in an environment of its own, set the environment "
        f"variable {PROGRAM} to the Python of that environment, and start ComfyUI again"
    )


class Progress:
    """What the program has printed: reads its output in a thread, so that the pipe never fills up.

    Attributes:
        step: The last step that was printed.
        planned: The number of steps of the run; 0 before the first step.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.step = self.planned = 0
        self._output, self._last, self._mistake = process.stdout, "", ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._output:
            for line in iter(lambda: self._output.readline(2**16), b""):
                self._take(line.decode("utf-8", "replace").strip())

    def _take(self, line: str) -> None:
        if match := _STEP.match(line):
            self.step, self.planned = int(match[1]), int(match[2])
        elif line:
            self._last = line
            if line.startswith(_MISTAKE):
                self._mistake = line.removeprefix(_MISTAKE)
            else:
                _log.info("%s%s", _MISTAKE, line)

    def mistake(self, code: int) -> str:
        """Return why the program failed with exit code `code`: its own line, a signal, or its last line."""
        # A process that the program left behind could keep the pipe open.
        self._thread.join(5)
        if self._mistake:
            return self._mistake
        number = -code if code < 0 else code - 128
        # Larger exit codes, such as those of Windows, stand for no signal.
        if 0 < number < 65:
            memory = ", as the system does when memory is short: try a smaller size" if number == 9 else ""
            return f"neural-style-tf was ended by signal {number}{memory}"
        return f"neural-style-tf failed: {self._last or f'exit code {code}'}"


def run(command: Sequence[str], folder: Path, look: Callable[[Progress], None]) -> None:
    """Run a command and wait for its end.

    Args:
        command: The program and its arguments.
        folder: Its current folder.
        look: Called about ten times a second; if it raises, the program is interrupted, and waited for.

    Raises:
        RuntimeError: The program failed; with its message.
    """
    with _started(command, folder) as process:
        progress = Progress(process)
        while (code := process.poll()) is None:
            look(progress)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if code:
        raise RuntimeError(progress.mistake(code))


@contextmanager
def _started(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in the care of `supervise.py`; in the end interrupt it and wait for its end."""
    supervisor = [sys.executable, str(Path(__file__).with_name("supervise.py"))]
    process = subprocess.Popen(
        [*supervisor, *command],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C in ComfyUI's terminal goes to ComfyUI alone, whose end ends the program.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # A byte, too: a fork of ComfyUI could keep the pipe open.
        with suppress(OSError):
            process.stdin.write(b".")
            process.stdin.close()
        process.wait()
        if hasattr(os, "killpg"):
            # What is left if somebody has killed the supervisor.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
