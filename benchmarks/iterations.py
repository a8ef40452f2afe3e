"""Time an iteration of `balanced`: by style loss, by styles and masks, by algorithm of the convolutions.

    python benchmarks/iterations.py style_loss|directing|convolution [--sizes 256 512]
                                    [--precisions float32 bfloat16] [--rounds 9] [--quick]

All cases of a size are measured in one process, their iterations in turn. Adam takes one evaluation for each.
Memory is the peak of a process of its own for each case.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from common import (
    ONE_SCALE,
    call,
    peak_megabytes,
    precisions,
    print_header,
    print_row,
    read_options,
    seconds_in_turn,
    settings,
    start,
    stepper,
)

import neural_style_tf as nst

CASES = {
    "style_loss": ("relative", "moments", "wasserstein"),
    "directing": (
        *("one style", "2 styles", "4 styles", "2 regions", "2 regions, soft all over"),
        "content weights",
    ),
    "convolution": ("direct", "winograd"),
}
BORDER = 1 / 32
"""Width of the soft border between two regions, as a share of the picture's side: as of a brush."""


def make(case: str, size: int, precision: str) -> tuple[nst.Inputs, nst.Config]:
    """Return the pictures and the settings of a case."""
    config = settings(optimizer="adam", precision=precision, **ONE_SCALE)
    if case in CASES["style_loss"]:
        config = config.replace(style_loss=case)
    if case in CASES["convolution"]:
        config = config.replace(convolution=case)
    styles = {"2 styles": 2, "4 styles": 4}.get(case, 2 if "regions" in case else 1)
    random = np.random.default_rng(0)
    pictures = [random.uniform(0, 255, (size, size, 3)).astype(np.float32) for _ in range(1 + styles)]
    ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (size, 1))
    # A disc of half the picture; or one style passes into the other from side to side.
    disc = np.clip((0.4 - np.hypot(ramp - 0.5, ramp.T - 0.5)) / BORDER + 0.5, 0, 1)
    region = ramp if "soft" in case else disc
    masks = nst.Masks(
        content=(region, 1 - region) if "regions" in case else (),
        content_weight=ramp if case == "content weights" else None,
    )
    return nst.Inputs(pictures[0], tuple(pictures[1:]), masks=masks), config


def peak(case: str, size: int, precision: str) -> Iterator[float]:
    """Yield the peak memory of a process that makes three steps."""
    start()
    stepper(nst.Session(nst.load_weights("bundled")), *make(case, size, precision))()
    yield peak_megabytes()


def main() -> None:
    """Measure, and print the table."""
    quick = {"sizes": [64], "precisions": ["float32"], "rounds": 2}
    options = read_options(__doc__, quick, list(CASES), sizes=[256, 512], precisions=precisions(), rounds=9)
    start()
    session = nst.Session(nst.load_weights("bundled"))
    print_header("size", "precision", "case", "s/iteration", "ratio", "peak MiB")
    for size in options.sizes:
        for precision in options.precisions:
            steps = [stepper(session, *make(case, size, precision)) for case in CASES[options.kind]]
            times = seconds_in_turn(steps, options.rounds)
            del steps
            for case, seconds in zip(CASES[options.kind], times, strict=True):
                [memory] = (
                    [0.0]
                    if options.quick
                    else call("iterations.peak", case=case, size=size, precision=precision)
                )
                ratio = f"{seconds / times[0]:.3f}"
                print_row(size, precision, case, f"{seconds:.3f}", ratio, f"{memory:.0f}")


if __name__ == "__main__":
    main()
