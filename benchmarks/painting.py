"""How long `balanced` takes from the command to the file, and where the time goes.

    python benchmarks/painting.py [--pairs PHOTO:STYLE …] [--size 512] [--precision auto] [--quick]

Each pair of example pictures is a command of its own, as a user gives it. Scales are those of the preset, the
coarsest first. A scale begins with its targets and its first evaluation; that of the first scale is among
start and end, with Python, TensorFlow, weights, pictures, compiling and the file. For an idle machine.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

from common import PAIRS, flags_of, print_header, print_row, read_options, run_command, scratch


def split(seconds: float, records: Sequence[Mapping]) -> tuple[float, float, list[float]]:
    """Divide a command's time into start and end, the beginnings of later scales, and the steps of each."""
    moments = [
        [record["seconds"] for record in group]
        for _, group in itertools.groupby(records, key=lambda record: record["scale"])
    ]
    steps = [scale[-1] - scale[0] for scale in moments]
    beginnings = 0.0
    for index, (before, scale) in enumerate(itertools.pairwise(moments), 1):
        # The steps to the first record of a later scale are taken to last as long as those to the next one.
        first = statistics.median(b - a for a, b in itertools.pairwise(scale)) if len(scale) > 1 else 0.0
        beginnings += scale[0] - before[-1] - first
        steps[index] += first
    return seconds - beginnings - sum(steps), beginnings, steps


def main() -> None:
    """Paint each pair, and print the table."""
    options = read_options(__doc__, {"pairs": PAIRS[:1], "size": 96}, pairs=PAIRS, size=512, precision="auto")
    flags = [f"--precision={options.precision}", "--log_every=5"]
    flags += ["--iterations=10", "--scale_iterations=10"] if options.quick else []
    print_header("pair", "seconds", "start and end", "later scales begin", "steps, by scale")
    for pair in options.pairs:
        with scratch() as folder:
            ended = run_command(folder / "run", *flags_of(pair, options.size), *flags)
            ends, beginnings, steps = split(ended.seconds, ended.records)
        by_scale = " + ".join(f"{seconds:.0f}" for seconds in steps)
        print_row(pair, f"{ended.seconds:.0f}", f"{ends:.0f}", f"{beginnings:.0f}", by_scale)


if __name__ == "__main__":
    main()
