"""Put pictures side by side, as the README shows them.

    python benchmarks/sheets.py OUT.jpg ROWS [--height 256]

ROWS is one argument for each row: picture files separated by commas, optionally `caption=file`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

GAP = 6


def read(item: str, height: int) -> tuple[Image.Image, str]:
    """Return a picture scaled to a height, and its caption."""
    caption, _, path = item.rpartition("=")
    with Image.open(path) as picture:
        width = round(picture.width * height / picture.height)
        return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), caption


def sheet(rows: list[list[tuple[Image.Image, str]]], height: int) -> Image.Image:
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


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="put two small squares together, write nothing")
    options = parser.parse_args()
    if options.quick:
        squares = [(Image.new("RGB", (8, 8), colour), colour) for colour in ("red", "blue")]
        page = sheet([squares], 8)
        print(f"| width | height |\n|---|---|\n| {page.width} | {page.height} |")
        return
    rows = [[read(item, options.height) for item in row.split(",")] for row in options.rows]
    sheet(rows, options.height).save(options.out, quality=90)


if __name__ == "__main__":
    main()
