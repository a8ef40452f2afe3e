"""Read damaged and hostile weight files and pictures by the ten thousand, and count what became of them.

    python benchmarks/fuzz.py [--weights 100000] [--pictures 100000] [--through 400] [--first 0] [--seed 0]

Each case is a good file with a few changes that know its structure (see `fuzzing`). A case must be accepted
or refused in one line. `--through` reads that many weight files once more the way a run does, in a process of
its own, those first that crashed the reader. Exit code 1 if a single case failed.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
# Threads of a linear algebra library would not survive in a forked worker.
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

from fuzzing.originals import PICTURES, WEIGHTS, case
from fuzzing.workers import CONTAINED, HANG, OVER, Outcome, attempt, run

COLUMNS = (
    "kind",
    "cases",
    "accepted",
    "refused",
    "reader died",
    "crashes",
    "hangs",
    "memory over",
    "tracebacks",
)
COLUMNS = (*COLUMNS, "executed", "stray lines", "slowest (s)", "most memory (MB)")
BAD = ("crashes", "hangs", "memory over", "tracebacks", "executed", "stray lines")


class Tally:
    """Counts of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.counts = kind, collections.Counter()
        self.died: list[int] = []
        self.bad: list[Outcome] = []
        self.messages: collections.Counter[str] = collections.Counter()
        self.slowest = self.memory = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one case."""
        self.counts["cases"] += 1
        before = sum(self.counts[name] for name in BAD)
        if outcome.result in ("crash", "hang") and self.kind in CONTAINED:
            # In the program this process is the child, which is ended by its limits, and the file refused.
            self.counts["refused"] += 1
            self.counts["reader died"] += 1
            self.died.append(outcome.number)
        else:
            names = {"crash": "crashes", "hang": "hangs", "traceback": "tracebacks"}
            self.counts[names.get(outcome.result, outcome.result)] += 1
        self.counts["memory over"] += outcome.memory > OVER
        self.counts["hangs"] += outcome.seconds > HANG and outcome.result in ("accepted", "refused")
        self.counts["executed"] += bool(outcome.executed)
        # What the child prints is not shown to anybody.
        self.counts["stray lines"] += bool(outcome.stray) and self.kind not in CONTAINED
        if sum(self.counts[name] for name in BAD) > before:
            self.bad.append(outcome)
        if outcome.result in ("accepted", "refused"):
            self.slowest = max(self.slowest, outcome.seconds)
            self.memory = max(self.memory, outcome.memory)
        self.messages[re.sub(r"\d+", "N", outcome.message)] += 1

    def row(self) -> str:
        """Return the row of the table."""
        cells = [self.kind, *(f"{self.counts[name]:,}" for name in COLUMNS[1:-2])]
        return f"| {' | '.join(cells)} | {self.slowest:.2f} | {self.memory / 1e6:.0f} |"


def through(tallies: list[Tally], count: int, seed: int) -> Tally:
    """Read some weight files as a run does, those first that crashed the reader."""
    numbers = [(tally.kind, number) for tally in tallies for number in tally.died][: count // 2]
    while tallies and len(numbers) < count:
        kind = tallies[len(numbers) % len(tallies)].kind
        numbers.append((kind, len(numbers)))
    total = Tally("through a process each")
    with tempfile.TemporaryDirectory() as folder:
        for kind, number in numbers:
            path = Path(folder) / f"case.{kind}"
            path.write_bytes(case(kind, seed, number))
            begin = time.monotonic()
            result, message = attempt(kind, path, random.Random(number))
            total.add(Outcome(number, result, message, seconds=time.monotonic() - begin))
    return total


def main() -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=int, default=100_000, help="cases in all, of .mat, .h5 and .npz")
    parser.add_argument("--pictures", type=int, default=100_000, help="cases in all, of six formats")
    parser.add_argument("--through", type=int, default=400, help="weight files read in a process each")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=(*WEIGHTS, *PICTURES), help="only these")
    parser.add_argument("--keep", type=Path, help="write the files of failed cases into this folder")
    parser.add_argument(
        "--messages", type=Path, help="write the different messages, and how often, to this file"
    )
    parser.add_argument("--quick", action="store_true", help="a few cases of each")
    options = parser.parse_args()
    if options.quick:
        options.weights, options.pictures, options.through = 90, 180, 2
    begin = time.monotonic()
    tallies = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for kinds, cases in ((WEIGHTS, options.weights), (PICTURES, options.pictures)):
        for kind in kinds if cases else ():
            if options.kinds and kind not in options.kinds:
                continue
            tally = Tally(kind)
            for outcome in run(
                kind, options.seed, range(options.first, options.first - (-cases // len(kinds)))
            ):
                tally.add(outcome)
            tallies.append(tally)
            print(tally.row(), flush=True)
    if options.through and (weights := [tally for tally in tallies if tally.kind in WEIGHTS]):
        tallies.append(through(weights, options.through, options.seed))
        print(tallies[-1].row())
    print(f"\nseed {options.seed}, from case {options.first}, {time.monotonic() - begin:.0f} s")
    for tally in tallies:
        if tally.died:
            print(f"{tally.kind}: the reader died at {' '.join(map(str, tally.died[:40]))}")
        for outcome in tally.bad:
            print(f"{tally.kind} {outcome}", file=sys.stderr)
            if options.keep and tally.kind in (*WEIGHTS, *PICTURES):
                options.keep.mkdir(parents=True, exist_ok=True)
                name = f"{options.seed}-{outcome.number}.{tally.kind}"
                (options.keep / name).write_bytes(case(tally.kind, options.seed, outcome.number))
    if options.messages:
        lines = [f"{count:7} {t.kind}: {text}" for t in tallies for text, count in t.messages.most_common()]
        options.messages.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if any(tally.bad for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
