"""Paint many pairs with one preset and no tuning, and put the results on one sheet.

    python benchmarks/sheets.py pairs|strengths|sizes [--out FILE.jpg] [--preset NAME] [--size N] [--quick]
    python benchmarks/sheets.py rows --out FILE.jpg --rows CAPTION=FILE,FILE … [--height 256]

`pairs` are twelve, each at a size of its own, for which a photo that is too small is enlarged. `strengths` is
one pair at five strengths. `sizes` asks whether small and large paintings of a pair look alike: three pairs
at three sizes, as the preset begins them and from three scales, all shrunk to the smallest size and compared
with the first: by the measures `w2` and `colours`, each as a share of the distance between photo and style
picture. 0 is the same painting. `rows` puts picture files side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import PAIRS, load_pair, paint, print_header, print_row, read_options, settings, start
from PIL import Image, ImageDraw, ImageFont

import neural_style_tf as nst
from neural_style_tf.evaluation.catalogue import BY_NAME
from neural_style_tf.evaluation.looks import Trial, Viewer
from neural_style_tf.images import resize

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
QUICK = {"iterations": 2, "scales": 1, "scale_iterations": ()}
GAP, HEIGHT = 6, 240
LANCZOS = Image.Resampling.LANCZOS
Cell = tuple[Image.Image, str]
"""A picture and its caption."""


def fit(picture: Image.Image, height: int) -> Image.Image:
    """Return a picture at a height."""
    return picture.convert("RGB").resize((round(picture.width * height / picture.height), height), LANCZOS)


def read(item: str, height: int) -> Cell:
    """Return the picture of `CAPTION=FILE` at a height, and the caption."""
    caption, _, path = item.rpartition("=")
    with Image.open(path) as picture:
        return fit(picture, height), caption


def sheet(rows: list[list[Cell]], height: int) -> Image.Image:
    """Return rows of captioned pictures on white."""
    line = 22 if any(caption for row in rows for _, caption in row) else 0
    width = max(sum(picture.width + GAP for picture, _ in row) for row in rows) - GAP
    page = Image.new("RGB", (width, len(rows) * (height + line + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for index, row in enumerate(rows):
        x, y = 0, index * (height + line + GAP)
        for picture, caption in row:
            page.paste(picture, (x, y))
            draw.text((x + 2, y + height + 2), caption, "black", font)
            x += picture.width + GAP
    return page


def paint_all(jobs: list[tuple[str, str, int, nst.Config]]) -> Iterator[Cell]:
    """Paint each (label, pair, size, settings), print its seconds and losses, and yield it for the sheet."""
    print_header("pair", "seconds", "content", "style")
    for label, pair, size, config in jobs:
        pictures, began = load_pair(pair, size, enlarge=True), time.monotonic()
        # In a session of its own, which keeps nothing: its seconds are those of a first painting.
        record = paint(nst.Session(nst.load_weights("bundled"), keep_bytes=0), pictures, config)
        seconds, losses = f"{time.monotonic() - began:.0f}", record.terms
        print_row(label, seconds, f"{losses['content']:.4g}", f"{losses['style']:.4g}")
        yield fit(nst.to_picture(record.best), HEIGHT), f"{label}, {seconds} s"


def paint_sizes(pairs: tuple[str, ...], sizes: list[int], scales: list[int], quick: dict) -> Iterator[Cell]:
    """Paint each pair at each size, print how far they are from the first, and yield them."""
    weights = nst.load_weights("bundled")
    session, viewer = nst.Session(weights), Viewer(weights)
    chosen = [BY_NAME[name] for name in ("w2", "colours")]
    print_header("pair", "scales", "size", *(measure.name for measure in chosen))
    for pair in pairs:
        for count in scales:
            config, first = settings(log_every=100, **quick), None
            if count:
                config = config.replace(scales=count, scale_iterations=(120, 100, 100)[: count - 1])
            for size in sizes:
                pictures = load_pair(pair, size, enlarge=True)
                painting = nst.to_picture(paint(session, pictures, config).best)
                if first is None:
                    first = painting
                    photo, style = (
                        viewer.look(resize(pixels, (first.height, first.width))) for pixels in pictures
                    )
                    far, near = Trial(photo, photo, style), viewer.look(np.asarray(first))
                shrunk = painting.resize(first.size, LANCZOS)
                trial = Trial(viewer.look(np.asarray(shrunk)), photo, near)
                shares = [measure.function(trial) / measure.function(far) for measure in chosen]
                print_row(pair, count, size, *(f"{share:.3f}" for share in shares))
                yield fit(shrunk, HEIGHT), f"{pair}, scales {count}, {size} px"


def main() -> None:
    """Paint, print a table, write the sheet."""
    kinds = ("pairs", "strengths", "sizes", "rows")
    options = read_options(
        __doc__, {"size": 32}, kinds, out=Path, preset="balanced", size=0, rows=[""], height=256
    )
    quick = QUICK if options.quick else {}
    if options.kind == "rows":
        rows = [[read(item, options.height) for item in row.split(",")] for row in options.rows]
        sheet(rows, options.height).save(options.out, quality=90)
        return
    start()
    config = settings(options.preset, log_every=100, **quick)
    if options.kind == "pairs":
        sizes = {pair: options.size or size for pair, size in SIZES.items()}
        jobs = [(f"{pair}, {size} px", pair, size, config) for pair, size in sizes.items()]
        width, cells = 4, paint_all(jobs[: 1 if quick else None])
    elif options.kind == "strengths":
        strengths = [config.replace(strength=strength) for strength in (0.0, 0.25, 0.5, 0.75, 1.0)]
        jobs = [(f"strength {one.loss.strength}", PAIRS[0], options.size or 256, one) for one in strengths]
        width, cells = 5, paint_all(jobs[: 1 if quick else None])
    else:
        sizes, scales = ([48, 64], [0]) if quick else ([256, 512, 1024], [0, 3])
        width, cells = 3, paint_sizes(PAIRS[1 : 2 if quick else 4], sizes, scales, quick)
    cells = list(cells)
    if options.out:
        rows = [cells[first : first + width] for first in range(0, len(cells), width)]
        sheet(rows, HEIGHT).save(options.out, quality=88)


if __name__ == "__main__":
    main()
