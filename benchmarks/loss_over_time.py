"""How soon each solver reaches the best loss that the original reaches in its 1000 iterations.

    python benchmarks/loss_over_time.py [--pairs coffee:starry_night …] [--size 512] [--plot FILE.png]
                                        [--json FILE] [--quick]

One objective, the original's. Each solver runs in a process of its own, so that none finds compiled what
another has compiled. Ours use Winograd's method; the original never does. Every picture is judged as it is
saved, clipped to 0–255 and in 8 bits, by the same float32 objective. Starting and compiling count, writing
and judging do not. For an idle machine.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import load_pair, precisions, print_header, print_row, read_options, scratch, start
from curves import LBFGS, Run, make_judge, run_ours

import neural_style_tf as nst

PAIRS = ("coffee:starry_night", "chelsea:mosaic", "rocket:strokes")
ORIGINAL = "original: Adam from noise, float32"
OURS = {**LBFGS, "log_every": 5, "convolution": "winograd"}
AUTO = {**OURS, "precision": "auto"}
SOLVERS: dict[str, dict[str, Any]] = {
    ORIGINAL: {"log_every": 10},
    "Adam, cosine, from content": {**AUTO, "optimizer": "adam", "learning_rate_schedule": "cosine"},
    "L-BFGS, scalar": {**AUTO, "preconditioner": "scalar"},
    "L-BFGS, spectral, not clamped": {**AUTO, "clamp": False},
    "L-BFGS, spectral": AUTO,
    "L-BFGS, spectral, float32": OURS,
}


def compare(pair: str, size: int, changes: dict[str, Any], *, quick: bool) -> dict[str, list]:
    """Run every solver on one pair; return solver → [(seconds, least loss so far)]."""
    names = [ORIGINAL, "L-BFGS, spectral, float32"] if quick else list(SOLVERS)
    if len(precisions()) == 1 and not quick:
        # `auto` is float32 here.
        names.remove("L-BFGS, spectral, float32")
    curves = {}
    with scratch() as folder:
        files = [folder / f"{role}.png" for role in ("content", "style")]
        for path, pixels in zip(files, load_pair(pair, size), strict=True):
            nst.save_image(path, pixels)
        judge = make_judge(*files, {})
        for number, name in enumerate(names):
            run = run_ours(*files, {**SOLVERS[name], **changes}, folder / str(number))
            if run.problem:
                raise SystemExit(f"{pair}, {name}: {run.problem}")
            run.judge(judge)
            curves[name] = run.best
            seconds, loss = curves[name][-1]
            print(f"{pair}, {name}: {loss:.4g} after {seconds:.1f} s", file=sys.stderr)
    return curves


def print_table(results: dict[str, dict[str, list]]) -> None:
    """Print the times to the original's best loss, and how many times sooner that is."""
    print_header("solver", *results, "times sooner, median")
    for name in next(iter(results.values())):
        cells, ratios = [], []
        for curves in results.values():
            least = curves[ORIGINAL][-1][1]
            original, ours = (Run(points=curves[solver]).time_to(least) for solver in (ORIGINAL, name))
            ratio = curves[name][-1][1] / least
            cells.append(f"not reached ({ratio:.3f} × least)" if ours is None else f"{ours:.0f} s")
            # A pair that was not reached counts as 0.
            ratios.append(original / ours if ours else 0.0)
        median = statistics.median(ratios)
        print_row(name, *cells, f"{median:.1f}" if median else "")


def plot(results: dict[str, dict[str, list]], path: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for axis, (pair, curves) in zip(axes[0], results.items(), strict=True):
        least = curves[ORIGINAL][-1][1]
        for name, points in curves.items():
            axis.loglog(*zip(*[(max(s, 0.5), v / least) for s, v in points], strict=True), label=name)
        axis.axhline(1, color="grey", linewidth=0.5)
        axis.set(title=pair, xlabel="seconds", ylabel="least loss so far / original's least", ylim=(0.94, 4))
        ticks = [1, 1.2, 1.5, 2, 3, 4]
        axis.set_yticks(ticks, map(str, ticks), minor=False)
        axis.set_yticks([], minor=True)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Compare on every pair."""
    options = read_options(
        __doc__, {"pairs": PAIRS[:1], "size": 48}, pairs=PAIRS, size=512, plot=Path, json=Path
    )
    changes = {"iterations": 5, "log_every": 5, "convolution": "direct"} if options.quick else {}
    start()
    results: dict[str, dict[str, list]] = {}
    for pair in options.pairs:
        results[pair] = compare(pair, options.size, changes, quick=options.quick)
        if options.json:
            options.json.write_text(json.dumps({"size": options.size, "curves": results}) + "\n")
    print_table(results)
    print(f"\nLongest side {options.size}; `auto` is {precisions()[-1]} here.")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
