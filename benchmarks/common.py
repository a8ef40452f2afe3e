"""What the benchmarks share: options, tables, pictures, processes, and a timer of several runs in turn."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

# Its names are found on first use, so that TensorFlow is imported after `start`.
import neural_style_tf as nst

EXAMPLES = ROOT / "examples"
PICTURES = [EXAMPLES]
"""Folders of the pictures that pairs name."""
PAIRS = ("astronaut:strokes", "chelsea:mosaic", "coffee:watercolour", "rocket:starry_night")
"""A portrait, an animal, a still life, a night."""
ONE_SCALE = {"scales": 1, "scale_iterations": ()}
TIMEOUT = 124
"""Exit code of a process that was stopped because it took too long, as of the program `timeout`."""


def read_options(
    doc: str, quick: Mapping[str, Any] | None = None, kinds: Sequence[str] = (), **settings: Any
) -> argparse.Namespace:
    """Return the options of a benchmark's command line.

    Args:
        doc: Docstring of the script.
        quick: What `--quick` changes, so that the script is seen to work within seconds.
        kinds: Choices of the first argument, `kind`; the first is the default.
        **settings: Flag → default, or its type if there is no default. A list takes several values, a dict
            several of its keys, by default all.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if kinds:
        parser.add_argument("kind", nargs="?", choices=kinds, default=kinds[0])
    for name, value in settings.items():
        if isinstance(value, dict):
            parser.add_argument(f"--{name}", nargs="+", choices=list(value), default=list(value))
        elif isinstance(value, type):
            parser.add_argument(f"--{name}", type=value)
        elif isinstance(value, list | tuple):
            parser.add_argument(f"--{name}", type=type(value[0]), nargs="+", default=value)
        elif isinstance(value, bool):
            parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that this script works")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(quick or {})
    return options


def print_row(*cells: Any) -> None:
    """Print a row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def print_header(*columns: str) -> None:
    """Print the first two lines of a Markdown table."""
    print_row(*columns)
    print("|" + "---|" * len(columns), flush=True)


def locate(name: str) -> Path:
    """Return the file that half of a pair names: a path, or a picture of `PICTURES` without its ending."""
    paths = [Path(name), *(folder / f"{name}.jpg" for folder in PICTURES)]
    return next((path for path in paths if path.is_file()), paths[1])


def load_pair(pair: str, size: int, *, enlarge: bool = False) -> tuple[Any, Any]:
    """Return the pixels of `PHOTO:STYLE`, reduced to a longest side; the photo may be enlarged to it."""
    paths = map(locate, pair.split(":"))
    sizes = ({"longest": size, "enlarge": enlarge}, {"longest": size})
    return tuple(nst.load_image(path, **options).pixels for path, options in zip(paths, sizes, strict=True))


def sweep_of(pairs: Sequence[str]) -> list[str]:
    """Return the flags that sweep over pairs."""
    flags, halves = ["--sweep_zip=content,style"], zip(*(pair.split(":") for pair in pairs), strict=True)
    for role, names in zip(("content", "style"), halves, strict=True):
        flags.append(f"--sweep={role}={','.join(str(locate(name).resolve()) for name in names)}")
    return flags


def flags_of(pair: str, size: int) -> list[str]:
    """Return the flags of a run of `balanced` that saves nothing but its result."""
    content, style = (locate(name).resolve() for name in pair.split(":"))
    flags = [f"--content={content}", f"--style={style}", f"--image_size={size}"]
    return [*flags, "--preset=balanced", "--save_every=0"]


def settings(preset: str = "balanced", **changes: Any) -> nst.Config:
    """Return a preset with changes, for pictures at their own size and with a record of each step."""
    return nst.PRESETS[preset].replace(**{"image_size": 0, "save_every": 0, "log_every": 1} | changes)


def paint(session: nst.Session, pictures: Sequence[Any], config: nst.Config) -> Any:
    """Paint, and return the last record."""
    *_, record = session.run(nst.Inputs(*pictures), config)
    return record


def precisions() -> list[str]:
    """Return the precisions that this machine computes in: bfloat16 only where it is not emulated."""
    from neural_style_tf.models.precision import has_bfloat16

    return ["float32", "bfloat16"] if has_bfloat16() else ["float32"]


def seconds_of(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def seconds_in_turn(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return the median seconds of each function.

    They are called in turn, so that whatever slows the machine slows all of them.
    """
    times = [[seconds_of(call) for call in calls] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def stepper(session: nst.Session, inputs: nst.Inputs, config: nst.Config) -> Callable[[], Any]:
    """Return a function that makes one step of a run, which has made two already, and returns its record."""
    run = session.run(inputs, config.replace(iterations=10_000))
    for _ in range(3):
        next(run)
    return lambda: next(run)


def peak_megabytes(pid: int | None = None) -> float:
    """Return the most memory that a process has held since its program was loaded, 0 if it has ended.

    `getrusage` would begin with the size of the process that started it.
    """
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid or os.getpid()}/status").read_text(encoding="ascii", errors="replace")
        if peak := re.search(r"VmHWM:\s+(\d+)", status):
            return int(peak[1]) / 1024
    return 0.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    output: str
    seconds: float
    processor: float = 0.0  # seconds of all cores
    folder: Path = Path()  # of a run's output

    @property
    def last_line(self) -> str:
        """The last line that it printed."""
        return (self.output.strip().splitlines() or ["(nothing)"])[-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


def run_process(
    command: Sequence[object],
    *,
    timeout: float | None = None,
    watch: Callable[[int], None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> Ended:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        timeout: Seconds after which it is killed.
        watch: Called with its process number five times a second.
        environment: Variables beside those of this process.
        folder: Its working directory.
    """
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        code = None
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(0.2)
            if watch:
                watch(process.pid)
            if code is None and timeout and time.perf_counter() - start > timeout:
                process.kill()
                process.wait()
                code = TIMEOUT
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        file.seek(0)
        return Ended(code, file.read().decode(errors="replace"), seconds, processor)


def run_command(
    folder: Path, *flags: str, weights: str = "bundled", checkout: Path = ROOT, **options: Any
) -> Ended:
    """Run the command line of a checkout as a user does, into a folder; options as of `run_process`.

    Raises:
        RuntimeError: It failed, and no `timeout` was given.
    """
    command = [sys.executable, "run.py", f"--output_dir={folder}", f"--weights={weights}", *flags]
    ended = run_process(command, folder=checkout, **options)
    if ended.code and "timeout" not in options:
        raise RuntimeError(f"exit code {ended.code}: {ended.last_line}")
    return dataclasses.replace(ended, folder=folder)


class ChildError(RuntimeError):
    """A process of `call` failed; `values` is what it yielded until then, `code` its exit code."""

    def __init__(self, message: str, values: list[Any], code: int) -> None:
        super().__init__(message)
        self.values, self.code = values, code


MARK = "YIELDED "
CHILD = f"""
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
module, name = sys.argv[2].rsplit(".", 1)
for value in getattr(importlib.import_module(module), name)(**json.loads(sys.argv[3])):
    print({MARK!r} + json.dumps(value), flush=True)
"""


def call(function: str, options: Mapping[str, Any] | None = None, **arguments: Any) -> list[Any]:
    """Call a generator in a process of its own, and return what it yields.

    Args:
        function: `module.generator` of this folder; what it yields must be something that JSON can hold.
        options: As of `run_process`.
        **arguments: Of the generator, likewise.

    Raises:
        ChildError: It failed, or took too long.
    """
    command = [sys.executable, "-c", CHILD, Path(__file__).parent, function, json.dumps(arguments)]
    ended = run_process(command, **(options or {}))
    marked = (line for line in ended.output.splitlines() if line.startswith(MARK))
    values = [json.loads(line.removeprefix(MARK)) for line in marked]
    if ended.code:
        reason = "took too long" if ended.code == TIMEOUT else f"exit code {ended.code}"
        raise ChildError(f"{reason}: {ended.last_line}", values, ended.code)
    return values


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def start() -> str:
    """Start TensorFlow as the command line does; return the device."""
    from neural_style_tf.utils.runtime import start_tensorflow

    return start_tensorflow()
