"""Time one iteration with each style loss, against that with Gram matrices.

    python benchmarks/style_loss.py [--sizes 256 512] [--precisions float32 bfloat16] [--rounds N] [--quick]

All losses of a row are measured in one process, their steps in turn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from in_turn import precisions, seconds_in_turn

from neural_style_tf.utils.runtime import start_tensorflow

LOSSES = ("relative", "moments", "wasserstein")


def measure(size: int, precision: str, rounds: int) -> list[float]:
    """Return the median seconds of an iteration with each of `LOSSES`."""
    import numpy as np

    from neural_style_tf.config.presets import preset
    from neural_style_tf.transfer.session import make_solver
    from neural_style_tf.weights.resolve import load_weights

    picture = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32)
    solvers = []
    for loss in LOSSES:
        # Adam takes one evaluation for a step, always.
        config = preset("balanced").replace(
            style_loss=loss,
            optimizer="adam",
            precision=precision,
            scales=1,
            scale_iterations=(),
            image_size=0,
        )
        solvers.append(make_solver([picture, picture[::-1]], config, load_weights("bundled")))
    return seconds_in_turn(solvers, rounds)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--precisions", nargs="+", help="default: what this machine computes in")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to see that this script works")
    options = parser.parse_args()
    start_tensorflow()
    sizes, rounds = ([64], 2) if options.quick else (options.sizes, options.rounds)
    wanted = ["float32"] if options.quick else options.precisions or precisions()
    print("| size | precision | loss | s/iteration | ratio |\n|---|---|---|---|---|")
    for size in sizes:
        for precision in wanted:
            found = measure(size, precision, rounds)
            for loss, seconds in zip(LOSSES, found, strict=True):
                print(
                    f"| {size} | {precision} | {loss} | {seconds:.3f} | {seconds / found[0]:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
