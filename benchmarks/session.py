"""What a session saves the second run of a kind, and whether its memory grows over many runs.

    python benchmarks/session.py [--runs 40] [--size 256] [--iterations 20] [--keep MB] [--quick]

The first table: a run alone, the same run later in a session that has seen its kind, and their ratio; that
they have the same bits is checked. The second: the memory of this process after runs of random sizes.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from neural_style_tf.utils.runtime import start_tensorflow


def resident_megabytes() -> float:
    """Return the memory that this process holds now."""
    gc.collect()
    [line] = (
        line
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmRSS:")
    )
    return int(line.split()[1]) / 1024


def timed(steps: object) -> tuple[float, object]:
    """Return the seconds that a run takes, and its last record."""
    begun = time.perf_counter()
    *_, last = steps
    return time.perf_counter() - begun, last


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--keep", type=int, help="megabytes that the session keeps; default: as by itself")
    parser.add_argument("--quick", action="store_true", help="few runs, tiny pictures")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.size, options.iterations = 3, 64, 2
    start_tensorflow()
    import numpy as np

    from neural_style_tf import Config, Inputs, Session, load_image, stylize
    from neural_style_tf.config.presets import PRESETS
    from neural_style_tf.weights.resolve import load_weights

    weights = load_weights("bundled")
    content, style = (
        load_image(ROOT / "examples" / f"{name}.jpg", longest=options.size).pixels
        for name in ("coffee", "starry_night")
    )
    session = Session(weights, keep_bytes=None if options.keep is None else options.keep * 2**20)
    print("| preset | alone, in a process that has painted | in a session | ratio |\n|---|---|---|---|")
    for preset in ("original", "balanced"):
        config = PRESETS[preset].replace(iterations=options.iterations, scales=1, scale_iterations=())
        timed(session.run(Inputs(content, style), config))
        later, found = timed(session.run(Inputs(content, style), config.replace(seed=1)))
        alone, expected = timed(stylize(content, style, config.replace(seed=1), weights=weights))
        if not np.array_equal(found.best, expected.best):
            raise SystemExit(f"{preset}: other bits than alone")
        print(f"| {preset} | {alone:.2f} s | {later:.2f} s | {alone / later:.2f} |", flush=True)
    rng = np.random.default_rng(0)
    print("\n| runs | optimiser | size of the last | memory |\n|---|---|---|---|")
    for number in range(1, options.runs + 1):
        height, width = rng.integers(32, content.shape[:2])
        optimizer = ("adam", "lbfgs")[number % 2]
        config = Config(iterations=2, image_size=0, optimizer=optimizer)
        timed(session.run(Inputs(content[:height, :width], style), config))
        if number in (1, 2, 3) or number % 5 == 0:
            print(
                f"| {number} | {optimizer} | {width}×{height} | {resident_megabytes():.0f} MB |", flush=True
            )


if __name__ == "__main__":
    main()
