"""SIGKILL at random moments: every run that is killed, and resumed, ends like one that was not."""

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

from harness import WORKLOADS, Warm, differences, half_written, spawn, traces, write_pictures

WAYS = {
    "warm": "at a random moment of a run",
    "file": "just before a random file operation",
    "cold": "at a random moment of a process, its imports included",
}


def kill_many(
    folder, count, *, seed=0, workloads=tuple(WORKLOADS), ways=("warm", "file", "warm", "file", "cold")
):
    """Kill `count` runs in a folder, resume each; yield (way, workload, what was lost or went wrong)."""
    folder = Path(folder)
    write_pictures(folder)
    warm, dice = Warm(folder), random.Random(seed)
    try:
        references = {name: _reference(folder, warm, name, ways) for name in workloads}
        for index in range(count):
            way, name = ways[index % len(ways)], workloads[dice.randrange(len(workloads))]
            expected, seconds, operations = references[name]
            out = folder / "killed"
            shutil.rmtree(out, ignore_errors=True)
            flags = [*WORKLOADS[name], "--output_dir=killed"]
            if way == "file":
                warm.run(*flags, dies_at=dice.randint(1, operations))
            else:
                _kill_later(folder, warm, way, flags, dice.uniform(0, seconds[way]))
            problems = [f"half-written: {path}" for path in half_written(out)]
            code = warm.run(*flags, "--resume")
            if code:
                problems.append(f"resumed with exit code {code}: {warm.said().splitlines()[-1]}")
            else:
                problems += [f"differs: {name}" for name in differences(expected, traces(out))]
            yield way, name, problems
    finally:
        warm.close()


def _reference(folder, warm, name, ways):
    """Return (the traces of a run that nothing disturbs, how long each way takes, its file operations)."""
    flags, seconds = [*WORKLOADS[name], f"--output_dir={name.replace(', ', '-')}"], {}
    start = time.monotonic()
    if warm.run(*flags):
        raise RuntimeError(warm.said())
    seconds["warm"] = time.monotonic() - start
    expected = traces(folder / name.replace(", ", "-"))
    if "cold" in ways:
        start = time.monotonic()
        process = spawn(folder, *flags, "--overwrite")
        process.communicate()
        seconds["cold"] = time.monotonic() - start
        if process.returncode or differences(expected, traces(folder / name.replace(", ", "-"))):
            raise RuntimeError("a forked run is not what a process of its own is")
    return expected, seconds, int((folder / "operations.txt").read_text())


def _kill_later(folder, warm, way, flags, delay):
    process = spawn(folder, *flags) if way == "cold" else None
    pid = process.pid if process else warm.start(*flags)
    time.sleep(delay)
    # It may be done already.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if process:
        process.communicate()
    else:
        warm.wait()
