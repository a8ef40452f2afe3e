"""What shows a sweep at a glance: `table.csv`, `sheet.jpg` and `index.html`, made anew as runs finish."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

from neural_style_tf.errors import reason, show
from neural_style_tf.sweeps.folder import SweepFolder, SweptRun
from neural_style_tf.utils.atomic import atomic_file, write_text

THUMBNAIL, GAP, LINE, LARGEST = 256, 8, 20, 16_000
"""Sizes of the sheet, in pixels; of the last, no side of it is larger, labels aside."""
SMALLEST = 16
MOST_SHOWN = LARGEST // (SMALLEST + GAP + LINE)
"""Of a thumbnail, its side; the columns and the rows of a sheet, at most: the page has all runs."""
TEMPLATE = Path(__file__).with_name("index.html")


def write_report(folder: SweepFolder, runs: Sequence[SweptRun]) -> list[str]:
    """Write the table, the page and the sheet of a sweep; return a line for each that cannot be written."""
    facts = [_facts(folder, run) for run in runs]
    names = list(runs[0].settings) if runs else []
    columns = [*names, "status", "total", "content", "style", "tv", "steps", "seconds", "folder"]
    parts = {
        "table.csv": lambda path: _write_table(path, columns, facts),
        "index.html": lambda path: _write_page(path, columns, facts),
        "sheet.jpg": lambda path: _write_sheet(path, runs),
    }
    lines = []
    for name, write in parts.items():
        path = folder.path / name
        try:
            write(path)
        except Exception as error:
            lines.append(f"{show(path)} could not be written: {reason(error)}; the results are beside it")
    return lines


def _write_table(path: Path, columns: list[str], facts: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(facts)
    write_text(path, text.getvalue())


def _write_sheet(path: Path, runs: Sequence[SweptRun]) -> None:
    sheet = make_sheet(runs, {run.folder: _picture(path.parent / run.folder) for run in runs})
    with atomic_file(path) as file:
        sheet.save(file, "JPEG", quality=88)


def make_sheet(runs: Sequence[SweptRun], pictures: dict[str, Path]) -> Image.Image:
    """Return the results in a grid: the second setting across, all others down.

    Args:
        runs: All of them; of more than `MOST_SHOWN` columns or rows the first are shown.
        pictures: Folder of a run → its result, which may not be there yet.
    """
    names = list(runs[0].settings)
    across = names[1] if len(names) > 1 else names[0] if names else ""
    down = [name for name in names if name != across]
    columns = list(dict.fromkeys(run.settings.get(across, "") for run in runs))[:MOST_SHOWN]
    rows = list(dict.fromkeys(tuple(run.settings[name] for name in down) for run in runs))[:MOST_SHOWN]
    cells = {(tuple(run.settings[n] for n in down), run.settings.get(across, "")): run for run in runs}
    side = max(SMALLEST, min(THUMBNAIL, LARGEST // len(columns) - GAP, LARGEST // len(rows) - GAP - LINE))
    font = ImageFont.load_default(13)
    left = 0
    labels = [
        ", ".join(f"{name}={_short(value)}" for name, value in zip(down, row, strict=True)) for row in rows
    ]
    if any(labels):
        left = round(max(font.getlength(label) for label in labels)) + GAP
    thumbnails = {
        (row, value): _thumbnail(pictures[cells[row, value].folder], side) if (row, value) in cells else None
        for row in rows
        for value in columns
    }
    # What is not there yet is about as high as what is.
    found = [picture.height for picture in thumbnails.values() if picture]
    heights = [
        max([picture.height for value in columns if (picture := thumbnails[row, value])], default=0)
        or max(found, default=side)
        for row in rows
    ]
    size = left + len(columns) * (side + GAP), LINE + sum(height + GAP for height in heights)
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for index, value in enumerate(columns):
        text = f"{across}={_short(value)}" if across else ""
        draw.text((left + index * (side + GAP), 2), text, "black", font)
    top = LINE
    for row, label, height in zip(rows, labels, heights, strict=True):
        draw.text((2, top + height // 2), label, "black", font)
        for x, value in enumerate(columns):
            if picture := thumbnails[row, value]:
                page.paste(picture, (left + x * (side + GAP), top))
        top += height + GAP
    return page


def _thumbnail(path: Path, side: int) -> Image.Image | None:
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


def _facts(folder: SweepFolder, run: SweptRun) -> dict[str, Any]:
    """Return the row of a run; what is not known yet is left out."""
    manifest = folder.manifest(run)
    found: dict[str, Any] = {**run.settings, "folder": run.folder, "status": "waiting"}
    if manifest is None:
        return found
    found["status"] = manifest.status.partition(":")[0]
    final = manifest.final or {}
    found |= {name: final[name] for name in ("total", "content", "style", "tv") if name in final}
    found |= {"steps": manifest.steps, "seconds": manifest.seconds}
    return {name: value for name, value in found.items() if value is not None}


def _picture(folder: Path) -> Path:
    """Return the result of a run, or the first frame of a clip."""
    return min(folder.glob("frames/frame-*.png"), default=folder / "result.png")


def _digits(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_page(path: Path, columns: list[str], facts: list[dict[str, Any]]) -> None:
    rows = []
    for one in facts:
        shown = _picture(path.parent / one["folder"])
        clip = shown.parent.parent / "result.mp4"
        picture, link = (
            quote(str(file.relative_to(path.parent))) for file in (shown, clip if clip.exists() else shown)
        )
        image = f'<a href="{link}"><img loading="lazy" alt="" src="{picture}"></a>' if shown.exists() else ""
        cells = "".join(f"<td>{html.escape(_digits(one.get(name, '')))}</td>" for name in columns)
        rows.append(f"<tr><td>{image}</td>{cells}</tr>")
    heads = "".join(
        f'<th><button data-column="{i}">{html.escape(n)}</button></th>' for i, n in enumerate(columns, 1)
    )
    text = TEMPLATE.read_text(encoding="utf-8")
    title = html.escape(show(path.parent.resolve().name))
    for mark, value in (("TITLE", title), ("HEADS", heads), ("ROWS", "\n".join(rows))):
        text = text.replace(f"<!--{mark}-->", value)
    write_text(path, text)
