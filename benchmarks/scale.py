"""What an iteration costs in time and memory as pictures grow, in one piece and in tiles.

    python benchmarks/scale.py [--sizes 1 4 16 64] [--tiles none 2048 1024] [--precision float32]
                               [--convolution direct] [--rounds 1] [--optimizer adam] [--quick]

Each row is a process of its own, printed as soon as it is measured, so that one row can be had alone:
`--sizes 64 --tiles 2048`. A row evaluates the initial image, which is not timed, and then makes `--rounds`
iterations. Memory is the most that the process ever held; "beyond" leaves out what it held with TensorFlow
imported; "estimated" is what a run says before it starts.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import (
    ChildError,
    call,
    peak_megabytes,
    print_header,
    print_row,
    read_options,
    seconds_of,
    settings,
)

import neural_style_tf as nst
from neural_style_tf.tiling.memory_model import LARGE_PICTURE, SAFE_SHARE
from neural_style_tf.utils.runtime import start_tensorflow

CHANGES = ("precision", "convolution", "optimizer")
MB = 2**20 / 1e6


def make_pictures(side: int) -> list[np.ndarray]:
    """Return a content and a style picture [side, side, 3], smooth shapes with some grain."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(2):
        coarse = random.uniform(0, 255, (side // 32 + 1, side // 32 + 1, 3)).astype(np.float32)
        picture = coarse.repeat(32, 0)[:side].repeat(32, 1)[:, :side]
        for row in picture:
            row += random.uniform(-10, 10, row.shape).astype(np.float32)
        pictures.append(picture)
    return pictures


def measure(side: int, tile: str, rounds: int, changes: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield one row."""
    start_tensorflow(sparing=side**2 >= LARGE_PICTURE)
    from neural_style_tf.tiling.planner import plan_memory

    config = settings("original", init="content", tile=tile, iterations=10_000, **changes)
    imports, plan = MB * peak_megabytes(), plan_memory(config, (side, side))
    row = {"estimated_mb": plan.needed / 1e6}
    # As in runs, which would take tiles instead.
    if plan.available is not None and plan.needed > SAFE_SHARE * plan.available:
        yield row
        return
    session = nst.Session(nst.load_weights("bundled"), keep_bytes=0)
    run = session.run(nst.Inputs(*make_pictures(side)), config)
    next(run)
    if side**2 < LARGE_PICTURE:
        # A first step that prepares what is compiled; of a large picture it is nothing beside the step.
        next(run)
    seconds = statistics.median(seconds_of(lambda: next(run)) for _ in range(rounds))
    peak = MB * peak_megabytes()
    yield row | {"seconds": seconds, "peak_mb": peak, "beyond_mb": peak - imports}


def main() -> None:
    """Measure every row, and print the table."""
    options = read_options(
        __doc__,
        {"sizes": [0.006], "tiles": ["48"]},
        sizes=[1.0, 4.0, 16.0, 64.0],
        tiles=["none", "2048", "1024"],
        precision="float32",
        convolution="direct",
        optimizer="adam",
        rounds=1,
    )
    changes = {name: getattr(options, name) for name in CHANGES}
    memory = ("peak_mb", "beyond_mb", "estimated_mb")
    print_header(
        "megapixels", "tile", "s/iteration", "s/megapixel", "× untiled", "peak MB", "beyond", "estimated"
    )
    for megapixels in options.sizes:
        side, untiled = round((megapixels * 1e6) ** 0.5), None
        # A tile as large as the picture is the picture.
        for tile in (tile for tile in options.tiles if tile == "none" or int(tile) < side):
            try:
                [row] = call("scale.measure", side=side, tile=tile, rounds=options.rounds, changes=changes)
            except ChildError as error:
                print_row(f"{megapixels:g}", tile, error, *[""] * 5)
                continue
            seconds = row.get("seconds")
            untiled = seconds if tile == "none" else untiled
            times = [seconds, seconds and seconds / megapixels, seconds and untiled and seconds / untiled]
            shown = [f"{value:.2f}" if value else "" for value in times]
            print_row(
                f"{megapixels:g}", tile, *shown, *(f"{row[key]:.0f}" if key in row else "" for key in memory)
            )
    print(f"\nSquare pictures, preset `original`, {', '.join(changes.values())}.")


if __name__ == "__main__":
    main()
