"""Style against content: how much of the photo each system gives up for how much of the style.

    python benchmarks/tradeoff.py [--size 256] [--once NAME …] [--pairs PHOTO:STYLE …] [--work FOLDER]
        [--plot FILE.png] [--quick]

`balanced`, also with one content weight for all scales, paints pairs at five strengths; `original`, `gatys`
and neural-style, which is installed on first use, paint them once, at the style weights that they are
published with. Paintings are judged as by `neural-style-tf-evaluate`, by its two sums, which none of them
minimises: `style_missing` and `content_lost`, each a share of what the photo itself lacks of the style, or
the style picture of the content (docs/evaluation.md). A system's figure is the mean height of its curve over
the range of content that all cover: less is better. Points stand beside the curve of `balanced` at the same
distance from the photo, and at the same distance from the style.

What is in --work is not painted again: take another folder after a change.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import (
    PAIRS,
    ROOT,
    load_pair,
    locate,
    print_header,
    print_row,
    read_options,
    run_command,
    scratch,
    start,
    sweep_of,
)
from peer_systems import NEURAL_STYLE, System, export_weights, run_system

import neural_style_tf as nst
from neural_style_tf.evaluation import report
from neural_style_tf.evaluation.columns import MEASURES, SUMS
from neural_style_tf.evaluation.comparison import Comparison, compare
from neural_style_tf.evaluation.looks import Viewer
from neural_style_tf.evaluation.pairs import Search

PEER = "neural-style 0.5.7"
# The convolution changes the time, and the sixth digit.
ONCE = {"original": ("--convolution=auto",), "gatys": ("--convolution=auto",), PEER: ()}
CURVES = {
    "balanced": (),
    "balanced, one content weight": ("--coarse_content=1",),
}
"""System → what is changed of its preset."""
STRENGTHS = ("0", "0.25", "0.5", "0.75", "1")
QUICK = ("--iterations=2", "--scales=1", "--scale_iterations=")
Points = Sequence[tuple[float, float]]
"""(distance from the photo, distance from the style)."""


def paint_peer(folder: Path, pairs: Sequence[str], size: int) -> None:
    """Paint the pairs with neural-style, as it does by itself, from pictures of the size of the result."""
    export_weights()
    system = System(PEER, NEURAL_STYLE, "noise", ("-optimizer", "lbfgs"))
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        result = folder / f"{pair.replace(':', '_')}.png"
        if not result.exists():
            with scratch() as place:
                paths = [place / "content.png", place / "style.png"]
                for path, pixels in zip(paths, load_pair(pair, size), strict=True):
                    nst.save_image(path, pixels)
                run = run_system(system, *paths, place / "run", size=size)
                if run.problem:
                    raise RuntimeError(run.problem)
                result.write_bytes(run.pictures[max(run.pictures)].read_bytes())


def area(curves: dict[str, Points]) -> dict[str, float]:
    """Return each curve's mean height over the range of x that all cover; NaN where they share none."""
    low = max(min(x for x, _ in points) for points in curves.values())
    high = min(max(x for x, _ in points) for points in curves.values())
    if low >= high:
        return dict.fromkeys(curves, float("nan"))
    places = np.linspace(low, high, 101)
    return {name: float(np.interp(places, *np.array(sorted(p)).T).mean()) for name, p in curves.items()}


def beside(point: tuple[float, float], curve: Points) -> tuple[float, float]:
    """Return a curve's y at the point's x, and its x at the point's y; NaN where it does not reach."""
    by_x, by_y = np.array(sorted(curve)), np.array(sorted(curve, key=lambda place: place[1]))
    missing = {"left": np.nan, "right": np.nan}
    y = float(np.interp(point[0], *by_x.T, **missing))
    return y, float(np.interp(point[1], *by_y.T[::-1], **missing))


def print_curves(curves: dict[str, Points]) -> None:
    """Print how high the curves are, and the points beside that of `balanced`."""
    print_header("system", "mean distance from the style, at equal distance from the photo")
    lines = {name: points for name, points in curves.items() if name in CURVES}
    for name, height in sorted(area(lines).items(), key=lambda item: item[1]):
        print_row(name, f"{height:.3f}")
    print()
    columns = ("`balanced`, from the style, as far from the photo",)
    columns += ("`balanced`, from the photo, as far from the style",)
    print_header("system", "from the photo", "from the style", *columns)
    for name in ONCE:
        for point in curves.get(name, ()):
            figures = [*point, *beside(point, lines["balanced"])]
            print_row(name, *("–" if np.isnan(figure) else f"{figure:.3f}" for figure in figures))


def main() -> None:
    """Paint, judge, and print the tables."""
    quick = {"size": 64, "work": ROOT / "build" / "tradeoff-quick"}
    options = read_options(
        __doc__,
        quick,
        size=256,
        pairs=dict.fromkeys(PAIRS),
        once=ONCE,
        work=ROOT / "build" / "tradeoff",
        plot=Path,
    )
    pairs, strengths = (PAIRS[:1], STRENGTHS[1:4:2]) if options.quick else (options.pairs, STRENGTHS)
    work = options.work.resolve()
    halves = zip(*(pair.split(":") for pair in pairs), strict=True)
    search = Search(*([locate(name) for name in dict.fromkeys(names)] for names in halves))
    shared = [*sweep_of(pairs), f"--image_size={options.size}", "--save_every=0"]
    shared += QUICK if options.quick else ()
    for name, flags in (ONCE | CURVES).items():
        if name not in (*options.once, *CURVES):
            continue
        if name == PEER:
            if options.quick:
                continue
            paint_peer(work / name, pairs, options.size)
        elif name in CURVES:
            swept = f"--sweep=strength={','.join(strengths)}"
            run_command(work / name, *shared, "--preset=balanced", swept, *flags)
        else:
            run_command(work / name, *shared, f"--preset={name}", *flags)
        search.add(str(work / name))
    start()
    rows, problems, notes = compare(search.paintings, Viewer(nst.load_weights("bundled")), size=options.size)
    print(*search.problems, *problems, *notes, sep="\n", file=sys.stderr)
    comparison = Comparison(rows, (*SUMS, *MEASURES), problems, notes, {})
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    print_header("system", *(measure.name for measure in comparison.measures))
    for system, row in comparison.means.items():
        means = [mean.value for mean in row]
        print_row(system.name, *(f"{value:.3g}" for value in means))
        curves[system.line or system.name].append(tuple(means[:2]))
    print()
    print_curves(curves)
    if options.plot:
        report.draw(comparison, options.plot)


if __name__ == "__main__":
    main()
