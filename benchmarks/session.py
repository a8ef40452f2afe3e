"""What a session saves the second run of a kind, and whether its memory grows over many runs.

    python benchmarks/session.py [--runs 40] [--size 256] [--iterations 20] [--quick]

The first table: a run alone, the same run later in a session that has painted its kind, and their ratio; that
they have the same bits is checked. The second: the memory of this process after runs of random sizes.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
from common import (
    ONE_SCALE,
    load_pair,
    paint,
    print_header,
    print_row,
    read_options,
    seconds_of,
    settings,
    start,
)

import neural_style_tf as nst


def resident_megabytes() -> int:
    """Return the memory that this process holds now."""
    gc.collect()
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def main() -> None:
    """Measure both."""
    options = read_options(
        __doc__, {"runs": 3, "size": 64, "iterations": 2}, runs=40, size=256, iterations=20
    )
    start()
    weights, pictures = nst.load_weights("bundled"), load_pair("coffee:starry_night", options.size)
    session, images = nst.Session(weights), {}
    print_header("preset", "alone, in a process that has painted", "in a session", "ratio")
    for preset in ("original", "balanced"):
        config = settings(preset, iterations=options.iterations, log_every=100, **ONE_SCALE)
        paint(session, pictures, config)
        ways = {"in a session": session, "alone": nst.Session(weights, keep_bytes=0)}
        times = {}
        for way, place in ways.items():

            def run(way: str = way, place: nst.Session = place, config: object = config) -> None:
                images[way] = paint(place, pictures, config.replace(seed=1)).best

            times[way] = seconds_of(run)
        if not np.array_equal(*images.values()):
            raise SystemExit(f"{preset}: other bits than alone")
        alone, later = times["alone"], times["in a session"]
        print_row(preset, f"{alone:.2f} s", f"{later:.2f} s", f"{alone / later:.2f}")
    print()
    print_header("run", "optimiser", "size", "seconds", "memory of the process")
    random = np.random.default_rng(0)
    content, style = pictures
    for number in range(1, options.runs + 1):
        height, width = random.integers(32, content.shape[:2])
        optimizer = ("adam", "lbfgs")[number % 2]
        config = settings("original", iterations=2, optimizer=optimizer)
        photo = content[:height, :width]
        took = seconds_of(lambda: paint(session, (photo, style), config))  # noqa: B023 - called at once
        if number <= 4 or number % 5 <= 1:
            size = f"{width}×{height}"
            print_row(number, optimizer, size, f"{took:.2f}", f"{resident_megabytes()} MB")


if __name__ == "__main__":
    main()
