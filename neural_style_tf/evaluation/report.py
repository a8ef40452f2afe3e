"""What `neural-style-tf-evaluate` writes: `evaluation.csv`, `.json`, `.md`, `.tex` and `.png`."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from neural_style_tf.errors import UserError, show
from neural_style_tf.evaluation.catalogue import LOST, MISSING, Measure
from neural_style_tf.evaluation.comparison import PHOTO, STYLE, Comparison
from neural_style_tf.evaluation.pairs import REPORT, System
from neural_style_tf.evaluation.statistics import Estimate, difference, mean, win_rate
from neural_style_tf.utils.files import atomic_file, exists, is_file, write_text


def check_report(folder: Path, *, read: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace a file that is read, or an earlier report, and a folder that cannot be written to.

    Args:
        folder: Of the report; it need not exist.
        read: Files that the comparison reads.
        overwrite: Whether an earlier report may be replaced.
    """
    present = [folder / name for name in REPORT.values() if exists(folder / name)]
    taken = {path.resolve() for path in read}
    for path in present:
        if path.resolve() in taken:
            raise UserError(f"{show(path)} is read here, and the report would replace it: give --output_dir")
        if not is_file(path):
            raise UserError(f"{show(path)} is not a file, so no report can be there: give --output_dir")
    if present and not overwrite:
        raise UserError(f"{show(present[0])} is there already: --overwrite replaces it, or give --output_dir")
    there = next((path for path in (folder, *folder.parents) if exists(path)), Path())
    if not there.is_dir():
        raise UserError(f"--output_dir: {show(there)} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--output_dir: permission denied in folder {show(there)}")


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write all files."""
    texts = {".csv": to_csv, ".json": to_json, ".md": to_markdown, ".tex": to_latex}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, make in texts.items():
            write_text(folder / REPORT[ending], make(comparison))
        draw(comparison, folder / REPORT[".png"])
    except OSError as error:
        raise UserError(f"--output_dir: cannot write in {show(folder)}: {error.strerror or error}") from None


def to_csv(comparison: Comparison) -> str:
    """Return a row for each painting and control."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["system", "content", "style", "result", *(one.name for one in comparison.measures)])
    for row in comparison.rows:
        values = [row.values.get(measure.name, "") for measure in comparison.measures]
        writer.writerow([row.system.name, *row.pair, str(row.result), *values])
    return text.getvalue()


def to_json(comparison: Comparison) -> str:
    """Return everything: facts, measures, rows, means with intervals, differences, wins, votes."""
    systems, measures = comparison.systems, comparison.measures
    ours = [system for system in systems if system not in (PHOTO, STYLE)]
    facts = {
        "facts": dict(comparison.facts),
        "measures": {
            one.name: {
                "axis": one.axis,
                "unit": one.unit,
                "better": "less" if one.less_is_better else "more",
                "says": one.says,
            }
            for one in measures
        },
        "pairs": [list(pair) for pair in comparison.pairs],
        "rows": [
            {"system": row.system.name, "pair": row.pair, "result": str(row.result), **row.values}
            for row in comparison.rows
        ],
        "means": {
            system.name: {one.name: mean(comparison.values(system, one)) for one in measures}
            for system in systems
        },
        "differences from the first": {
            system.name: {
                one.name: difference(comparison.values(system, one), comparison.values(ours[0], one))
                for one in measures
            }
            for system in ours[1:]
        },
        "wins": {
            one.name: {
                system.name: {
                    other.name: win_rate(comparison.badness(system, one), comparison.badness(other, one))
                    for other in ours
                    if other != system
                }
                for system in ours
            }
            for one in measures
        },
        "problems": comparison.problems,
        "notes": comparison.notes,
    }
    if comparison.votes:
        facts["votes"] = {
            one.name: dict(zip(("rank correlation", "trials"), comparison.agreement(one), strict=True))
            for one in measures
        }
    return json.dumps(_plain(facts), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: null for what is not a number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def to_markdown(comparison: Comparison) -> str:
    """Return the tables of means, differences, wins and votes."""
    systems, measures = comparison.systems, comparison.measures
    ours = [system for system in systems if system not in (PHOTO, STYLE)]
    names = [one.heading for one in measures]
    blocks = [
        "# Evaluation",
        "\n".join(f"- {name}: {value}" for name, value in comparison.facts.items()),
        f"Means over {len(comparison.pairs)} pairs, with 95 % intervals (bootstrap over pairs). ↓ less is "
        "better, ↑ more.",
        _table(
            ["system", *names],
            [
                [system.name, *(_shown(mean(comparison.values(system, one))) for one in measures)]
                for system in systems
            ],
        ),
    ]
    if len(ours) > 1:
        first = ours[0]
        blocks += [
            f"Differences from {first.name} on the same pairs. **Bold**: the interval does not hold 0.",
            _table(
                ["system", *names],
                [
                    [
                        system.name,
                        *(
                            _marked(difference(comparison.values(system, one), comparison.values(first, one)))
                            for one in measures
                        ),
                    ]
                    for system in ours[1:]
                ],
            ),
            "Share of pairs in which a system is better than each other one.",
            _table(
                ["system", "than", *names],
                [
                    [
                        system.name,
                        other.name,
                        *(
                            _percent(
                                win_rate(comparison.badness(system, one), comparison.badness(other, one))
                            )
                            for one in measures
                        ),
                    ]
                    for system in ours
                    for other in ours
                    if other != system
                ],
            ),
        ]
    if comparison.votes:
        blocks += [
            f"Rank correlation (Spearman) with {len(comparison.votes)} votes of people: 1 orders paintings "
            "as they do, 0 says nothing of it.",
            _table(
                ["measure", "trials", "correlation"],
                [
                    [one.name, str(count), _shown(found)]
                    for one, (found, count) in ((one, comparison.agreement(one)) for one in measures)
                ],
            ),
        ]
    blocks.append(measures_table(measures))
    if comparison.notes:
        blocks.append("\n".join(f"- {_cell(line)}" for line in comparison.notes))
    if comparison.problems:
        blocks.append("Not measured:\n\n" + "\n".join(f"- {_cell(line)}" for line in comparison.problems))
    return "\n\n".join(blocks) + "\n"


def measures_table(measures: Sequence[Measure]) -> str:
    """Return the table of measures, also for docs/evaluation.md."""
    rows = [
        [f"`{one.name}`", one.axis, one.unit, "less" if one.less_is_better else "more", one.says]
        for one in measures
    ]
    return _table(["measure", "axis", "unit", "better", "what it compares"], rows)


def to_latex(comparison: Comparison) -> str:
    """Return the table of means for a paper, with booktabs; the best system of each column is bold."""
    ours = [system for system in comparison.systems if system not in (PHOTO, STYLE)]
    columns = {
        one: {system: mean(comparison.values(system, one)) for system in comparison.systems}
        for one in comparison.measures
    }
    best = {}
    for one, means in columns.items():
        known = [system for system in ours if not math.isnan(means[system].value)]
        best[one] = min(known, key=lambda system: one.badness(means[system].value), default=None)
    arrows = {True: r"$\downarrow$", False: r"$\uparrow$"}
    heads = [f"{_tex(one.name)} {arrows[one.less_is_better]}" for one in columns]
    lines = [
        *(f"% {name}: {value}" for name, value in comparison.facts.items()),
        f"% means over {len(comparison.pairs)} pairs; below, 95 % intervals",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        r"\midrule",
    ]
    for system in comparison.systems:
        if system == PHOTO:
            lines.append(r"\midrule")
        cells = [
            rf"\textbf{{{_rounded(found.value)}}}" if best[one] == system else _rounded(found.value)
            for one, found in ((one, columns[one][system]) for one in columns)
        ]
        lines.append(" & ".join([_tex(system.name), *cells]) + r" \\")
        intervals = [columns[one][system] for one in columns]
        if not all(math.isnan(found.low) for found in intervals):
            ends = [
                rf"\scriptsize [{_rounded(found.low)}, {_rounded(found.high)}]"
                if found.low == found.low
                else ""
                for found in intervals
            ]
            lines.append(" & ".join(["", *ends]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def draw(comparison: Comparison, path: Path) -> None:
    """Draw style over content: a point a system with its intervals, a line through each sweep."""
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
        points = [[mean(comparison.values(system, axis)) for axis in (LOST, MISSING)] for system in systems]
        x, y = ([point[axis].value for point in points] for axis in (0, 1))
        marker = {PHOTO: "kx", STYLE: "k+"}.get(systems[0], "o-")
        label = name.removeprefix("\0") if len(systems) > 1 else systems[0].name
        bars = {
            side: [
                [max(0, _zero(one.value - one.low)) for one in ends],
                [max(0, _zero(one.high - one.value)) for one in ends],
            ]
            for side, ends in (
                ("xerr", [point[0] for point in points]),
                ("yerr", [point[1] for point in points]),
            )
        }
        axes.errorbar(
            x,
            y,
            **bars,
            fmt=marker,
            elinewidth=0.6,
            markersize=6,
            label=_plain_label(label),
        )
        if len(systems) > 1:
            for system, across, up in zip(systems, x, y, strict=True):
                text = system.name.rpartition("=")[2]
                axes.annotate(text, (across, up), (4, 4), textcoords="offset points", fontsize=7)
    axes.set(xlabel="content lost, 0 as the photo", ylabel="style missing, 0 as the style picture")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _plain_label(text: str) -> str:
    """Return a label in which matplotlib sees no formula, and which its legend does not hide."""
    return text.replace("$", r"\$").lstrip("_") or "–"


def _zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


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
