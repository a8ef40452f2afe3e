"""Paint many pairs with one preset and no tuning, and put the results on one sheet.

    python benchmarks/sheets.py pairs|strengths|qualities|sizes [--out FILE.jpg] [--preset NAME] [--size N]
        [--pairs "PHOTO:STYLE …"] [--pictures FOLDER] [--keep FOLDER] [--before SETTING=VALUE]
        [--quick]
    python benchmarks/sheets.py rows --out FILE.jpg --rows CAPTION=FILE,FILE … [--height 256]

`pairs` are twelve at 512 pixels, before a change of one setting and after it; photos that are too small are
enlarged. Pictures that are not among the examples are read from a folder; pairs without are left out.
`strengths` and `qualities` are one pair at five strengths, and in three qualities. `sizes` asks whether small
and large paintings of a pair look alike: three pairs at three sizes, as the preset begins them and from three
scales, all shrunk to the smallest size and compared with the first: by the measures `w2` and `colours`, each
as a share of the distance between photo and style picture. 0 is the same painting. `rows` puts picture files
side by side. --keep writes paintings as SETTINGS/PHOTO_STYLE.png, for `neural-style-tf-evaluate`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from common import (
    PAIRS,
    PICTURES,
    load_pair,
    locate,
    paint,
    print_header,
    print_row,
    read_options,
    settings,
    start,
)
from PIL import Image, ImageDraw, ImageFont

import neural_style_tf as nst
from neural_style_tf.evaluation.columns import BY_NAME, judge
from neural_style_tf.evaluation.looks import Trial, Viewer
from neural_style_tf.images import resize

MANY = (
    "astronaut:picasso_selfport1907",
    "astronaut:ink",
    "anishathalye_1_content:starry_night",
    "chelsea:frida_kahlo",
    "coffee:picasso_selfport1907",
    "coffee:mosaic",
    "rocket:frida_kahlo",
    "tubingen:frida_kahlo",
    "tubingen:the_scream",
    "tubingen:seated-nude",
    "tubingen:shipwreck",
    "tubingen:starry_night",
)
"""Faces, an animal, a still life, a night, water; portraits, landscapes, cubism, ink, mosaic."""
JUDGED = ("copied", "foreign", "w2", "ssim")
"""Measures of `pairs`, by the columns of docs/evaluation.md."""
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


def paint_all(
    pairs: Iterable[str], size: int, settings_of: dict[str, nst.Config], folder: Path | None
) -> Iterator[Cell]:
    """Paint pairs with each label's settings, print processor time, losses and measures, and yield them."""
    weights = nst.load_weights("bundled")
    viewer, chosen = Viewer(weights), [BY_NAME[name] for name in JUDGED]
    print_header("pair", "settings", "processor s", "content", "style", *JUDGED)
    for pair in pairs:
        pictures = load_pair(pair, size, enlarge=True)
        photo, style = map(viewer.look, pictures)
        for label, config in settings_of.items():
            began = time.process_time()
            # In a session of its own, which keeps nothing: its seconds are those of a first painting.
            record = paint(nst.Session(weights, keep_bytes=0), pictures, config)
            seconds, losses = time.process_time() - began, record.terms
            painting = nst.to_picture(record.best)
            values = judge(Trial(viewer.look(np.asarray(painting)), photo, style), chosen)
            figures = [losses["content"], losses["style"], *values.values()]
            print_row(pair, label, f"{seconds:.0f}", *(f"{figure:.3g}" for figure in figures))
            if folder:
                (folder / label).mkdir(parents=True, exist_ok=True)
                painting.save(folder / label / f"{pair.replace(':', '_')}.png")
            yield fit(painting, HEIGHT), f"{pair.partition(':')[2]}, {label}"


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
    kinds = ("pairs", "strengths", "qualities", "sizes", "rows")
    options = read_options(
        __doc__,
        {"size": 32},
        kinds,
        out=Path,
        preset="balanced",
        size=0,
        pairs=[""],
        pictures=Path,
        keep=Path,
        before="coarse_content=1",
        rows=[""],
        height=256,
    )
    quick = QUICK if options.quick else {}
    if options.kind == "rows":
        rows = [[read(item, options.height) for item in row.split(",")] for row in options.rows]
        sheet(rows, options.height).save(options.out, quality=90)
        return
    if options.pictures:
        PICTURES.append(options.pictures)
    start()
    config = settings(options.preset, log_every=100, **quick)
    if options.kind == "sizes":
        sizes, scales = ([48, 64], [0]) if quick else ([256, 512, 1024], [0, 3])
        width, cells = 3, paint_sizes(PAIRS[1 : 2 if quick else 4], sizes, scales, quick)
    else:
        name, _, text = options.before.partition("=")
        variants = {
            "pairs": {"before": config.replace(**{name: text}), "after": config},
            "strengths": {f"strength {x:g}": config.replace(strength=x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)},
            "qualities": {word: config.replace(quality=word) for word in ("draft", "normal", "fine")},
        }[options.kind]
        pairs = options.pairs[0].split() or (MANY if options.kind == "pairs" else PAIRS[:1])
        for pair in pairs:
            if missing := [name for name in pair.split(":") if not locate(name).is_file()]:
                print(f"{pair} is left out: no picture {missing[0]} (--pictures)", file=sys.stderr)
        pairs = [pair for pair in pairs if all(locate(name).is_file() for name in pair.split(":"))]
        size = options.size or (512 if options.kind == "pairs" else 256)
        width = 4 if options.kind == "pairs" else len(variants)
        cells = paint_all(pairs[: 1 if quick else None], size, variants, options.keep)
    cells = list(cells)
    if options.out:
        rows = [cells[first : first + width] for first in range(0, len(cells), width)]
        sheet(rows, HEIGHT).save(options.out, quality=88)


if __name__ == "__main__":
    main()
