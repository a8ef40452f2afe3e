"""Style against content: how much of the photo each system gives up for how much of the style.

    python benchmarks/tradeoff.py [--size 256] [--once NAME …] [--pairs PHOTO:STYLE …] [--work FOLDER]
        [--plot FILE.png] [--quick]

`balanced`, also with one content weight for all scales, paints pairs at five strengths; `original`,
`gatys` and neural-style, which is installed on first use, paint them once, at the style weights that they are
published with. Paintings are judged by the two axes of docs/evaluation.md, which none of them minimises:
`style_missing` (Gaussians of layers no preset uses, patches, colours) and `content_lost` (SSIM, CFSD,
perceptual), each a share of what the photo itself lacks of the style, or the style picture of the content. A
system's figure is the mean height of its curve over the range of content that all cover: less is better.
Points stand beside the curve of `balanced` at the same distance from the photo, and at the same distance from
the style.

What is in --work, as SYSTEM/PHOTO_STYLE.png for `neural-style-tf-evaluate`, is not painted again: take
another folder after a change.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import PAIRS, ROOT, load_pair, paint, print_header, print_row, read_options, settings, start
from peer_systems import NEURAL_STYLE, System, export_weights, run_system
from PIL import Image

import neural_style_tf as nst
from neural_style_tf.evaluation.catalogue import LOST, MISSING, judge
from neural_style_tf.evaluation.catalogue import axis_shares as shares_of
from neural_style_tf.evaluation.looks import Reference, Trial, Viewer, cropped

PEER = "neural-style 0.5.7"
# The convolution changes the time, and the sixth digit.
ONCE = {"original": {"convolution": "auto"}, "gatys": {"convolution": "auto"}, PEER: {}}
CURVES = {
    "balanced": {},
    "balanced, one content weight": {"coarse_content": 1.0},
}
"""System → what is changed of its preset."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
Points = Sequence[tuple[float, float]]
"""(distance from the photo, distance from the style)."""


def paint_peer(pictures: Sequence[Image.Image], folder: Path) -> Image.Image:
    """Paint with neural-style, as it does by itself."""
    export_weights()
    paths = [folder / name for name in ("content.png", "style.png")]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    system = System(PEER, NEURAL_STYLE, "noise", ("-optimizer", "lbfgs"))
    run = run_system(system, *paths, folder / "neural-style", size=max(pictures[0].size))
    if run.problem:
        raise RuntimeError(run.problem)
    return Image.open(run.pictures[max(run.pictures)]).convert("RGB")


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


def plot(curves: dict[str, Points], path: Path) -> None:
    """Draw the curves; a system with one point is a cross."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 5))
    for name, points in curves.items():
        axis.plot(*np.array(points).T, "o-" if len(points) > 1 else "X", markersize=8, label=name)
    axis.set(xlabel="distance from the photo", ylabel="distance from the style")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def report(curves: dict[str, Points]) -> None:
    """Print how high the curves are, and the points beside that of `balanced`."""
    print()
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
    options = read_options(
        __doc__,
        {"size": 64, "work": ROOT / "build" / "tradeoff-quick"},
        size=256,
        work=ROOT / "build" / "tradeoff",
        pairs=dict.fromkeys(PAIRS),
        once=ONCE,
        plot=Path,
    )
    quick = {"iterations": 2, "scales": 1, "scale_iterations": ()} if options.quick else {}
    pairs, strengths = (PAIRS[:1], (0.25, 0.75)) if quick else (options.pairs, STRENGTHS)
    once = ["gatys"] if quick else options.once
    jobs = [(name, 0.5) for name in once] + [(name, strength) for name in CURVES for strength in strengths]
    # neural-style runs in a folder of its own.
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    start()
    weights = nst.load_weights("bundled")
    # In a session strengths compile nothing.
    session, shares, viewer = nst.Session(weights), defaultdict(list), Viewer(weights)
    for pair in pairs:
        pixels = load_pair(pair, options.size)
        content, style = map(nst.to_picture, pixels)
        photo, manner = (viewer.look(np.asarray(picture)) for picture in (content, style))
        reference = Reference(photo, manner)
        cut = viewer.look(cropped(manner.pixels, photo.pixels.shape[:2]))
        controls = [judge(Trial(look, reference)) for look in (photo, cut)]
        for name, strength in jobs:
            path = work / f"{name}, {strength:g}" / f"{pair.replace(':', '_')}.png"
            if not path.exists():
                changes = {**(ONCE | CURVES)[name], **quick}
                if name in CURVES:
                    changes["strength"] = strength
                if name == PEER:
                    painting = paint_peer((content, style), work)
                else:
                    preset = "balanced" if name in CURVES else name
                    config = settings(preset, log_every=100, **changes)
                    painting = nst.to_picture(paint(session, pixels, config).best)
                path.parent.mkdir(exist_ok=True)
                painting.save(path)
            with Image.open(path) as picture:
                look = viewer.look(np.asarray(picture.convert("RGB").resize(content.size)))
            values = judge(Trial(look, reference))
            shares[name, strength].append({**shares_of(values, *controls), **values})
            print(f"{pair}, {name}, {strength}", file=sys.stderr, flush=True)
    columns = list(next(iter(shares.values()))[0])
    print_header("system", "strength", *columns)
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (name, strength), rows in shares.items():
        means = {column: float(np.mean([row[column] for row in rows])) for column in columns}
        print_row(name, f"{strength:g}", *(f"{value:.3g}" for value in means.values()))
        curves[name].append((means[LOST.name], means[MISSING.name]))
    report(curves)
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
