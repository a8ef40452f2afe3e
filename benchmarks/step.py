"""Time one iteration: against the time of its convolutions, with each style loss, with styles and masks.

    python benchmarks/step.py [limit|style_loss|directing] [--sizes 256 512 1024] [--rounds 9] [--quick]
                              [--precisions float32 float32,winograd …]

limit       `original`, each size and precision in a process of its own. The limit is the time of the
            network's convolutions alone, forward and with respect to their input, as TensorFlow computes
            them, on tensors of the same shapes, measured in turn with the iterations. TFLOP are counted as 2
            per multiply-add of those convolutions, also where Winograd's method makes fewer; nothing else is.
style_loss, directing
            `balanced` with Adam. All cases of a size are measured in one process, their iterations in turn;
            memory is the peak of a process of its own for each case.

After a comma comes the `--convolution`. Adam takes one evaluation for each iteration.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

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
    seconds_of,
    settings,
    start,
    stepper,
)

import neural_style_tf as nst

if TYPE_CHECKING:
    import tensorflow as tf

CASES = {
    "limit": (),
    "style_loss": ("relative", "moments", "wasserstein"),
    "directing": (
        *("one style", "2 styles", "4 styles", "2 regions", "2 regions, soft all over"),
        "content weights",
    ),
}
BORDER = 1 / 32
"""Width of the soft border between two regions, as a share of the picture's side: as of a brush."""


def configure(preset: str, variant: str, **changes: Any) -> nst.Config:
    """Return the settings of a preset at one scale, with Adam, in a precision and with a convolution."""
    precision, _, convolution = variant.partition(",")
    changes |= {"convolution": convolution} if convolution else {}
    return settings(preset, optimizer="adam", precision=precision, **ONE_SCALE, **changes)


def noise(size: int, count: int) -> list[np.ndarray]:
    """Return square pictures of noise."""
    random = np.random.default_rng(0)
    return [random.uniform(0, 255, (size, size, 3)).astype(np.float32) for _ in range(count)]


def make_limit(
    size: int, deepest: str, dtype: str, architecture: nst.Architecture
) -> tuple[Callable[[], object], float]:
    """Return a function that runs the convolutions of a network up to a layer alone, and their TFLOP."""
    import tensorflow as tf

    def random(*shape: int) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), dtype)

    tensors, flop, n_in = [], 0.0, 3
    for name in architecture.up_to(deepest):
        if name.startswith("conv"):
            side, n_out = -(-size // architecture.stride(name)), architecture.depth(name)
            kernel = random(3, 3, n_in, n_out)
            tensors.append((kernel, random(1, side, side, n_in), random(1, side, side, n_out)))
            flop += 2 * 2 * 9 * n_in * n_out * side * side / 1e12
            n_in = n_out

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


def measure(
    size: int, variant: str, rounds: int, preset: str = "original", at_once: int = 1, weights: str = "bundled"
) -> Iterator[dict[str, Any]]:
    """Yield the figures of one size; each call makes `at_once` iterations."""
    device = start()
    from neural_style_tf.models.precision import compute_dtype

    config, loaded = configure(preset, variant, log_every=at_once), nst.load_weights(weights)
    step = stepper(nst.Session(loaded, keep_bytes=0), nst.Inputs(*noise(size, 2)), config)
    memory, layers = peak_megabytes(), loaded.architecture
    dtype = compute_dtype(config.network.precision)
    limit, tflop = make_limit(size, layers.deepest(config.loss.layers), dtype, layers)
    limit()
    times = [(seconds_of(step) / at_once, seconds_of(limit)) for _ in range(rounds)]
    yield {
        "device": device,
        "seconds": statistics.median(ours for ours, _ in times),
        "share": statistics.median(theirs / ours for ours, theirs in times),
        "tflop": tflop,
        "peak_mb": memory,
    }


def make(case: str, size: int, variant: str) -> tuple[nst.Inputs, nst.Config]:
    """Return the pictures and the settings of a case."""
    config = configure("balanced", variant)
    if case in CASES["style_loss"]:
        config = config.replace(style_loss=case)
    styles = {"2 styles": 2, "4 styles": 4}.get(case, 2 if "regions" in case else 1)
    content, *pictures = noise(size, 1 + styles)
    ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (size, 1))
    # A disc of half the picture; or one style passes into the other from side to side.
    disc = np.clip((0.4 - np.hypot(ramp - 0.5, ramp.T - 0.5)) / BORDER + 0.5, 0, 1)
    region = ramp if "soft" in case else disc
    masks = nst.Masks(
        content=(region, 1 - region) if "regions" in case else (),
        content_weight=ramp if case == "content weights" else None,
    )
    return nst.Inputs(content, tuple(pictures), masks=masks), config


def peak(case: str, size: int, variant: str) -> Iterator[float]:
    """Yield the peak memory of a process that makes three iterations."""
    start()
    stepper(nst.Session(nst.load_weights("bundled")), *make(case, size, variant))()
    yield peak_megabytes()


def against_the_limit(sizes: list[int], variants: list[str], rounds: int) -> None:
    """Measure each size and precision, and print the table."""
    print_header("size", "precision", "s/iteration", "TFLOP/s", "share of the limit", "peak MiB")
    for size, variant in itertools.product(sizes, variants):
        [found] = call("step.measure", size=size, variant=variant, rounds=rounds)
        speed = found["tflop"] / found["seconds"]
        figures = (
            f"{found['seconds']:.3f}",
            f"{speed:.3f}",
            f"{found['share']:.2f}",
            f"{found['peak_mb']:.0f}",
        )
        print_row(size, variant, *figures)
    print(f"\nOne image, preset `original`, on {found['device']}.")


def in_turn(kind: str, sizes: list[int], variants: list[str], rounds: int, *, quick: bool) -> None:
    """Measure all cases of a kind, and print the table."""
    start()
    session = nst.Session(nst.load_weights("bundled"))
    print_header("size", "precision", "case", "s/iteration", "ratio", "peak MiB")
    for size, variant in itertools.product(sizes, variants):
        steps = [stepper(session, *make(case, size, variant)) for case in CASES[kind]]
        times = seconds_in_turn(steps, rounds)
        del steps
        for case, seconds in zip(CASES[kind], times, strict=True):
            [memory] = [0.0] if quick else call("step.peak", case=case, size=size, variant=variant)
            print_row(size, variant, case, f"{seconds:.3f}", f"{seconds / times[0]:.3f}", f"{memory:.0f}")


def main() -> None:
    """Measure, and print the table."""
    quick = {"sizes": [64], "precisions": ["float32,winograd"], "rounds": 2}
    options = read_options(__doc__, quick, list(CASES), sizes=[256, 512, 1024], precisions=[""], rounds=9)
    limit, variants = options.kind == "limit", options.precisions
    if variants == [""]:
        methods = ("", ",winograd") if limit else ("",)
        variants = [f"{precision}{method}" for precision in precisions() for method in methods]
    if limit:
        against_the_limit(options.sizes, variants, options.rounds)
    else:
        in_turn(options.kind, options.sizes, variants, options.rounds, quick=options.quick)


if __name__ == "__main__":
    main()
