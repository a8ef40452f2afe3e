"""SIGKILL at random moments: every run that is killed, and resumed, ends like one that was not."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

from command_line import SMALL, spawn
from harness import WORKLOADS, Warm, differences, half_written, rows, traces, write_pictures

WAYS = {
    "warm": "at a random moment of a run",
    "file": "just before a random file operation",
    "cold": "at a random moment of a process, its imports included",
}
LONG = ("adam", "lbfgs", "adam, tiled")
ORDER = ("warm", "file", "warm", "file", "cold")


def kill_many(folder, count, *, seed=0, workloads=LONG, ways=ORDER):
    """Kill `count` runs in a folder, resume each; yield (way, workload, what was lost or went wrong)."""
    folder = Path(folder)
    write_pictures(folder)
    warm, dice = Warm(folder), random.Random(seed)
    try:
        references = {name: _reference(folder, warm, name, ways) for name in workloads}
        for index in range(count):
            way, name = ways[index % len(ways)], workloads[dice.randrange(len(workloads))]
            expected, seconds, operations = references[name]
            shutil.rmtree(folder / "killed", ignore_errors=True)
            flags = [*WORKLOADS[name], "--output_dir=killed"]
            if way == "file":
                warm.run(*flags, dies_at=dice.randint(1, operations))
            else:
                _signal_later(folder, warm, way, flags, dice.uniform(0, seconds[way]), signal.SIGKILL)
            yield way, name, _resume(folder, warm, flags, expected)
    finally:
        warm.close()


def interrupt_many(folder, count, *, seed=0, workloads=LONG):
    """Send `count` runs SIGINT or SIGTERM, and resume each; yield what `kill_many` does."""
    folder = Path(folder)
    write_pictures(folder)
    warm, dice = Warm(folder), random.Random(seed)
    try:
        references = {name: _reference(folder, warm, name, ()) for name in workloads}
        for index in range(count):
            number, name = (
                (signal.SIGINT, signal.SIGTERM)[index % 2],
                workloads[dice.randrange(len(workloads))],
            )
            expected, seconds, _ = references[name]
            out = folder / "killed"
            shutil.rmtree(out, ignore_errors=True)
            flags = [*WORKLOADS[name], "--output_dir=killed"]
            code, took = _signal_later(
                folder, warm, "warm", flags, dice.uniform(0.1, seconds["warm"]), number
            )
            problems = [] if code in (0, 128 + number) else [f"exit code {code}"]
            if code and (out / "metrics.jsonl").exists():
                problems += _not_saved(out)
            if took > seconds["warm"] / 2:
                problems.append(f"{took:.1f} s until it ended")
            # An interrupted run has logged and saved the step at which it ended, beside those due.
            yield number.name, name, problems + _resume(folder, warm, flags, expected, more=True)
    finally:
        warm.close()


def _not_saved(out):
    told = rows(out)
    if not told:
        # Before its first step there is nothing to save.
        return []
    last = told[-1]["step"]
    facts = json.loads((out / "run.json").read_text())
    # Finished, if it was interrupted while it took its leave.
    problems = [] if facts["status"] in ("interrupted", "finished") else [f"run.json says {facts['status']}"]
    if not (out / "checkpoints" / f"ckpt-{last}.index").exists():
        problems.append(f"no checkpoint of step {last}")
    if not (out / "result.png").exists():
        problems.append("no result.png")
    return problems


def _resume(folder, warm, flags, expected, *, more=False):
    """Look at what a run left, resume it, and return everything that is wrong."""
    problems = [f"half-written: {path}" for path in half_written(folder / "killed")]
    if code := warm.run(*flags, "--resume"):
        return [*problems, f"resumed with exit code {code}: {warm.said().splitlines()[-1]}"]
    found = traces(folder / "killed")
    if more:
        found = without_interruptions(found, expected)
    return problems + [f"differs: {name}" for name in differences(expected, found)]


def without_interruptions(found, expected):
    """Return the `traces` of a run without what it logged and saved where it was interrupted."""
    logs = {
        log: [entry for entry in found[log] if entry in expected[log]] for log in ("metrics.jsonl", "curves")
    }
    return found | logs | {"checkpoints": expected["checkpoints"]}


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
        process = spawn(folder, *SMALL, *flags, "--overwrite")
        process.communicate()
        seconds["cold"] = time.monotonic() - start
        if process.returncode or differences(expected, traces(folder / name.replace(", ", "-"))):
            raise RuntimeError("a forked run is not what a process of its own is")
    return expected, seconds, int((folder / "operations.txt").read_text())


def _signal_later(folder, warm, way, flags, delay, number):
    """Start a run, send it a signal after a delay; return its exit code and how long it took to end."""
    # In the environment of the warm process: with another number of threads it would have other bits.
    process = spawn(folder, *SMALL, *flags) if way == "cold" else None
    pid = process.pid if process else warm.start(*flags)
    time.sleep(delay)
    sent = time.monotonic()
    # It may be done already.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    if process:
        process.communicate()
    code = process.returncode if process else warm.wait()
    return code, time.monotonic() - sent
