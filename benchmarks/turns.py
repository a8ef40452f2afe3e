"""How long whole runs of `balanced` take, in turn with those of another checkout of this repository.

    python benchmarks/turns.py --other ../another-checkout [--sizes 512] [--pairs …] [--rounds 1]
                               [--precision float32] [--quick]

Each run is a command of its own. For each pair and size there are two, one after another: the other checkout
and this one. Printed are the seconds from the command to the first step and to the end, those of all cores,
and all three as shares of the other's. Both run in this environment, so the other checkout must work with the
packages installed here. With `ONEDNN_MAX_CPU_ISA=AVX2` before the command, and --precision float32, a newer
processor computes as one does that has AVX2 alone.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path

from common import PAIRS, ROOT, flags_of, print_header, print_row, read_options, run_command, scratch

CASES = ("other", "this")


def measure(folder: Path, checkout: Path, pair: str, size: int, *flags: str) -> tuple[float, float, float]:
    """Return the seconds of a run until its first step, until its end, and of the processor."""
    begun, seen = time.perf_counter(), []

    def watch(_: int) -> None:
        if not seen and (folder / "metrics.jsonl").exists():
            seen.append(time.perf_counter() - begun)

    ended = run_command(
        folder,
        *flags_of(pair, size),
        *flags,
        checkout=checkout,
        watch=watch,
        environment={"XDG_CACHE_HOME": str(folder.parent / f"cache of {folder.name}")},
    )
    return (seen or [ended.seconds])[0], ended.seconds, ended.processor


def main() -> None:
    """Measure, and print the table."""
    quick = {"sizes": [64], "pairs": PAIRS[:1], "iterations": 1}
    options = read_options(
        __doc__, quick, other=str(ROOT), sizes=[512], pairs=PAIRS, rounds=1, iterations=0, precision="auto"
    )
    flags = [f"--precision={options.precision}"]
    flags += [f"--iterations={options.iterations}"] if options.iterations else []
    print_header("pair", "size", "run", "to the first step, s", "to the end, s", "processor, s", "shares")
    shares: dict[str, list[tuple[float, ...]]] = {case: [] for case in CASES}
    for pair, size, _ in itertools.product(options.pairs, options.sizes, range(options.rounds)):
        with scratch() as folder:
            for case in CASES:
                checkout = Path(options.other).resolve() if case == "other" else ROOT
                row = measure(folder / case, checkout, pair, size, *flags)
                if case == "other":
                    other = row
                shares[case].append(tuple(mine / theirs for mine, theirs in zip(row, other, strict=True)))
                print_row(pair, size, case, *(f"{number:.1f}" for number in row), show(shares[case][-1]))
    medians = tuple(statistics.median(column) for column in zip(*shares["this"], strict=True))
    print_row("median", "", "this", "", "", "", show(medians))


def show(shares: tuple[float, ...]) -> str:
    """Return the shares of the three times as text."""
    return ", ".join(f"{share:.2f}" for share in shares)


if __name__ == "__main__":
    main()
