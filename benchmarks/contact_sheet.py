"""Paint many pairs with one preset and no tuning, and put the results on one sheet.

    python benchmarks/contact_sheet.py [OUT.jpg] [--size 384] [--preset NAME] [--strengths 0 0.25 …] [--quick]

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

from neural_style_tf.runtime import start_tensorflow

PAIRS = (
    "astronaut:strokes",
    "chelsea:mosaic",
    "coffee:watercolour",
    "rocket:starry_night",
    "astronaut:ink",
    "chelsea:watercolour",
    "coffee:mosaic",
    "rocket:strokes",
)


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
    from neural_style_tf.weights.resolve import load_weights

    paths = [ROOT / "examples" / f"{name}.jpg" for name in pair.split(":")]
    content, style = (load_image(path, longest=config.image_size).pixels for path in paths)
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
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--strengths", type=float, nargs="+")
    parser.add_argument("--quick", action="store_true", help="one tiny pair, write nothing")
    options = parser.parse_args()
    start_tensorflow()
    from neural_style_tf.presets import preset

    config = preset(options.preset).replace(image_size=32 if options.quick else options.size, save_every=0)
    jobs = [(pair, config, pair) for pair in PAIRS]
    if options.strengths:
        jobs = [
            (PAIRS[0], config.replace(strength=value), f"strength {value}") for value in options.strengths
        ]
    if options.quick:
        jobs = [(PAIRS[0], config.replace(iterations=2, scales=1, scale_iterations=()), PAIRS[0])]
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
