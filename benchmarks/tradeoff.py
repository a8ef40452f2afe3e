"""Style against content: how much of the photo each system gives up for how much of the style.

    python benchmarks/tradeoff.py [--pairs PHOTO:STYLE …] [--strengths 0 0.25 …] [--systems WORD …]
                                  [--once WORD …] [--size N] [--work FOLDER] [--plot FILE.png] [--quick]

Each system paints each pair at each strength. Results are judged by distances that none of them minimises:
style by Gaussians of layers no preset uses, by patches and by colours; content by SSIM of the luma and by
relu3_1. Each distance is divided by that of the photo itself (style) or of the style picture itself, cut to
the photo's shape (content): so 1 is "nothing done" and "nothing left", and distances can be averaged. A
system's figure is the mean height of its curve over the range of content that all cover: less is better.
Systems named by --once are painted at their published weight only. They are points, told beside the curve
of `balanced` at the same distance from the photo, and at the same distance from the style.

What is painted under --work already is not painted again. neural-style is installed on first use.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import distances
from compare import PAIRS, locate
from peer_systems import NEURAL_STYLE, System, export_weights, run_system

from neural_style_tf.utils.atomic import atomic_path
from neural_style_tf.utils.runtime import start_tensorflow

OURS = {
    "original": {"preset": "original", "convolution": "auto"},
    "gatys": {"preset": "gatys", "convolution": "auto"},
    "balanced": {"preset": "balanced"},
    "balanced, no detail": {"preset": "balanced", "scale_detail": 0.0},
    "balanced, relative": {"preset": "balanced", "style_loss": "relative"},
    "balanced, moments": {"preset": "balanced", "style_loss": "moments"},
}
"""System → its preset and what is changed of it. The convolution changes the time, and the sixth digit."""
PEER = "neural-style 0.5.7"
RANGE = 30.0
"""Factor by which the strengths 0 and 1 turn the style weight of every system, down and up."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
PUBLISHED = 0.5
"""The strength that leaves a system as it is published."""


def paint_ours(
    session: object,
    changes: dict,
    strength: float,
    content: Image.Image,
    style: Image.Image,
    *,
    quick: bool,
) -> Image.Image:
    """Paint with one of our presets at a strength; in a session strengths compile nothing."""
    from neural_style_tf import Inputs
    from neural_style_tf.config.presets import preset
    from neural_style_tf.images import to_picture

    # As far up and down as the peer.
    config = preset(changes["preset"]).replace(strength_range=RANGE, strength=strength)
    config = config.replace(save_every=0, image_size=0)
    config = config.replace(**{name: value for name, value in changes.items() if name != "preset"})
    if quick:
        config = config.replace(iterations=2, scales=1, scale_iterations=())
    pictures = [np.asarray(picture, np.float32) for picture in (content, style)]
    *_, record = session.run(Inputs(*pictures), config)
    return to_picture(record.best)


def paint_peer(strength: float, content: Image.Image, style: Image.Image, work: Path) -> Image.Image:
    """Paint with neural-style, at its own size and iterations, its style weight turned by the strength."""
    export_weights(work)
    paths = work / "content.png", work / "style.png"
    for picture, path in zip((content, style), paths, strict=True):
        picture.save(path)
    weight = 100 * RANGE ** (2 * strength - 1)
    # With its own total variation, which `run_system` takes away.
    flags = ("-optimizer", "lbfgs", "-tv_weight", "0.001", "-style_weight", f"{weight:g}")
    system = System(PEER, NEURAL_STYLE, "noise", flags)
    options = {"iterations": NEURAL_STYLE.iterations, "save_every": 0, "size": max(content.size)}
    options["environments"] = CACHE / "neural-style-tf-peers"
    run = run_system(system, *paths, work, python=sys.executable, **options)
    if run.problem:
        raise RuntimeError(run.problem)
    return Image.open(run.pictures[max(run.pictures)]).convert("RGB")


class Judge:
    """Judges the results of one pair; what is known of photo and style picture is computed once.

    Args:
        content: The photo.
        style: The style picture.
        features: From `distances.make_features`.
    """

    def __init__(self, content: Image.Image, style: Image.Image, features: object) -> None:
        self._features, self._size = features, content.size
        # The worst results for the content: the style picture itself, cut to the photo's shape.
        given = {"content": content, "style": style, "cut": ImageOps.fit(style, content.size)}
        self._pixels = {name: np.asarray(picture, np.float32) for name, picture in given.items()}
        self._maps = {name: features(pixels) for name, pixels in self._pixels.items()}
        self._worst: dict[tuple, float] = {}

    def __call__(self, result: Image.Image) -> dict[str, float]:
        """Return the distances of a result from style picture and photo, each a share of the worst."""
        result = result if result.size == self._size else result.resize(self._size)
        self._pixels["result"] = np.asarray(result, np.float32)
        self._maps["result"] = self._features(self._pixels["result"])
        of_style = {"to": "style", "worst": "content"}
        of_photo = {"to": "content", "worst": "cut"}
        layers = [
            self._share(distances.gaussian_w2, **of_style, layer=layer) for layer in distances.STYLE_LAYERS
        ]
        content = self._share(distances.content_distance, **of_photo, layer=distances.CONTENT_LAYER)
        return {
            "gaussians": float(np.mean(layers)),
            "patches": self._share(distances.patch_distance, **of_style),
            "colours": self._share(distances.colour_distance, **of_style),
            "ssim": self._share(distances.unlike_photo, **of_photo),
            "relu3_1": content,
        }

    def _share(self, distance: Callable, *, to: str, worst: str, layer: str = "") -> float:
        def between(one: str, other: str) -> float:
            sources = [self._maps[name][layer] if layer else self._pixels[name] for name in (one, other)]
            return distance(*sources)

        key = (distance, to, worst, layer)
        if key not in self._worst:
            self._worst[key] = between(worst, to)
        return between("result", to) / self._worst[key]


def area(curves: dict[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """Return each curve's mean height over the range of x that all cover; NaN where they share none."""
    low = max(min(x for x, _ in points) for points in curves.values())
    high = min(max(x for x, _ in points) for points in curves.values())
    grid = np.linspace(low, high, 101)
    heights = {
        name: float(np.interp(grid, *np.array(sorted(points)).T).mean()) for name, points in curves.items()
    }
    return heights if high > low else dict.fromkeys(curves, float("nan"))


def beside(point: tuple[float, float], curve: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the y of a curve at a point's x, and its x at the point's y; NaN where it does not reach."""
    across, up = np.array(sorted(curve)), np.array(sorted(curve, key=lambda place: place[1]))
    missing = {"left": np.nan, "right": np.nan}
    return float(np.interp(point[0], *across.T, **missing)), float(
        np.interp(point[1], *up.T[::-1], **missing)
    )


def plot(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
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


def report(curves: dict[str, list[tuple[float, float]]]) -> None:
    """Print how high the curves are, and the points beside that of `balanced`."""
    lines = {name: points for name, points in curves.items() if len(points) > 1}
    if lines:
        print("\n| system | mean distance from the style, at equal distance from the photo |\n|---|---|")
        for system, height in sorted(area(lines).items(), key=lambda item: item[1]):
            print(f"| {system} | {height:.3f} |")
    points = {name: found[0] for name, found in curves.items() if len(found) == 1}
    if points and "balanced" in lines:
        columns = ("system", "from the photo", "from the style")
        columns += ("`balanced`, from the style, as far from the photo",)
        columns += ("`balanced`, from the photo, as far from the style",)
        print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
        for name, point in points.items():
            figures = [*point, *beside(point, lines["balanced"])]
            print(
                f"| {name} | " + " | ".join("–" if np.isnan(one) else f"{one:.3f}" for one in figures) + " |"
            )


def main() -> None:
    """Paint, judge, and print the tables."""
    cache = CACHE / "neural-style-tf" / "tradeoff"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=PAIRS[:4], metavar="PHOTO:STYLE")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--systems", nargs="+", default=[*OURS, PEER], choices=[*OURS, PEER])
    parser.add_argument("--once", nargs="+", default=[], choices=[*OURS, PEER])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--work", type=Path, default=cache, help="folder for results and environments")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--quick", action="store_true", help="one tiny pair, to see that this script works")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.strengths, options.size = PAIRS[:1], [0.25, 0.75], 64
        options.systems, options.once = ["balanced", "balanced, relative", "gatys"], ["gatys"]
        options.work = ROOT / "build" / "tradeoff-quick"
    # neural-style runs in a folder of its own.
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    start_tensorflow()
    from neural_style_tf import Session
    from neural_style_tf.config.presets import preset
    from neural_style_tf.weights.resolve import load_weights

    weights = load_weights("bundled")
    # What was painted by other code, or on another network, is painted anew.
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.strip()
    version = f"{commit} {weights.sha256}"
    features, session = distances.make_features(weights), Session(weights)
    rows: dict[tuple[str, float], list[dict[str, float]]] = defaultdict(list)
    for pair in options.pairs:
        pictures = [
            ImageOps.exif_transpose(Image.open(locate(name))).convert("RGB") for name in pair.split(":")
        ]
        for picture in pictures:
            picture.thumbnail((options.size, options.size), Image.Resampling.LANCZOS)
        judge = Judge(*pictures, features)
        for system in options.systems:
            settings = system
            if system in OURS:
                settings = json.dumps([dataclasses.asdict(preset(OURS[system]["preset"])), OURS[system]])
            for strength in [PUBLISHED] if system in options.once else options.strengths:
                kind = f"{pair} {settings} {RANGE} {strength} {options.size} {options.quick} {version}"
                key = hashlib.sha256(kind.encode())
                path = options.work / f"{key.hexdigest()[:16]}.png"
                if not path.exists():
                    try:
                        if system == PEER:
                            painted = paint_peer(strength, *pictures, options.work)
                        else:
                            painted = paint_ours(
                                session, OURS[system], strength, *pictures, quick=options.quick
                            )
                    except RuntimeError as error:
                        print(f"{pair}, {system}, {strength}: {error}", file=sys.stderr, flush=True)
                        continue
                    with atomic_path(path) as file:
                        painted.save(file)
                rows[system, strength].append(judge(Image.open(path)))
                print(f"{pair}, {system}, {strength}", file=sys.stderr, flush=True)
    # A mean over some of the pairs would not compare with one over all.
    rows = {key: found for key, found in rows.items() if len(found) == len(options.pairs)}
    names = ("gaussians", "patches", "colours", "ssim", "relu3_1")
    print("| system | strength | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 2) + "|")
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (system, strength), found in rows.items():
        means = [float(np.mean([one[name] for one in found])) for name in names]
        print(f"| {system} | {strength:g} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
        curves[system].append((float(np.mean(means[3:])), float(np.mean(means[:3]))))
    report(curves)
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
