"""What goes wrong with a GPU, and what the program makes of it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import ROOT, Ended

from gpu_checks.bench import Bench, Check, row

ONE_SCALE = ("--scales=1", "--scale_iterations=")
SHORT = (*ONE_SCALE, "--iterations=12")
HOLD = """
import json, sys, time
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


def checks(bench: Bench) -> list[Check]:
    """Return the checks in order."""
    on_gpus = (unusable, without_compiler, growth, full_card) if bench.has_gpu else ()
    return [functools.partial(check, bench) for check in (hidden, two_at_once, *on_gpus)]


def verdict(check: str, done: Ended, *, device: str = "", says: str = "") -> dict[str, Any]:
    """Return the row of a run that must succeed, on a device and with a line, if one is given."""
    lines = [
        line for line in done.output.splitlines() if line.startswith("device:") or (says and says in line)
    ]
    ok = done.code == 0 and "Traceback" not in done.output and device in done.output and says in done.output
    found = "; ".join(lines) if ok else f"exit code {done.code}: {done.last_line}; {'; '.join(lines)}"
    return row(check, f"{found[:240]} ({done.seconds:.1f} s)".replace("|", "/"), ok)


def hidden(bench: Bench) -> Iterator[dict[str, Any]]:
    """Run with the GPUs hidden."""
    done = bench.run(*bench.flags(128, *SHORT), CUDA_VISIBLE_DEVICES="-1")
    yield verdict("GPUs hidden by CUDA_VISIBLE_DEVICES=-1", done, device="device: CPU")


def unusable(bench: Bench) -> Iterator[dict[str, Any]]:
    """Run with a GPU whose libraries TensorFlow does not find."""
    folder = bench.folder / "libraries"
    folder.mkdir(exist_ok=True)
    # A file that is no library comes first on the path.
    for name in ("libcudnn.so.9", "libcudart.so.12", "libcublas.so.12"):
        (folder / name).write_text("no library")
    path = f"{folder}{os.pathsep}{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = bench.run(*bench.flags(128, *SHORT), LD_LIBRARY_PATH=path)
    yield verdict("a GPU that TensorFlow cannot use", done, device="device: CPU", says="cannot use")


def without_compiler(bench: Bench) -> Iterator[dict[str, Any]]:
    """Run without ptxas and libdevice."""
    path = os.pathsep.join(
        part
        for part in os.environ.get("PATH", "").split(os.pathsep)
        if not (Path(part) / "ptxas").exists() and "cuda" not in part
    )
    done = bench.run(*bench.flags(256, *SHORT), PATH=path, XLA_FLAGS="--xla_gpu_cuda_data_dir=/nonexistent")
    yield verdict("no ptxas, no libdevice", done, device="device: GPU")


def growth(bench: Bench) -> Iterator[dict[str, Any]]:
    """See how much of the card a small run takes."""
    before, held = used_megabytes(), [0]
    flags = bench.flags(512, *ONE_SCALE, "--iterations=500")
    done = bench.run(*flags, watch=lambda pid: held.append(used_megabytes() - before))
    yield row(
        "memory of a run at 512",
        f"{max(held)} MB of the card; exit code {done.code}",
        0 < max(held) < 20_000 and done.code == 0,
    )


def two_at_once(bench: Bench) -> Iterator[dict[str, Any]]:
    """Start two runs together."""
    flags = bench.flags(512, *SHORT)
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(bench.run, *flags) for _ in range(2)]
        for run in runs:
            yield verdict("one of two runs at once", run.result())


def full_card(bench: Bench) -> Iterator[dict[str, Any]]:
    """Run while another process holds most of the card."""
    with holding(leave=6e9) as message:
        if message:
            yield row("another process holds most of the card", message, False)
            return
        done = bench.run(*bench.flags(1024, *SHORT))
        yield verdict("another process holds all but 6 GB: 1024 pixels", done, device="device: GPU")
        done = bench.run(*bench.flags(3072, *ONE_SCALE, "--iterations=4", "--tile=none", "--optimizer=adam"))
        yield verdict(
            "another process holds all but 6 GB: 3072 pixels, --tile=none",
            done,
            says="out of memory: going on",
        )
    with holding(leave=3e8):
        done = bench.run(*bench.flags(512, *SHORT))
        ok = "Traceback" not in done.output and done.code in (0, 1, 2)
        yield row(
            "another process holds all but 300 MB: 512 pixels",
            f"exit code {done.code}: {done.last_line}"[:240],
            ok,
        )


@contextlib.contextmanager
def holding(leave: float) -> Iterator[str]:
    """Let another process hold all of the card's memory but `leave` bytes; yield what went wrong, or ''."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), json.dumps(leave)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        problem = ""
        for line in process.stdout:
            problem = line.strip()[:200]
            if problem == "HOLDING":
                problem = ""
                break
        yield problem
    finally:
        process.stdin.close()
        process.wait(timeout=60)


def used_megabytes() -> int:
    """Return how much of the card's memory is in use."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return int(found.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0
