"""Break runs, resume them, and count what was lost.

    python benchmarks/faults.py [--kills 100] [--interrupts 20] [--seed 0] [--quick]

A run counts as saved if nothing it left was half-written and, resumed, it ended in the same bits as a run
that nothing disturbed: pictures, losses, curves, and the state of the optimiser. The other rows are the
tests of `tests/faults`, counted.
"""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from xml.etree import ElementTree

from common import ROOT, print_header, print_row, read_options, scratch

TESTS = ROOT / "tests" / "faults"
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kills import WAYS, interrupt_many, kill_many

Counts = dict[str, list[int]]


def count(outcomes: Iterable[tuple[str, str, list[str]]]) -> Counts:
    """Return fault → [tried, lost] of (way, workload, problems), and print the problems."""
    counts: Counts = collections.defaultdict(lambda: [0, 0])
    for way, workload, problems in outcomes:
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
        with scratch() as folder:
            report = folder / "report.xml"
            command = [sys.executable, "-m", "pytest", "-q", "-m", "faults", f"--junitxml={report}", path]
            subprocess.run(list(map(str, command)), cwd=ROOT, stdout=sys.stderr, check=False)
            suite = ElementTree.parse(report).getroot()[0].attrib
        title = path.read_text().splitlines()[0].strip('"').rstrip(".")
        number = {name: int(suite[name]) for name in ("tests", "skipped", "failures", "errors")}
        counts[title] = [number["tests"] - number["skipped"], number["failures"] + number["errors"]]
    return counts


def main() -> None:
    """Break, count and print."""
    options = read_options(__doc__, kills=100, interrupts=20, seed=0)
    # Started in the background of a shell, this would hand down that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began, counts = time.monotonic(), {}
    with scratch() as folder:
        if options.quick:
            counts = count(kill_many(folder, 2, workloads=("short",), ways=("file", "warm")))
        else:
            for many, number in ((kill_many, options.kills), (interrupt_many, options.interrupts)):
                place = folder / many.__name__
                place.mkdir()
                counts |= count(many(place, number, seed=options.seed))
            counts |= count_tests()
    print_header("fault", "tried", "saved", "lost")
    for fault, (tried, lost) in counts.items():
        print_row(fault, tried, tried - lost, lost)
    print(f"\nSeed {options.seed}, {time.monotonic() - began:.0f} s.")
    sys.exit(any(lost for _, lost in counts.values()))


if __name__ == "__main__":
    main()
