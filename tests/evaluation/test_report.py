"""Tables, the figure and people's votes, from values that are known."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest
from PIL import Image

from neural_style_tf.errors import UserError
from neural_style_tf.evaluation import report
from neural_style_tf.evaluation.columns import BY_NAME, LOST, MISSING, SUMS, Measure, axis_shares
from neural_style_tf.evaluation.comparison import (
    PHOTO,
    STYLE,
    Comparison,
    Row,
    Vote,
    read_scores,
    read_votes,
)
from neural_style_tf.evaluation.pairs import PairedPainting, System
from neural_style_tf.evaluation.report import (
    check_report,
    to_json,
    to_latex,
    to_markdown,
    write_comparison,
)
from neural_style_tf.evaluation.statistics import Estimate

GOOD, BAD = System("good_1", "line", 0.0), System("bad|2", "line", 1.0)


@pytest.fixture
def comparison():
    """Six pairs; `good` has less of all but SSIM, and misses the last pair."""
    measures = (*SUMS, BY_NAME["ssim"], BY_NAME["w2"])
    rows = []
    for number in range(6):
        pair = (f"photo{number}", "style")
        for system, level in ((GOOD, 0.2), (BAD, 0.6), (PHOTO, 1.0), (STYLE, 0.0)):
            level += 0.01 * number
            values = {"content_lost": level, "style_missing": level, "ssim": 1 - level, "w2": level}
            if system != GOOD or number < 5:
                rows.append(Row(system, pair, Path(f"{system.name}{number}.png"), values))
    return Comparison(rows, measures, ["x.png: no"], ["a note"], {"network": "narrow"})


def test_means_are_over_the_pairs_that_all_have(comparison):
    assert len(comparison.pairs) == 5
    assert comparison.systems == [GOOD, BAD, PHOTO, STYLE]
    facts = json.loads(to_json(comparison))
    value, low, high = facts["means"]["good_1"]["w2"]
    assert value == pytest.approx(0.22) and low < value < high
    assert facts["differences from the first"]["bad|2"]["ssim"] == pytest.approx([-0.4] * 3)
    assert facts["wins"]["ssim"]["good_1"] == {"bad|2": 1.0}
    assert facts["wins"]["w2"]["bad|2"] == {"good_1": 0.0}
    assert facts["measures"]["ssim"]["better"] == "more"
    assert facts["problems"] == ["x.png: no"]


def test_tables_are_whole(comparison):
    text = to_markdown(comparison)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        lines = table.replace(r"\|", "").splitlines()
        assert len({line.count("|") for line in lines}) == 1
    assert "**0.4 [0.4, 0.4]**" in text and "| (the photo) |" in text and "- network: narrow" in text
    latex = to_latex(comparison)
    assert r"\textbf{0.22}" in latex and r"good\_1" in latex and r"ssim $\uparrow$" in latex
    body = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    assert {line.count("&") for line in body.splitlines() if "&" in line} == {4}


def test_a_single_pair_has_no_intervals(comparison):
    comparison = dataclasses.replace(comparison, rows=comparison.rows[:4])
    assert "[" not in to_latex(comparison)
    assert "| 0.2 |" in to_markdown(comparison)
    assert json.loads(to_json(comparison))["means"]["good_1"]["w2"] == [0.2, None, None]


def test_files_are_written_and_not_replaced(comparison, tmp_path):
    folder = tmp_path / "new"
    check_report(folder, read=[], overwrite=False)
    write_comparison(folder, comparison)
    names = ["csv", "json", "md", "png", "tex"]
    assert sorted(path.name for path in folder.iterdir()) == [f"evaluation.{name}" for name in names]
    rows = list(csv.DictReader((folder / "evaluation.csv").read_text().splitlines()))
    assert len(rows) == 23 and rows[0]["content"] == "photo0" and float(rows[1]["w2"]) == 0.6
    with Image.open(folder / "evaluation.png") as picture:
        assert picture.width > 500
    with pytest.raises(UserError, match="--overwrite replaces it"):
        check_report(folder, read=[], overwrite=False)
    check_report(folder, read=[], overwrite=True)


def test_no_file_that_is_read_is_replaced(tmp_path):
    votes = tmp_path / "evaluation.csv"
    votes.touch()
    with pytest.raises(UserError, match="is read here, and the report would replace it"):
        check_report(tmp_path, read=[tmp_path / "." / "evaluation.csv"], overwrite=True)
    check_report(tmp_path, read=[tmp_path / "a.png"], overwrite=True)


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        check_report(tmp_path / "file" / "new", read=[], overwrite=False)
    (tmp_path / "full" / "evaluation.md").mkdir(parents=True)
    with pytest.raises(UserError, match=r"evaluation\.md is not a file"):
        check_report(tmp_path / "full", read=[], overwrite=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UserError, match="permission denied in folder"):
        check_report(tmp_path / "new" / "new", read=[], overwrite=False)


def test_a_system_without_values_is_not_the_best(comparison):
    column = Measure("csd", "neither", "", "of another program", best=1.0)
    comparison = dataclasses.replace(comparison, measures=(*comparison.measures, column))
    assert r"\textbf{–}" not in to_latex(comparison)
    for row in comparison.rows:
        if row.system == BAD:
            row.values["csd"] = 0.3
    latex = to_latex(dataclasses.replace(comparison))
    assert r"\textbf{0.3}" in latex and r"\textbf{–}" not in latex


def test_intervals_that_round_to_less_than_the_mean_are_drawn(comparison, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "neural_style_tf.evaluation.comparison.mean", lambda values: Estimate(0.3, 0.3 + 1e-16, 0.3 - 1e-16)
    )
    report.draw(comparison, tmp_path / "evaluation.png")
    assert (tmp_path / "evaluation.png").stat().st_size > 0


def test_a_share_is_the_distance_over_that_of_the_control():
    photo = {"ssim": 1.0, "cfsd": 0.0, "w2": 2.0, "patches": 10.0, "colours": 0.0}
    style = {"ssim": 0.2, "cfsd": 4.0, "w2": 0.0, "patches": 0.0, "colours": 0.0}
    values = {"ssim": 0.6, "cfsd": 1.0, "w2": 1.0, "patches": 2.0, "colours": 0.5}
    # (0.4 / 0.8 + 1 / 4) / 2, and (1 / 2 + 2 / 10) / 2: a photo in the colours of the style tells nothing.
    assert axis_shares(values, photo, style) == pytest.approx({LOST.name: 0.375, MISSING.name: 0.35})
    assert axis_shares(photo, photo, style) == {LOST.name: 0, MISSING.name: 1}
    assert math.isnan(axis_shares({}, photo, style)[LOST.name])


def test_votes_are_ranked_beside_measures(comparison):
    """People prefer `good` the more, the larger the number of the pair; so does no measure but one."""
    for row in comparison.rows:
        if row.system == BAD:
            row.values["w2"] += 0.1 * int(row.pair[0][-1])
    votes = [
        Vote((f"photo{number}", "style"), GOOD.name, BAD.name, vote)
        for number in range(5)
        for vote in [1.0] * (number + 5) + [-1.0] * (4 - number)
    ]
    comparison = dataclasses.replace(comparison, votes=votes)
    found, trials = comparison.agreement(BY_NAME["w2"])
    assert trials == 5 and found.value == pytest.approx(1)
    # The page may name either side first.
    turned = [vote._replace(first=vote.second, second=vote.first, value=-vote.value) for vote in votes[::2]]
    mixed = dataclasses.replace(comparison, votes=[*votes[1::2], *turned])
    found, trials = mixed.agreement(BY_NAME["w2"])
    assert trials == 5 and found.value == pytest.approx(1)
    assert "| w2 | 5 | 1 [" in to_markdown(comparison)
    assert json.loads(to_json(comparison))["votes"]["w2"]["trials"] == 5


def test_votes_of_the_page_are_read(tmp_path):
    path = tmp_path / "votes.jsonl"
    vote = {"study": "1", "pair": "p:s", "a": "x", "b": "y", "choice": "a", "swapped": True}
    path.write_text("".join(json.dumps(vote | {"choice": choice}) + "\n" for choice in ("a", "b", "equal")))
    assert [one.value for one in read_votes(path, ["x", "y"])] == [1, -1, 0]
    assert next(read_votes(path, ["x", "y"]))[:3] == (("p", "s"), "x", "y")
    with pytest.raises(UserError, match="line 1: no system 'x'; there are y"):
        list(read_votes(path, ["y"]))
    path.write_text('{"pair": 3}\n')
    with pytest.raises(UserError, match="line 1: not a vote of the page"):
        list(read_votes(path, ["x"]))
    with pytest.raises(UserError, match="cannot be read"):
        list(read_votes(tmp_path / "none", ["x"]))


def test_columns_of_other_programs_are_read(tmp_path):
    path, result = tmp_path / "scores.csv", tmp_path / "a.png"
    painting = PairedPainting(GOOD, result, result, result)
    path.write_text("result,lpips:less,csd:more\na.png,0.5,\n")
    measures, values = read_scores([path], [painting])
    assert [(one.name, one.less_is_better) for one in measures] == [("lpips", True), ("csd", False)]
    assert "sha256" in measures[0].says and values == {result: {"lpips": 0.5}}
    for text, message in (
        ("result,lpips\na.png,1\n", "must be named NAME:less or NAME:more"),
        ("result,w2:less\na.png,1\n", "NAME must be new"),
        ("result\na.png\n", "must have the columns"),
        ("result,lpips:less\nb.png,1\n", "line 2: 'b.png' is not one of the paintings"),
        ("result,lpips:less\na.png,x\n", "line 2: expected numbers"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_scores([path], [painting])


def test_a_column_may_be_in_several_files(tmp_path):
    results = [tmp_path / "a.png", tmp_path / "b.png"]
    paintings = [PairedPainting(GOOD, result, result, result) for result in results]
    paths = [tmp_path / "good.csv", tmp_path / "bad.csv"]
    for path, result, score in zip(paths, results, (0.5, 0.7), strict=True):
        path.write_text(f"result,lpips:less\n{result.name},{score}\n")
    [measure], values = read_scores(paths, paintings)
    assert measure.name == "lpips" and "good.csv" in measure.says and "bad.csv" in measure.says
    assert values == {results[0]: {"lpips": 0.5}, results[1]: {"lpips": 0.7}}
    paths[1].write_text("result,lpips:more\nb.png,0.7\n")
    with pytest.raises(UserError, match=r"bad\.csv: another file has lpips with the other better side"):
        read_scores(paths, paintings)


def test_a_missing_file_is_named_once(tmp_path):
    for read in (lambda path: read_scores([path], []), lambda path: list(read_votes(path, []))):
        with pytest.raises(UserError, match=r"missing.* cannot be read: No such file or directory$"):
            read(tmp_path / "missing")
