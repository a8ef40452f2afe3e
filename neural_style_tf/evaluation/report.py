"""Write the report of `neural-style-tf-evaluate`: `evaluation.csv`, `.json`, `.md`, `.tex` and `.png`."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neural_style_tf.errors import UserError, show
from neural_style_tf.evaluation.columns import Measure
from neural_style_tf.evaluation.comparison import PHOTO, STYLE, Comparison
from neural_style_tf.evaluation.pairs import REPORT, System
from neural_style_tf.evaluation.statistics import Estimate
from neural_style_tf.utils.files import atomic_file, exists, is_file, write_table, write_text


def check_report(folder: Path, *, read: Iterable[Path], overwrite: bool) -> None:
    """Raise `UserError` if a report in `folder` could not be written, or would replace a file.

    `overwrite` allows it to replace an earlier report, but none of the files that the comparison reads.
    """
    present = [folder / name for name in REPORT.values() if exists(folder / name)]
    taken = {path.resolve() for path in read}
    for path in present:
        if path.resolve() in taken:
            raise UserError(f"{show(path)} is read here, and the report would replace it: give --output_dir")
        if not is_file(path):
            raise UserError(f"{show(path)} is not a file, so no report can be there: give --output_dir")
    if present and not overwrite:
        raise UserError(f"{show(present[0])} already exists: --overwrite replaces it, or give --output_dir")
    there = next((path for path in (folder, *folder.parents) if exists(path)), Path())
    if not there.is_dir():
        raise UserError(f"--output_dir: {show(there)} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--output_dir: permission denied in folder {show(there)}")


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write the files of `REPORT` into `folder`, which is created; raise `UserError` if that fails."""
    texts = {".json": to_json, ".md": to_markdown, ".tex": to_latex}
    columns = ["system", "content", "style", "result", *(one.name for one in comparison.measures)]
    rows = [
        dict(zip(columns, (row.system.name, *row.pair, row.result), strict=False)) | row.values
        for row in comparison.rows
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, make in texts.items():
            write_text(folder / REPORT[ending], make(comparison))
        write_table(folder / REPORT[".csv"], columns, rows)
        draw(comparison, folder / REPORT[".png"])
    except OSError as error:
        raise UserError(f"--output_dir: cannot write in {show(folder)}: {error.strerror or error}") from None


def to_json(comparison: Comparison) -> str:
    """Return all results as JSON: facts, measures, rows, means with intervals, differences, wins, votes."""
    measures, ours = comparison.measures, comparison.programs

    def by_name(values: Iterable[Any]) -> dict[str, Any]:
        return dict(zip([one.name for one in measures], values, strict=True))

    wins = {pair: by_name(comparison.wins(*pair)) for pair in itertools.permutations(ours, 2)}
    facts = {
        "facts": dict(comparison.facts),
        "measures": by_name(
            {
                "axis": one.axis,
                "unit": one.unit,
                "better": "less" if one.less_is_better else "more",
                "says": one.says,
            }
            for one in measures
        ),
        "pairs": [list(pair) for pair in comparison.pairs],
        "rows": [
            {"system": row.system.name, "pair": row.pair, "result": str(row.result), **row.values}
            for row in comparison.rows
        ],
        "means": {system.name: by_name(row) for system, row in comparison.means.items()},
        "differences from the first": {
            system.name: by_name(row) for system, row in comparison.differences.items()
        },
        "wins": {
            one.name: {
                system.name: {other.name: wins[system, other][one.name] for other in ours if other != system}
                for system in ours
            }
            for one in measures
        },
        "problems": comparison.problems,
        "notes": comparison.notes,
    }
    if comparison.votes:
        columns = ("rank correlation", "trials")
        facts["votes"] = by_name(
            dict(zip(columns, comparison.agreement(one), strict=True)) for one in measures
        )
    # JSON has null in place of NaN and infinities.
    facts = json.loads(json.dumps(facts), parse_constant=lambda name: None)
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """Return the report as Markdown: tables of means, differences, wins, votes and measures."""
    measures, ours = comparison.measures, comparison.programs
    names = [one.heading for one in measures]
    means = [[system.name, *map(_shown, row)] for system, row in comparison.means.items()]
    blocks = [
        "# Evaluation",
        "\n".join(f"- {name}: {value}" for name, value in comparison.facts.items()),
        f"Pairs: {len(comparison.pairs)}. Means with 95 % intervals (bootstrap over pairs). ↓ less is "
        "better, ↑ more.",
        _table(["system", *names], means),
    ]
    if len(ours) > 1:
        differences = [[system.name, *map(_marked, row)] for system, row in comparison.differences.items()]
        wins = [
            [system.name, other.name, *map(_percent, comparison.wins(system, other))]
            for system, other in itertools.permutations(ours, 2)
        ]
        blocks += [
            f"Differences from {ours[0].name} on the same pairs. **Bold**: the interval does not hold 0.",
            _table(["system", *names], differences),
            "Share of pairs in which a system is better than each other one.",
            _table(["system", "than", *names], wins),
        ]
    if comparison.votes:
        votes = [(one.name, *comparison.agreement(one)) for one in measures]
        blocks += [
            f"Rank correlation (Spearman) with {len(comparison.votes)} votes of people: 1 orders paintings "
            "as they do, 0 says nothing of it.",
            _table(
                ["measure", "trials", "correlation"],
                [[name, str(count), _shown(found)] for name, found, count in votes],
            ),
        ]
    blocks.append(measures_table(measures))
    if comparison.notes:
        blocks.append("\n".join(f"- {_cell(line)}" for line in comparison.notes))
    if comparison.problems:
        blocks.append("Not measured:\n\n" + "\n".join(f"- {_cell(line)}" for line in comparison.problems))
    return "\n\n".join(blocks) + "\n"


def measures_table(measures: Sequence[Measure]) -> str:
    """Return the table of measures as Markdown; docs/evaluation.md has it, too."""
    rows = [
        [f"`{one.name}`", one.axis, one.unit, "less" if one.less_is_better else "more", one.says]
        for one in measures
    ]
    return _table(["measure", "axis", "unit", "better", "what it compares"], rows)


def to_latex(comparison: Comparison) -> str:
    """Return the table of means as LaTeX with booktabs; the best system of each column is bold."""
    means = comparison.means
    best = []
    for place, one in enumerate(comparison.measures):
        badness = {system: one.badness(means[system][place].value) for system in comparison.programs}
        known = {system: value for system, value in badness.items() if not math.isnan(value)}
        best.append(min(known, key=known.get, default=None))
    arrows = {True: r"$\downarrow$", False: r"$\uparrow$"}
    heads = [f"{_tex(one.name)} {arrows[one.less_is_better]}" for one in comparison.measures]
    lines = [
        *(f"% {name}: {value}" for name, value in comparison.facts.items()),
        f"% means over {len(comparison.pairs)} pairs; below, 95 % intervals",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        r"\midrule",
    ]
    for system, row in means.items():
        if system == PHOTO:
            lines.append(r"\midrule")
        cells = [
            rf"\textbf{{{_rounded(found.value)}}}" if winner == system else _rounded(found.value)
            for winner, found in zip(best, row, strict=True)
        ]
        lines.append(" & ".join([_tex(system.name), *cells]) + r" \\")
        ends = [
            "" if math.isnan(found.low) else rf"\scriptsize [{_rounded(found.low)}, {_rounded(found.high)}]"
            for found in row
        ]
        if any(ends):
            lines.append(" & ".join(["", *ends]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def draw(comparison: Comparison, path: Path) -> None:
    """Plot missing style over lost content as a PNG: a point with intervals per system, a line per sweep."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines: dict[str, list[System]] = {}
    for system in comparison.systems:
        lines.setdefault(system.line or f"\0{system.name}", []).append(system)
    for name, systems in lines.items():
        systems.sort(key=lambda system: system.place)
        # The first two measures, `content_lost` and `style_missing`, are the axes of the plot.
        values, low, high = np.moveaxis([comparison.means[system][:2] for system in systems], -1, 0)
        bars = np.nan_to_num(np.maximum(0, [values - low, high - values]))
        axes.errorbar(
            *values.T,
            xerr=bars[..., 0],
            yerr=bars[..., 1],
            fmt={PHOTO: "kx", STYLE: "k+"}.get(systems[0], "o-"),
            elinewidth=0.6,
            markersize=6,
            label=_plain_label(name.removeprefix("\0") if len(systems) > 1 else systems[0].name),
        )
        if len(systems) > 1:
            for system, place in zip(systems, values, strict=True):
                text = system.name.rpartition("=")[2]
                axes.annotate(text, place, (4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="content lost, 0 as the photo", ylabel="style missing, 0 as the style picture")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _plain_label(text: str) -> str:
    """Escape `$`, which matplotlib takes for a formula, and drop a leading `_`, which its legend hides."""
    return text.replace("$", r"\$").lstrip("_") or "–"


def _rounded(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _shown(found: Estimate) -> str:
    if math.isnan(found.low):
        return _rounded(found.value)
    return f"{_rounded(found.value)} [{_rounded(found.low)}, {_rounded(found.high)}]"


def _marked(found: Estimate) -> str:
    return f"**{_shown(found)}**" if found.low > 0 or found.high < 0 else _shown(found)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(special.get(letter, letter) for letter in text)
