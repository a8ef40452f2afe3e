"""Paint a clip in several ways: how much it flickers, how well each frame is painted, how long that takes.

    python benchmarks/video.py [--clip made|FILE] [--start 1] [--frames 10] [--size 320] [--still 20]
                               [--ways WORD …] [--preset balanced] [--save FOLDER] [--quick]

The made clip is a pan and zoom over one example, with a person cut out of another moving across. Each way is
one command as a user gives it. The warping error is the mean difference of a frame from the one before it,
moved along the flow of the clip, in grey levels, wherever that is reliable: of what is painted and, below it,
of the clip itself. RMSE is the root mean square of the same, from a frame 1 and 10 before. Style and content
are the losses of the preset. `still` is a clip whose frames are all the same: how much they change from one
to the next, and how far their mean brightness drifts.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import EXAMPLES, Ended, print_header, print_row, read_options, run_command, scratch

sys.path.insert(0, str(EXAMPLES))

from make_clip import make_clip

import neural_style_tf as nst
from neural_style_tf.images import resize
from neural_style_tf.images.color_transfer import luma
from neural_style_tf.video.flow import dis_flow, reliability, warp
from neural_style_tf.video.read import open_clip

WAYS = {
    "each alone": None,
    "warped start": ("--temporal_weight=0",),
    "short-term": ("--long_term=1",),
    "long-term": (),
}
"""Way → flags of a clip; a sweep over single pictures has none."""


def read_clip(path: str, first: int, count: int, width: int) -> list[np.ndarray]:
    """Return frames of a video file at a width, float32 [H, W, 3]."""
    frames = [frame.pixels for frame in open_clip(path).read(range(first, first + count))]
    height = round(width * frames[0].shape[0] / frames[0].shape[1])
    return [resize(frame, (height, width)) for frame in frames]


def write_frames(frames: Sequence[np.ndarray], folder: Path) -> Path:
    """Write frames as PNG files, numbered from 1."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        nst.save_image(folder / f"{number:04}.png", frame)
    return folder


def warping_errors(sources: Sequence[np.ndarray], frames: Sequence[np.ndarray]) -> list[str]:
    """Return the mean difference of each frame from the one before, moved along, and the two RMSE."""
    differences, squares = [], {1: [], 10: []}
    for apart, errors in squares.items():
        for index in range(apart, len(frames)):
            earlier = index - apart
            backward, forward = dis_flow(earlier + 1, index + 1, sources[earlier], sources[index])
            reliable, warped = reliability(backward, forward) > 0, warp(frames[earlier], backward)
            change = (frames[index] - warped)[reliable]
            errors.append(np.sqrt(np.square(change).mean()))
            if apart == 1:
                differences.append(np.abs(change).mean())
    figures = [differences, *squares.values()]
    return [f"{np.nanmean(values):.3g}" if values else "–" for values in figures]


def paint(source: Path, way: str, flags: list[str], folder: Path) -> tuple[list[np.ndarray], list[dict]]:
    """Paint the frames of a folder; return them, and the last record of each with its own seconds."""
    flags = [f"--content={source}", f"--style={EXAMPLES / 'starry_night.jpg'}", "--save_every=0", *flags]
    if WAYS[way] is None:
        run_command(folder, *flags)
        runs = [Ended(0, "", 0.0, folder=path) for path in sorted(folder.glob("content=*"))]
        records = [run.records[-1] for run in runs]
        frames = [nst.load_image(run.folder / "result.png").pixels for run in runs]
        return frames, [record | {"iterations": record["step"]} for record in records]
    records = run_command(folder, *flags, *WAYS[way], "--frames").records
    moments = [0.0, *(record["seconds"] for record in records)]
    seconds = [after - before for before, after in itertools.pairwise(moments)]
    frames = [nst.load_image(path).pixels for path in sorted((folder / "frames").glob("*.png"))]
    return frames, [record | {"seconds": took} for record, took in zip(records, seconds, strict=True)]


def main() -> None:
    """Measure, and print the tables."""
    options = read_options(
        __doc__,
        {"size": 64, "frames": 3, "still": 2},
        clip="made",
        start=1,
        size=320,
        frames=10,
        still=20,
        ways=WAYS,
        preset="balanced",
        save=Path,
    )
    flags = [f"--preset={options.preset}", "--image_size=0"]
    flags += ["--scales=1", "--scale_iterations=", "--iterations=3"] if options.quick else []
    if options.clip == "made":
        clip = make_clip(options.frames, options.size)
    else:
        clip = read_clip(options.clip, options.start, options.frames, options.size)
    with scratch() as scratched:
        folder = options.save or scratched
        source = write_frames(clip, folder / "clip")
        print_header(
            "way",
            "warping error",
            "RMSE, 1 frame",
            "RMSE, 10 frames",
            "style",
            "content",
            "iterations",
            "s/frame",
        )
        for way in options.ways:
            frames, records = paint(source, way, flags, folder / way.replace(" ", "-"))
            # Two frames compile; the first is painted as a picture is.
            later = records[2:]
            means = [np.mean([record[key] for record in later]) for key in ("style", "content", "iterations")]
            seconds = statistics.median(record["seconds"] for record in later)
            print_row(way, *warping_errors(clip, frames), *(f"{value:.4g}" for value in (*means, seconds)))
        print_row("the clip itself", *warping_errors(clip, clip), "", "", "", "")
        if options.still:
            source = write_frames([clip[0]] * options.still, folder / "still")
            frames, _ = paint(source, "long-term", flags, folder / "still-painted")
            change = np.mean([np.abs(after - before).mean() for before, after in itertools.pairwise(frames)])
            levels = [float(luma(frame).mean()) for frame in frames]
            print(
                f"\n{options.still} equal frames: mean change from each to the next {change:.3f}, "
                f"drift of the mean brightness {max(levels) - min(levels):.3f} levels"
            )


if __name__ == "__main__":
    main()
