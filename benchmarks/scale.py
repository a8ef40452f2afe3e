"""What an iteration costs in time and memory as pictures grow, in one piece and in tiles.

    python benchmarks/scale.py [--sizes 1 4 16 64] [--tiles none 2048 1024] [--precision float32]
                               [--convolution direct] [--rounds 1] [--optimizer adam] [--json FILE] [--quick]

Each row is a process of its own, printed as soon as it is measured, so that one row can be had alone:
`--sizes 64 --tiles 2048`. A row evaluates the initial image once, which is not timed, and then makes
`--rounds` iterations. Memory is the most that the process ever held (of a GPU: that TensorFlow ever
held), "beyond" what it held with TensorFlow imported; "estimated" is what a run says before it starts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

HEADER = (
    "megapixels", "pieces", "s/iteration", "s/megapixel", "× one piece", "peak MB", "beyond", "estimated"
)  # fmt: skip

PASSED_ON = ("precision", "convolution", "optimizer")


def peak_megabytes() -> float:
    """Return the most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def make_pictures(side: int) -> list:
    """Return a content and a style picture [side, side, 3], smooth shapes with some grain."""
    import numpy as np

    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(2):
        coarse = rng.uniform(0, 255, (side // 32 + 1, side // 32 + 1, 3)).astype(np.float32)
        picture = coarse.repeat(32, 0)[:side].repeat(32, 1)[:, :side]
        for row in picture:
            row += rng.uniform(-10, 10, row.shape).astype(np.float32)
        pictures.append(picture)
    return pictures


def measure(side: int, tile: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure one row in this process."""
    from neural_style_tf.tiling.memory_model import LARGE_PICTURE
    from neural_style_tf.utils.runtime import start_tensorflow

    device = start_tensorflow(sparing=side**2 >= LARGE_PICTURE)
    import tensorflow as tf

    from neural_style_tf.config.schema import Config
    from neural_style_tf.tiling.memory_model import SAFE_SHARE
    from neural_style_tf.tiling.planner import plan_memory
    from neural_style_tf.transfer.session import make_solver
    from neural_style_tf.weights.resolve import load_weights

    given = {name: getattr(options, name) for name in PASSED_ON}
    config = Config(image_size=0, init="content", tile=tile, **given)
    imports, room = peak_megabytes(), plan_memory(config, (side, side))
    row = {"device": device, "side": side, "tile": tile, "estimated_mb": room.needed / 1e6}
    # As runs have it, which would take tiles instead.
    if room.available is not None and room.needed > SAFE_SHARE * room.available:
        return row | {"available_mb": room.available / 1e6}
    solver = make_solver(make_pictures(side), config, load_weights("bundled"))
    solver.start()
    one, seconds = tf.constant(1, tf.int64), []
    if side**2 < LARGE_PICTURE:
        # A first step that prepares what is compiled; of a large picture it is nothing beside the step.
        solver.advance(one)
    for _ in range(options.rounds):
        began = time.perf_counter()
        if not solver.advance(one):
            raise SystemExit("the loss is not finite")
        seconds.append(time.perf_counter() - began)
    peak = peak_megabytes()
    if tf.config.list_physical_devices("GPU"):
        imports, peak = 0.0, tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    return row | {"seconds": statistics.median(seconds), "peak_mb": peak, "beyond_mb": peak - imports}


def row_in_its_own_process(side: int, tile: str, options: argparse.Namespace) -> dict[str, object]:
    """Run `measure` in a new process."""
    command = [sys.executable, __file__, f"--child={side}", f"--tiles={tile}", f"--rounds={options.rounds}"]
    command += [f"--{name}={getattr(options, name)}" for name in PASSED_ON]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"side": side, "tile": tile, "problem": f"ended with {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def cells(row: dict[str, object], untiled: float | None) -> list[str]:
    """Return a row of the table."""
    megapixels = row["side"] ** 2 / 1e6
    pieces = "one" if row["tile"] == "none" else row["tile"]
    if "problem" in row:
        return [f"{megapixels:.3g}", pieces, row["problem"], *[""] * 5]
    if "seconds" not in row:
        return [f"{megapixels:.3g}", pieces, "does not fit", *[""] * 4, f"{row['estimated_mb']:.0f}"]
    ratio = f"{row['seconds'] / untiled:.2f}" if untiled else ""
    numbers = (f"{row['seconds']:.2f}", f"{row['seconds'] / megapixels:.2f}", ratio)
    return [
        f"{megapixels:.3g}",
        pieces,
        *numbers,
        *(f"{row[f'{k}_mb']:.0f}" for k in ("peak", "beyond", "estimated")),
    ]


def main() -> None:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 4, 16, 64], help="megapixels")
    parser.add_argument("--tiles", nargs="+", default=["none", "2048", "1024"])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--convolution", default="direct")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one tiny row, to see that this script works")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.tiles[0], options)))
        return
    if options.quick:
        options.sizes, options.tiles = [0.006], ["48"]
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    rows = []
    for megapixels in options.sizes:
        side, untiled = round((megapixels * 1e6) ** 0.5), None
        # A tile as large as the picture is the picture.
        for tile in (tile for tile in options.tiles if tile == "none" or int(tile) < side):
            row = row_in_its_own_process(side, tile, options)
            rows.append(row)
            untiled = row.get("seconds") if tile == "none" else untiled
            print(f"| {' | '.join(cells(row, untiled))} |", flush=True)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=2) + "\n")
    shown = f"{options.precision}, {options.convolution}"
    print(f"\nSquare pictures, preset `original`, {shown}, on {rows[0]['device']}.")


if __name__ == "__main__":
    main()
