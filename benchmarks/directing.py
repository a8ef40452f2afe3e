"""Time one iteration with several styles and with masks, against one style everywhere.

    python benchmarks/directing.py [--sizes 256 512] [--precisions float32 bfloat16] [--rounds N] [--quick]

All cases of a row are measured in one process, their steps in turn. Memory is the peak of a process of its
own for each case (`--memory CASE` is how this script asks for one).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from in_turn import precisions, seconds_in_turn
from peer_systems import peak_megabytes

from neural_style_tf.utils.runtime import start_tensorflow

CASES = ("one style", "2 styles", "4 styles", "2 regions", "2 regions, soft all over", "content weights")
BORDER = 1 / 32
"""Width of the soft border between two regions, as a share of the picture's side: as of a brush."""


def prepare(case: str, size: int, precision: str) -> object:
    """Return a solver of `balanced` with Adam, which takes one evaluation for a step, always."""
    import numpy as np

    from neural_style_tf.config.presets import preset
    from neural_style_tf.transfer.masks import Masks
    from neural_style_tf.transfer.session import make_solver
    from neural_style_tf.weights.resolve import load_weights

    rng = np.random.default_rng(0)
    styles = {"2 styles": 2, "4 styles": 4}.get(case, 2 if "regions" in case else 1)
    pictures = [rng.uniform(0, 255, (size, size, 3)).astype(np.float32) for _ in range(1 + styles)]
    ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (size, 1))
    # A disc of half the picture; or one style passes into the other from side to side.
    disc = np.clip((0.4 - np.hypot(ramp - 0.5, ramp.T - 0.5)) / BORDER + 0.5, 0, 1)
    mask = ramp if "soft" in case else disc
    masks = Masks(
        content=(mask, 1 - mask) if "regions" in case else (),
        content_weight=ramp if case == "content weights" else None,
    )
    changes = {"optimizer": "adam", "precision": precision, "scales": 1, "scale_iterations": ()}
    config = preset("balanced").replace(**changes, image_size=0)
    guidance = masks.check(styles, config).at((size, size), [(size, size)] * styles, config)
    return make_solver(pictures, config, load_weights("bundled"), guidance=guidance)


def peak(case: str, size: int, precision: str) -> float:
    """Return the peak megabytes of a process that makes three steps."""
    command = [sys.executable, __file__, "--memory", case, "--sizes", str(size), "--precisions", precision]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--precisions", nargs="+", help="default: what this machine computes in")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to see that this script works")
    options = parser.parse_args()
    start_tensorflow()
    if options.memory:
        seconds_in_turn([prepare(options.memory, options.sizes[0], options.precisions[0])], 1)
        # Not that of `resource`: it begins with the peak of the process that started this one.
        print(peak_megabytes(os.getpid()))
        return
    sizes, rounds = ([64], 2) if options.quick else (options.sizes, options.rounds)
    wanted = ["float32"] if options.quick else options.precisions or precisions()
    print("| size | precision | case | s/iteration | ratio | peak MiB |\n|---|---|---|---|---|---|")
    for size in sizes:
        for precision in wanted:
            found = seconds_in_turn([prepare(case, size, precision) for case in CASES], rounds)
            for case, seconds in zip(CASES, found, strict=True):
                megabytes = "" if options.quick else f"{peak(case, size, precision):.0f}"
                row = (size, precision, case, f"{seconds:.3f}", f"{seconds / found[0]:.3f}", megabytes)
                print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
