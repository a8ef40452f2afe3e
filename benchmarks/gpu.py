"""Check a GPU, time it, and try what goes wrong with one.

    python benchmarks/gpu.py [--device gpu|cpu] [--parts right fast sturdy] [--weights bundled]
                             [--seconds 480] [--quick]

right   losses, gradients and solvers against the CPU; tiles, replicas and --deterministic
fast    time of an iteration of `balanced`, against that of its convolutions
sturdy  a card that is full, slow to compile for, unusable or shared

Each row is a check: what was found, and whether that is as it should be. Rows without a verdict are
figures. Every check has processes of its own, so that none spoils the next. `--device cpu` runs what a CPU
can, with the same code, to prove the script. The exit code is 1 if any check failed. Larger pictures and
whole runs are timed by `scale.py` and `painting.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import (
    ROOT,
    ChildError,
    Ended,
    call,
    load_pair,
    print_header,
    print_row,
    read_options,
    run_command,
    scratch,
)
from gpu_right import Rows, row

import neural_style_tf as nst

HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}
PRECISIONS = ("float32", "tf32", "bfloat16")
GOALS = {("tf32", 512): 4.0, ("bfloat16", 512): 2.0}
"""Precision, size → most milliseconds of an iteration on an H100."""
ONE_SCALE = ("--scales=1", "--scale_iterations=")
SHORT = (*ONE_SCALE, "--iterations=12")
HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from neural_style_tf.utils.runtime import start_tensorflow
start_tensorflow()
import tensorflow as tf
held, leave = [], float(sys.argv[2])
from tensorflow.python.client import device_lib
limit = [d.memory_limit for d in device_lib.list_local_devices() if d.device_type == "GPU"][0]
while sum(t.shape.num_elements() for t in held) < limit - leave:
    step = int(min(2**30, limit - leave - sum(t.shape.num_elements() for t in held)))
    held.append(tf.zeros([max(step, 1)], tf.uint8))
print("HOLDING", flush=True)
sys.stdin.read()
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """A place for checks.

    Attributes:
        folder: For what they write; removed afterwards.
        has_gpu: Whether to use one; if not, a CPU stands in for it.
        weights: Of the network, as `--weights`.
        quick: Make everything tiny.
    """

    folder: Path
    has_gpu: bool
    weights: str
    quick: bool

    def call(self, function: str, device: str = "GPU", **arguments: Any) -> list[dict[str, Any]]:
        """Call a generator in a process of its own, for four minutes at most; return its rows."""
        hidden = {} if self.has_gpu and device == "GPU" else HIDDEN
        options = {"timeout": 240, "environment": hidden}
        try:
            return call(function, options, weights=self.weights, **arguments)
        except ChildError as error:
            what = ", ".join(f"{name} {value}" for name, value in arguments.items())
            return [*error.values, row(f"{function}: {what}", " ".join(str(error).split())[-300:], False)]

    def run(self, *flags: str, watch: Callable[[int], None] | None = None, **environment: str) -> Ended:
        """Run the command line as a user does, into a new folder, for four minutes at most."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        environment = environment if self.has_gpu else HIDDEN | environment
        options = {"timeout": 240, "watch": watch, "environment": environment}
        return run_command(out, *flags, weights=self.weights, **options)

    def flags(self, size: int, *more: str) -> list[str]:
        """Return the flags of a run of `balanced` whose longest side is `size` pixels."""
        size, paths = 48 if self.quick else size, []
        pair = load_pair("astronaut:starry_night", size, enlarge=True)
        for role, pixels in zip(("content", "style"), pair, strict=True):
            paths.append(self.folder / f"{role}-{size}.png")
            if not paths[-1].exists():
                nst.save_image(paths[-1], pixels)
        short = (*ONE_SCALE, "--iterations=2") if self.quick else more
        flags = [f"--content={paths[0]}", f"--style={paths[1]}", f"--image_size={size}"]
        return [*flags, "--preset=balanced", *short]


def right(bench: Bench) -> Rows:
    """Compare with the CPU, with tiles, with a repetition, and two replicas with one device."""
    tiny, file = bench.quick, str(bench.folder / "reference.npz")
    formats = PRECISIONS[:1] if tiny else PRECISIONS
    size = {"size": [40, 56] if tiny else [150, 200]}
    yield from bench.call("gpu_right.reference", "CPU", **size, precision="float32", few=tiny, out=file)
    for name in formats:
        few = tiny or name != "float32"
        yield from bench.call("gpu_right.against_the_cpu", **size, precision=name, few=few, reference=file)
    for name in formats:
        tiled = {"size": [70, 90], "tile": 32} if tiny else {"size": [500, 700], "tile": 256}
        yield from bench.call("gpu_right.tiles", **tiled, precision=name)
    if bench.has_gpu:
        # Features of more than 2³¹ numbers.
        yield from bench.call("gpu_right.tiles", size=[4853, 7296], tile=2048, precision="bfloat16")
        yield from bench.call("gpu_right.replicas", size=[300, 400])
    for deterministic in (True, False):
        for name in formats[::2]:
            arguments = {"size": [40, 56] if tiny else [300, 400], "deterministic": deterministic}
            rows = bench.call("gpu_right.repeat", **arguments, precision=name)
            yield from rows
            if deterministic:
                hashes = [found["hash"] for found in rows if "hash" in found]
                yield from bench.call("gpu_right.repeat", **arguments, precision=name, before=hashes)


def fast(bench: Bench) -> Rows:
    """Time iterations with Adam, twenty between two records, in each precision."""
    sizes = [48] if bench.quick else [256, 512, 1024, 2048, 4096] if bench.has_gpu else [128, 256]
    for precision in PRECISIONS[:1] if bench.quick else PRECISIONS:
        for size in sizes:
            arguments = {"size": size, "variant": f"{precision},direct", "rounds": 2 if bench.quick else 5}
            for found in bench.call("step.measure", **arguments, preset="balanced", at_once=20):
                if "seconds" not in found:
                    yield found
                    continue
                milliseconds = 1000 * found["seconds"]
                goal = GOALS.get((precision, size)) if bench.has_gpu else None
                yield row(
                    f"{precision}, Adam at {size}",
                    f"{milliseconds:.2f} ms, {found['share']:.0%} of the convolutions' limit, "
                    f"{found['peak_mb']:.0f} MiB",
                    None if goal is None else milliseconds <= goal,
                )


def sturdy(bench: Bench) -> Rows:
    """Hide the GPU, share it and, if there is one, break it."""
    small, middle = bench.flags(128, *SHORT), bench.flags(512, *SHORT)
    yield verdict("GPUs hidden by CUDA_VISIBLE_DEVICES=-1", bench.run(*small, **HIDDEN), device="device: CPU")
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(bench.run, *middle) for _ in range(2)]:
            yield verdict("one of two runs at once", run.result())
    if not bench.has_gpu:
        return
    folder = bench.folder / "libraries"
    folder.mkdir()
    # A file that is no library comes first on the path.
    for name in ("libcudnn.so.9", "libcudart.so.12", "libcublas.so.12"):
        (folder / name).write_text("no library")
    path = f"{folder}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = bench.run(*small, LD_LIBRARY_PATH=path)
    yield verdict("a GPU that TensorFlow cannot use", done, device="device: CPU", says="cannot use")
    parts = os.environ.get("PATH", "").split(os.pathsep)
    path = os.pathsep.join(
        part for part in parts if not (Path(part) / "ptxas").exists() and "cuda" not in part
    )
    done = bench.run(*bench.flags(256, *SHORT), PATH=path, XLA_FLAGS="--xla_gpu_cuda_data_dir=/nonexistent")
    yield verdict("no ptxas, no libdevice", done, device="device: GPU")
    before, held = used_megabytes(), [0]
    flags = bench.flags(512, *ONE_SCALE, "--iterations=500")
    done = bench.run(*flags, watch=lambda pid: held.append(used_megabytes() - before))
    found = f"{max(held)} MB of the card; exit code {done.code}"
    yield row("memory of a run at 512", found, 0 < max(held) < 20_000 and done.code == 0)
    with holding(leave=6e9) as problem:
        if problem:
            yield row("another process holds most of the card", problem, False)
            return
        others = "another process holds all but 6 GB"
        yield verdict(f"{others}: 1024", bench.run(*bench.flags(1024, *SHORT)), device="device: GPU")
        flags = bench.flags(3072, *ONE_SCALE, "--iterations=4", "--tile=none", "--optimizer=adam")
        done = bench.run(*flags)
        yield verdict(f"{others}: 3072, --tile=none", done, says="out of memory: going on")
    with holding(leave=3e8):
        done = bench.run(*middle)
        ok = "Traceback" not in done.output and done.code in (0, 1, 2)
        found = f"exit code {done.code}: {done.last_line}"[:240]
        yield row("another process holds all but 300 MB: 512", found, ok)


def verdict(check: str, done: Ended, *, device: str = "", says: str = "") -> dict[str, Any]:
    """Return the row of a run that must succeed, on a device and with a line, if one is given."""
    lines = [
        line for line in done.output.splitlines() if line.startswith("device:") or (says and says in line)
    ]
    ok = done.code == 0 and "Traceback" not in done.output and device in done.output and says in done.output
    found = "; ".join(lines) if ok else f"exit code {done.code}: {done.last_line}; {'; '.join(lines)}"
    return row(check, f"{found[:240]} ({done.seconds:.1f} s)", ok)


@contextlib.contextmanager
def holding(leave: float) -> Iterator[str]:
    """Let another process hold all of the card's memory but `leave` bytes; yield what went wrong, or ''."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), json.dumps(leave)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines = [""]
        for line in process.stdout:
            lines.append(line.strip()[:200])
            if lines[-1] == "HOLDING":
                break
        yield "" if lines[-1] == "HOLDING" else lines[-1] or "it ended at once"


def query(fields: str) -> str:
    """Return what the driver's own tool says of the cards, or `""`."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def used_megabytes() -> int:
    """Return how much of the card's memory is in use."""
    return int((query("memory.used").split() or ["0"])[0])


PARTS = {"right": right, "fast": fast, "sturdy": sturdy}


def main() -> None:
    """Run the parts and print the table."""
    options = read_options(__doc__, device="gpu", parts=PARTS, weights="bundled", seconds=480.0)
    card = query("name,driver_version,memory.total") or "no NVIDIA GPU"
    print(f"Card: {card}. Python {platform.python_version()}.\n")
    print_header("part", "check", "found", "verdict")
    began, verdicts = time.monotonic(), []
    with scratch() as folder:
        bench = Bench(folder, options.device == "gpu" and not options.quick, options.weights, options.quick)
        for part in options.parts:
            for found in PARTS[part](bench):
                verdicts.append(found["ok"])
                shown = {True: "good", False: "BAD", None: ""}[found["ok"]]
                print_row(part, found["check"], found["found"], shown)
                if time.monotonic() - began > options.seconds:
                    print_row(part, "the rest was not begun: out of time", "", "")
                    break
    bad = verdicts.count(False)
    print(f"\n{bad} of {len(verdicts) - verdicts.count(None)} checks failed.")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
