"""Paint many pairs with one preset and no tuning, and put the results on one sheet.

    python benchmarks/contact_sheet.py [OUT.jpg] [--size N] [--preset NAME] [--strengths 0 0.25 …] [--quick]

Each pair has a size of its own, for which a photo that is too small is enlarged; --size gives all the same.
With --strengths, one pair at each strength instead; its losses show that more strength is more style.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from sheets import read, sheet

from neural_style_tf.utils.runtime import start_tensorflow

SIZES = {
    "astronaut:strokes": 512,
    "chelsea:mosaic": 384,
    "coffee:watercolour": 600,
    "rocket:starry_night": 1024,
    "astronaut:ink": 768,
    "chelsea:watercolour": 256,
    "coffee:mosaic": 1024,
    "rocket:strokes": 512,
    "astronaut:mosaic": 384,
    "chelsea:starry_night": 512,
    "coffee:ink": 384,
    "rocket:watercolour": 768,
}
"""Pair → longest side in pixels."""
FIRST = next(iter(SIZES))


@dataclasses.dataclass(frozen=True)
class Painted:
    """A finished run."""

    label: str
    path: Path
    seconds: float
    content: float
    style: float


def paint(pair: str, config: object, label: str, folder: Path) -> Painted:
    """Paint one pair of example pictures and keep the result."""
    from neural_style_tf import load_image, save_image, stylize
    from neural_style_tf.images import resize
    from neural_style_tf.weights.resolve import load_weights

    paths = [ROOT / "examples" / f"{name}.jpg" for name in pair.split(":")]
    content, style = (load_image(path, longest=config.sizes.image_size).pixels for path in paths)
    larger = config.sizes.image_size / max(content.shape)
    content = resize(content, tuple(round(side * larger) for side in content.shape[:2]))
    start = time.monotonic()
    *_, record = stylize(content, style, config, weights=load_weights("bundled"))
    seconds = time.monotonic() - start
    path = folder / f"{pair.replace(':', '-')}-{label}.png"
    save_image(path, record.best)
    return Painted(label, path, seconds, record.terms["content"], record.terms["style"])


def main() -> None:
    """Paint, print a table, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--size", type=int, help="longest side of all; default: each pair's own")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--strengths", type=float, nargs="+")
    parser.add_argument("--quick", action="store_true", help="one tiny pair, write nothing")
    options = parser.parse_args()
    start_tensorflow()
    from neural_style_tf.config.presets import preset

    config = preset(options.preset).replace(save_every=0)
    sizes = {pair: options.size or size for pair, size in SIZES.items()}
    jobs = [(pair, config.replace(image_size=size), f"{pair}, {size} px") for pair, size in sizes.items()]
    if options.strengths:
        config = config.replace(image_size=options.size or 384)
        jobs = [(FIRST, config.replace(strength=value), f"strength {value}") for value in options.strengths]
    if options.quick:
        quick = {"image_size": 32, "iterations": 2, "scales": 1, "scale_iterations": ()}
        jobs = [(FIRST, config.replace(**quick), FIRST)]
    print("| pair | seconds | content | style |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        painted = []
        for job in jobs:
            painted.append(paint(*job, Path(folder)))
            last = painted[-1]
            print(
                f"| {last.label} | {last.seconds:.0f} | {last.content:.4g} | {last.style:.4g} |", flush=True
            )
        if options.out:
            cells = [read(f"{one.label}, {one.seconds:.0f} s={one.path}", 240) for one in painted]
            width = len(cells) if options.strengths else 4
            rows = [cells[start : start + width] for start in range(0, len(cells), width)]
            sheet(rows, 240).save(options.out, quality=88)


if __name__ == "__main__":
    main()
