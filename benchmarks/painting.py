"""How long `balanced` takes from the command to the file, and where the time goes.

    python benchmarks/painting.py [--pairs PHOTO:STYLE …] [--size 512] [--precision auto] [--quick]

Each pair of example pictures is a command of its own, as a user gives it. Scales are those of the preset, the
coarsest first. What a scale begins with is its targets and its first evaluation; the first one's is among
start and end, with Python, TensorFlow, weights, pictures, compiling and the file. For an idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from compare import PAIRS, locate


def paint(pair: str, flags: Sequence[str]) -> tuple[float, list[Mapping]]:
    """Return the seconds that a command takes, and its records."""
    content, style = (locate(name) for name in pair.split(":"))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "run.py", f"--content={content}", f"--style={style}", "--preset=balanced"]
        command += [f"--output_dir={output}", "--weights=bundled", "--save_every=0", "--log_every=5", *flags]
        begun = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return seconds, [json.loads(line) for line in lines]


def split(seconds: float, records: Sequence[Mapping]) -> tuple[float, float, list[float]]:
    """Divide a command's time into start and end, the beginnings of later scales, and the steps of each."""
    scales = [list(group) for _, group in itertools.groupby(records, key=lambda record: record["scale"])]
    beginnings, steps = 0.0, []
    for before, scale in zip([[], *scales], scales, strict=False):
        inside = scale[-1]["seconds"] - scale[0]["seconds"]
        if before:
            # The steps to its first record came with its beginning: they are taken for as long as later ones.
            later = [b["seconds"] - a["seconds"] for a, b in itertools.pairwise(scale)]
            first = statistics.median(later) if later else 0.0
            beginnings += scale[0]["seconds"] - before[-1]["seconds"] - first
            inside += first
        steps.append(inside)
    return seconds - beginnings - sum(steps), beginnings, steps


def main() -> None:
    """Paint each pair, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=PAIRS[:4], metavar="PHOTO:STYLE")
    parser.add_argument("--size", type=int, default=512, help="longest side in pixels")
    parser.add_argument("--precision", default="auto", help="as of run.py")
    parser.add_argument("--quick", action="store_true", help="one tiny pair, to see that this script works")
    options = parser.parse_args()
    flags = [f"--image_size={options.size}", f"--precision={options.precision}"]
    if options.quick:
        options.pairs = PAIRS[:1]
        flags = ["--image_size=96", "--iterations=10", "--scale_iterations=10"]
    print("| pair | seconds | start and end | later scales begin | steps, by scale |\n|---|---|---|---|---|")
    for pair in options.pairs:
        seconds, records = paint(pair, flags)
        ends, beginnings, steps = split(seconds, records)
        by_scale = " + ".join(f"{one:.0f}" for one in steps)
        print(f"| {pair} | {seconds:.0f} | {ends:.0f} | {beginnings:.0f} | {by_scale} |", flush=True)


if __name__ == "__main__":
    main()
