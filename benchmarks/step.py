"""Time one iteration, measure its memory, and hold it against what the machine's convolutions can do.

    python benchmarks/step.py [--sizes 256 512 1024] [--precisions float32 float32,winograd …]
                              [--json FILE] [--quick]

Each size gets a process of its own. After a comma comes the `--convolution`. The limit is the time of the
network's convolutions alone, forward and with respect to their input, as TensorFlow computes them, on tensors
of the same shapes, measured in turn with the steps. TFLOP are counted as 2 per multiply-add of those
convolutions, also where Winograd's method makes fewer; nothing else is counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import peak_megabytes, precisions, seconds_of

from neural_style_tf.config.schema import Config
from neural_style_tf.models.architecture import Architecture
from neural_style_tf.utils.runtime import start_tensorflow

if TYPE_CHECKING:
    from neural_style_tf.transfer.solver import Solver
    from neural_style_tf.weights import Weights


def convolution_shapes(size: int, deepest: str, architecture: Architecture) -> list[tuple[int, int, int]]:
    """Return (side, N_in, N_out) of every convolution of a network up to a layer."""
    shapes, depth = [], 3
    for name in architecture.up_to(deepest):
        if name.startswith("conv"):
            shapes.append((-(-size // architecture.stride(name)), depth, architecture.depth(name)))
            depth = architecture.depth(name)
    return shapes


def make_limit(
    size: int, deepest: str, dtype: str, architecture: Architecture
) -> tuple[Callable[[], object], float]:
    """Return a function that runs the convolutions alone, and their TFLOP."""
    import tensorflow as tf

    def random(*shape: int) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), dtype)

    tensors, flop = [], 0.0
    for side, n_in, n_out in convolution_shapes(size, deepest, architecture):
        kernel = random(3, 3, n_in, n_out)
        tensors.append((kernel, random(1, side, side, n_in), random(1, side, side, n_out)))
        flop += 2 * 2 * 9 * n_in * n_out * side * side / 1e12

    @tf.function(autograph=False)
    def run(tensors: list[tuple[tf.Tensor, ...]]) -> tf.Tensor:
        numbers = [tf.zeros([])]
        for kernel, below, above in tensors:
            # One after another, as in a network.
            with tf.control_dependencies(numbers[-1:]):
                forward = tf.nn.conv2d(below, kernel, 1, "SAME")
                numbers.append(tf.cast(forward[0, 0, 0, 0], tf.float32))
            with tf.control_dependencies(numbers[-1:]):
                backward = tf.raw_ops.Conv2DBackpropInput(
                    input_sizes=below.shape,
                    filter=kernel,
                    out_backprop=above,
                    strides=[1, 1, 1, 1],
                    padding="SAME",
                )
                numbers.append(tf.cast(backward[0, 0, 0, 0], tf.float32))
        # A convolution without a number in the sum would be left out.
        return tf.add_n(numbers)

    # As arguments: TensorFlow would compute convolutions of constants once and for all. Fetching one number
    # waits for an accelerator.
    return lambda: run(tensors).numpy(), flop


def make_solver(pictures: Sequence[np.ndarray], config: Config, weights: Weights) -> Solver:
    """Return a solver that is ready to `start`, without a run; the pictures are used at their sizes."""
    from neural_style_tf.transfer.masks import Masks
    from neural_style_tf.transfer.session import Session, first_image

    session = Session(weights, keep_bytes=0)
    size, *style_sizes = (picture.shape[:2] for picture in pictures)
    guidance = Masks().check(len(style_sizes), config).at(size, style_sizes, config)
    objective = session.prepare(pictures, config, guidance, {})
    image = first_image(pictures, config, objective, guidance.cover)
    return session._solver(objective, image, config, None)


def measure(size: int, variant: str, rounds: int) -> dict[str, object]:
    """Measure one size in this process."""
    precision, _, convolution = variant.partition(",")
    device = start_tensorflow()
    from neural_style_tf.models.precision import switch_tf32
    from neural_style_tf.weights.resolve import load_weights

    switch_tf32(precision)
    config = Config(image_size=0, precision=precision, convolution=convolution or "direct")
    picture = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32)
    before = peak_megabytes()
    solver = make_solver([picture, picture[::-1]], config, load_weights("bundled"))
    solver.start()
    step = solver.advance
    for _ in range(2):
        step()
    memory = peak_megabytes()
    network = solver.step.evaluation.network.architecture
    limit, tflop = make_limit(size, network.deepest(config.loss.layers), precision, network)
    limit()
    pairs = [(seconds_of(step), seconds_of(limit)) for _ in range(rounds)]
    step_time, limit_time = (statistics.median(times) for times in zip(*pairs, strict=True))
    return {
        "device": device,
        "size": size,
        "precision": precision,
        "convolution": config.network.convolution,
        "rounds": rounds,
        "step_seconds": step_time,
        "limit_seconds": limit_time,
        "share": statistics.median(ours / theirs for theirs, ours in pairs),
        "tflop": tflop,
        "tflop_per_second": tflop / step_time,
        "peak_mb": memory,
        "imports_mb": before,
    }


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--precisions", nargs="+", help="default: what this machine computes in")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to see that this script works")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(int(options.child[0]), options.child[1], options.rounds)))
        return
    sizes, rounds = ([64], 2) if options.quick else (options.sizes, options.rounds)
    variants = ["float32,winograd"] if options.quick else options.precisions
    variants = variants or [f"{one}{method}" for one in precisions() for method in ("", ",winograd")]
    rows = []
    print("| size | precision | s/iteration | TFLOP/s | share of the limit | peak MiB |")
    print("|---|---|---|---|---|---|")
    for size, precision in itertools.product(sizes, variants):
        command = [sys.executable, __file__, "--child", str(size), precision, f"--rounds={rounds}"]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        row = json.loads(output.splitlines()[-1])
        rows.append(row)
        print(
            f"| {size} | {precision} | {row['step_seconds']:.3f} | {row['tflop_per_second']:.3f} "
            f"| {row['share']:.2f} | {row['peak_mb']:.0f} |",
            flush=True,
        )
    print(f"\nOne image, preset `original`, on {rows[0]['device']}.")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
