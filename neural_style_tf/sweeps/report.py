"""Overview of a sweep: `table.csv`, `sheet.jpg` and `index.html`, rewritten as runs finish."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

from neural_style_tf.errors import reason, show
from neural_style_tf.evaluation.columns import CHEAP
from neural_style_tf.runs.resume import find_manifest
from neural_style_tf.sweeps.folder import Runs
from neural_style_tf.utils.files import atomic_file, write_table, write_text

# Sizes of the sheet, in pixels: largest and smallest side of a thumbnail, gap between thumbnails, height of a
# line of text, largest side of the sheet without labels.
THUMBNAIL, SMALLEST_THUMBNAIL, GAP, LINE, LARGEST = 256, 16, 8, 20, 16_000
# Most columns and most rows of a sheet. The page shows all runs.
MOST_SHOWN = LARGEST // (SMALLEST_THUMBNAIL + GAP + LINE)
TEMPLATE = Path(__file__).with_name("index.html")


def write_report(root: Path, runs: Runs) -> list[str]:
    """Write table, page and sheet of a sweep into `root`; return a line for each that cannot be written."""
    facts = [_facts(root / folder) | {"folder": folder, **settings} for folder, settings in runs.items()]
    names = list(next(iter(runs.values()), ()))
    measures = [one.name for one in CHEAP if any(one.name in row for row in facts)]
    columns = [*names, "status", "total", "content", "style", "tv", *measures, "steps", "seconds", "folder"]
    parts = {
        "table.csv": lambda path: write_table(path, columns, facts),
        "index.html": lambda path: _write_page(path, columns, facts),
        "sheet.jpg": lambda path: _write_sheet(path, runs),
    }
    lines = []
    for name, write in parts.items():
        try:
            write(root / name)
        except Exception as error:
            lines.append(
                f"{show(root / name)} could not be written: {reason(error)}; the results are beside it"
            )
    return lines


def _facts(folder: Path) -> dict[str, Any]:
    """Return a run's losses, measures, steps, seconds and status, by name, without those not known yet."""
    manifest = find_manifest(folder)
    if manifest is None:
        return {"status": "waiting"}
    losses = manifest.final or {}
    row = {name: losses.get(name) for name in ("total", "content", "style", "tv")}
    row |= {"steps": manifest.steps, "seconds": manifest.seconds, **(manifest.measures or {})}
    row["status"] = manifest.status.partition(":")[0]
    return {name: value for name, value in row.items() if value is not None}


def _picture(folder: Path) -> Path:
    """Return the path of a run's picture: its result, or the first frame of a clip. It may not exist yet."""
    return min(folder.glob("frames/frame-*.png"), default=folder / "result.png")


def _write_sheet(path: Path, runs: Runs) -> None:
    with atomic_file(path) as file:
        make_sheet(path.parent, runs).save(file, "JPEG", quality=88)


def make_sheet(root: Path, runs: Runs) -> Image.Image:
    """Return a grid of the results: a column for each value of the second setting, rows for all others.

    Rows and columns after the first `MOST_SHOWN` are left out.
    """
    names = list(next(iter(runs.values())))
    across = names[1] if len(names) > 1 else names[0] if names else ""
    down = [name for name in names if name != across]
    cells = {
        (tuple(settings[name] for name in down), settings.get(across, "")): _picture(root / folder)
        for folder, settings in runs.items()
    }
    rows = list(dict.fromkeys(row for row, _ in cells))[:MOST_SHOWN]
    columns = list(dict.fromkeys(column for _, column in cells))[:MOST_SHOWN]
    side = max(
        SMALLEST_THUMBNAIL, min(THUMBNAIL, LARGEST // len(columns) - GAP, LARGEST // len(rows) - GAP - LINE)
    )
    thumbnails = {
        (row, column): _thumbnail(cells.get((row, column)), side) for row in rows for column in columns
    }
    height = max((picture.height for picture in thumbnails.values() if picture), default=side)
    font = ImageFont.load_default(13)
    labels = [
        ", ".join(f"{name}={_short(value)}" for name, value in zip(down, row, strict=True)) for row in rows
    ]
    left = round(max(map(font.getlength, labels))) + GAP if any(labels) else 0
    size = left + len(columns) * (side + GAP), LINE + len(rows) * (height + GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for x, column in enumerate(columns):
        text = f"{across}={_short(column)}" if across else ""
        draw.text((left + x * (side + GAP), 2), text, "black", font)
    for y, (row, label) in enumerate(zip(rows, labels, strict=True)):
        top = LINE + y * (height + GAP)
        draw.text((2, top + height // 2), label, "black", font)
        for x, column in enumerate(columns):
            if picture := thumbnails[row, column]:
                sheet.paste(picture, (left + x * (side + GAP), top))
    return sheet


def _thumbnail(path: Path | None, side: int) -> Image.Image | None:
    """Return a small copy of a picture; None if the file is missing, damaged, or too large for Pillow."""
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((side, side))
            return small
    except (OSError, Image.DecompressionBombError):
        return None


def _short(value: str) -> str:
    text = show(value)
    return text if len(text) <= 28 else f"…{text[-27:]}"


def _write_page(path: Path, columns: list[str], facts: list[dict[str, Any]]) -> None:
    rows = []
    for row in facts:
        picture = _picture(path.parent / row["folder"])
        clip = path.parent / row["folder"] / "result.mp4"
        source, link = (
            quote(str(file.relative_to(path.parent)))
            for file in (picture, clip if clip.exists() else picture)
        )
        image = f'<a href="{link}"><img loading="lazy" alt="" src="{source}"></a>' if picture.exists() else ""
        cells = "".join(f"<td>{html.escape(_digits(row.get(name, '')))}</td>" for name in columns)
        rows.append(f"<tr><td>{image}</td>{cells}</tr>")
    heads = "".join(
        f'<th><button data-column="{index}">{html.escape(name)}</button></th>'
        for index, name in enumerate(columns, 1)
    )
    text = TEMPLATE.read_text(encoding="utf-8")
    title = html.escape(show(path.parent.resolve().name))
    for mark, value in (("TITLE", title), ("HEADS", heads), ("ROWS", "\n".join(rows))):
        text = text.replace(f"<!--{mark}-->", value)
    write_text(path, text)


def _digits(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
