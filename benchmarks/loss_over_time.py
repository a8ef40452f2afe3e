"""How soon each solver reaches the best loss that the original reaches in its 1000 iterations.

    python benchmarks/loss_over_time.py [--pairs coffee:starry_night …] [--size 512] [--plot FILE.png]
                                        [--json FILE] [--quick]

One objective, the original's. Each solver runs in a process of its own, so that none finds compiled what
another has compiled. Ours use Winograd's method where `--convolution=auto` does for large pictures, since
runs are long; the original never does. Every image is judged as it would be saved, clipped to 0–255 and in 8
bits, by the same float32 objective at the same size. The time spent judging is not counted, the time spent
tracing and starting is. A solver stops when it is clearly below the original. For an idle machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from in_turn import precisions
from judging import as_saved, make_judge, time_to

from neural_style_tf.utils.runtime import start_tensorflow

PAIRS = ("coffee:starry_night", "chelsea:mosaic", "rocket:strokes")
ORIGINAL = "original: Adam from noise, float32"
OURS = {"init": "content", "iterations": 200, "clamp": True}
LBFGS = {**OURS, "optimizer": "lbfgs", "history": 40}
SOLVERS = {
    ORIGINAL: {},
    "Adam, cosine, from content": {**OURS, "learning_rate_schedule": "cosine", "precision": "auto"},
    "L-BFGS, scalar": {**LBFGS, "preconditioner": "scalar", "precision": "auto"},
    "L-BFGS, spectral, not clamped": {**LBFGS, "clamp": False, "precision": "auto"},
    "L-BFGS, spectral": {**LBFGS, "precision": "auto"},
    "L-BFGS, spectral, float32": LBFGS,
}
CLEARLY_BELOW = 0.98
"""Of the original's best loss: where another solver has shown what it can do."""


def curve(
    content: object, style: object, config: object, weights: object, judge: Callable, goal: float
) -> list:
    """Return [(seconds, loss of the best image so far)] of one run, until it reaches `goal`."""
    from neural_style_tf.transfer.session import stylize

    points, judging, best = [], 0.0, float("inf")
    for record in stylize(content, style, config, weights=weights):
        seconds, start = record.seconds - judging, time.monotonic()
        best = min(best, judge(as_saved(record.image)))
        points.append((seconds, best))
        judging += time.monotonic() - start
        if best <= goal:
            break
    return points


def child(pair: str, name: str, size: int, iterations: int, goal: float) -> list:
    """Run one solver in this process; `iterations` of 0 leaves them as they are."""
    start_tensorflow()
    from neural_style_tf.config.schema import Config
    from neural_style_tf.images import load_image
    from neural_style_tf.models.winograd import select_convolution
    from neural_style_tf.weights.resolve import load_weights

    weights, base = load_weights("bundled"), Config(image_size=size, log_every=5, save_every=0)
    paths = [ROOT / "examples" / f"{one}.jpg" for one in pair.split(":")]
    content, style = (load_image(path, longest=size).pixels for path in paths)
    judge, config = make_judge(content, style, base, weights), base.replace(**SOLVERS[name])
    if name != ORIGINAL:
        config = config.replace(convolution=select_convolution("auto", config.network.precision, sys.maxsize))
    config = config.replace(iterations=iterations) if iterations else config
    return curve(content, style, config, weights, judge, goal)


def compare(pair: str, size: int, iterations: int) -> dict[str, list]:
    """Run every solver on one pair of example pictures."""
    curves, goal = {}, 0.0
    names = list(SOLVERS)
    if len(precisions()) == 1:
        # `auto` is float32 here.
        names.remove("L-BFGS, spectral, float32")
    # In the quick form (`iterations`), one of each kind.
    for name in names[:: 4 if iterations else 1]:
        command = [sys.executable, __file__, "--child", pair, name, str(size), str(iterations), str(goal)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        curves[name] = json.loads(done.stdout.splitlines()[-1])
        goal = goal or CLEARLY_BELOW * curves[name][-1][1]
        print(f"{pair}, {name}: {curves[name][-1][1]:.4g} after {curves[name][-1][0]:.1f} s", file=sys.stderr)
    return curves


def print_table(results: dict[str, dict[str, list]]) -> None:
    """Print the times to the original's best loss, and how many times sooner that is."""
    print(
        "| solver | "
        + " | ".join(results)
        + " | times sooner, median |\n|---"
        + "|---" * (len(results) + 1)
        + "|"
    )
    for name in next(iter(results.values())):
        cells, ratios = [], []
        for curves in results.values():
            best = min(value for _, value in curves[ORIGINAL])
            theirs, ours = time_to(curves[ORIGINAL], best), time_to(curves[name], best)
            final = curves[name][-1][1]
            cells.append(f"{ours:.0f} s" if ours is not None else f"not reached ({final / best:.3f} × least)")
            ratios.append(theirs / ours if ours else 0.0)
        # A pair that was not reached counts as 0.
        median = statistics.median(ratios)
        print(f"| {name} | " + " | ".join(cells) + (f" | {median:.1f} |" if median else " | |"))


def plot(results: dict[str, dict[str, list]], path: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for axis, (pair, curves) in zip(axes[0], results.items(), strict=True):
        goal = min(value for _, value in curves[ORIGINAL])
        for name, points in curves.items():
            axis.loglog(*zip(*[(max(s, 0.5), v / goal) for s, v in points], strict=True), label=name)
        axis.axhline(1, color="grey", linewidth=0.5)
        axis.set(title=pair, xlabel="seconds", ylabel="least loss so far / original's least", ylim=(0.94, 4))
        axis.set_yticks([1, 1.2, 1.5, 2, 3, 4], ["1", "1.2", "1.5", "2", "3", "4"], minor=False)
        axis.set_yticks([], minor=True)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Compare on every pair."""
    if sys.argv[1:2] == ["--child"]:
        pair, name, size, iterations, goal = sys.argv[2:]
        print(json.dumps(child(pair, name, int(size), int(iterations), float(goal))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=PAIRS)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path, help="written after each pair; those in it are not run again")
    parser.add_argument("--quick", action="store_true", help="one small pair, a few iterations")
    options = parser.parse_args()
    pairs, size, iterations = (PAIRS[:1], 48, 5) if options.quick else (options.pairs, options.size, 0)
    results = {}
    if options.json and options.json.exists():
        kept = json.loads(options.json.read_text())
        results = kept["curves"] if kept["size"] == size else {}
    for pair in pairs:
        if pair in results:
            continue
        results[pair] = compare(pair, size, iterations)
        if options.json:
            options.json.write_text(json.dumps({"size": size, "curves": results}) + "\n")
    print_table(results)
    print(f"\nLongest side {size}; `auto` is {precisions()[-1]} here.")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
