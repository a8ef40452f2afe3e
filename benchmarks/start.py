"""How long `balanced` takes to begin, with and without what earlier runs kept on this machine.

    python benchmarks/start.py [--sizes 64 512] [--convolutions auto winograd] [--rounds 3] [--quick]

Each run is a command of its own that makes one step at each of its scales: it starts Python and TensorFlow,
reads pictures and weights, traces, compiles, and looks at the pictures. At 64 pixels there is one scale. The
cases take turns, each in a cache of its own: `--nocache`; the first run; the second. Printed are the least
seconds of several rounds, on the clock and of all cores, which other programs disturb less.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from common import flags_of, print_header, print_row, read_options, run_command, scratch

CASES = ("without", "first run", "second run")


def measure(folder: Path, case: str, size: int, convolution: str) -> tuple[float, float]:
    """Return the seconds of a run, on the clock and of the processor."""
    flags = ["--iterations=1", "--scale_iterations=1", f"--convolution={convolution}", "--overwrite"]
    flags += [*flags_of("coffee:starry_night", size), *["--nocache"] * (case == "without")]
    ended = run_command(folder / "run", *flags, environment={"XDG_CACHE_HOME": str(folder / "cache")})
    return ended.seconds, ended.processor


def main() -> None:
    """Measure, and print the table."""
    quick = {"sizes": [64], "convolutions": ["winograd"], "rounds": 1}
    options = read_options(__doc__, quick, sizes=[64, 512], convolutions=["auto", "winograd"], rounds=3)
    print_header("size", "convolution", "cache", "seconds", "processor seconds")
    for size, convolution in itertools.product(options.sizes, options.convolutions):
        times: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
        for _ in range(options.rounds):
            with scratch() as folder:
                for case in CASES:
                    times[case].append(measure(folder, case, size, convolution))
        for case, pairs in times.items():
            clock, processor = (min(column) for column in zip(*pairs, strict=True))
            print_row(size, convolution, case, f"{clock:.1f}", f"{processor:.1f}")


if __name__ == "__main__":
    main()
