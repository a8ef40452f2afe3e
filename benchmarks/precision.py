"""How near the losses and gradients of each precision are to those in float32.

    python benchmarks/precision.py [--pairs coffee:starry_night …] [--size 320] [--quick]

Of the objective of `original`, at noise and at the content picture: the cosine between a gradient and the one
in float32 with convolutions as defined, and how much the total loss differs.
"""

from __future__ import annotations

import itertools

import numpy as np
from common import load_pair, print_header, print_row, read_options, settings, start
from loss_over_time import PAIRS

import neural_style_tf as nst


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of the angle between two arrays."""
    first, second = (np.asarray(array, np.float64).ravel() for array in (first, second))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def main() -> None:
    """Compare on every pair."""
    options = read_options(__doc__, {"pairs": PAIRS[:1], "size": 48}, pairs=PAIRS, size=320)
    start()
    session = nst.Session(nst.load_weights("bundled"))
    print_header("pair", "from", "precision", "cosine", "loss")
    for pair, init in itertools.product(options.pairs, ("noise", "content")):
        expected = None
        for precision, convolution in itertools.product(("float32", "bfloat16"), ("direct", "winograd")):
            config = settings("original", init=init, precision=precision, convolution=convolution)
            record = next(session.run(nst.Inputs(*load_pair(pair, options.size)), config))
            total, gradient = record.total, record.state.solver["gradient"].numpy()
            if expected is None:
                expected = total, gradient
                continue
            near, more = cosine(expected[1], gradient), 100 * (total / expected[0] - 1)
            print_row(pair, init, f"{precision}, {convolution}", f"{near:.5f}", f"{more:+.3f} %")


if __name__ == "__main__":
    main()
