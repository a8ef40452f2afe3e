"""Break runs, resume them, and count what was lost.

    python benchmarks/faults.py [--kills 100] [--seed 0] [--json FILE] [--quick]

A run counts as saved if nothing it left was half-written and, resumed, it ended in the same bits as a run
that nothing disturbed: pictures, losses, curves, and the state of the optimiser. The other rows are the
tests of `tests/faults`, counted.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "faults"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kills import WAYS, interrupt_many, kill_many

Counts = dict[str, list[int]]


def count(found: Iterable[tuple[str, str, list[str]]]) -> Counts:
    """Return fault → [tried, lost], and tell what was lost."""
    counts: Counts = collections.defaultdict(lambda: [0, 0])
    for way, workload, problems in found:
        row = counts[f"SIGKILL {WAYS[way]}" if way in WAYS else f"{way} at a random moment of a run"]
        row[0] += 1
        row[1] += bool(problems)
        for problem in problems:
            print(f"{way}, {workload}: {problem}", file=sys.stderr)
    return counts


def count_tests() -> Counts:
    """Run the rest of `tests/faults`; return the first line of each file → [tried, lost]."""
    counts: Counts = {}
    for path in sorted(set(TESTS.glob("test_*.py")) - {TESTS / "test_kills.py"}):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-m",
                "faults",
                f"--junitxml={report}",
                str(path),
            ]
            subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False)
            suite = ElementTree.parse(report).getroot()[0].attrib
        title = path.read_text().splitlines()[0].strip('"').rstrip(".")
        tried, lost = (
            int(suite["tests"]) - int(suite["skipped"]),
            int(suite["failures"]) + int(suite["errors"]),
        )
        counts[title] = [tried, lost]
    return counts


def main() -> None:
    """Break, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two kills of one kind of run")
    options = parser.parse_args()
    # Started in the background of a shell, this would hand down that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started, counts = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            counts = count(kill_many(folder, 2, workloads=("short",), ways=("file", "warm")))
        else:
            for many, number in ((kill_many, options.kills), (interrupt_many, options.interrupts)):
                place = Path(folder) / many.__name__
                place.mkdir()
                counts |= count(many(place, number, seed=options.seed))
            counts |= count_tests()
    print("| fault | tried | saved | lost |\n|---|---|---|---|")
    for fault, (tried, lost) in counts.items():
        print(f"| {fault} | {tried} | {tried - lost} | {lost} |")
    print(f"\nSeed {options.seed}, {time.monotonic() - started:.0f} s.")
    if options.json:
        options.json.write_text(json.dumps(counts) + "\n")
    sys.exit(any(lost for _, lost in counts.values()))


if __name__ == "__main__":
    main()
