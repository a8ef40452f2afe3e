"""The blind page of two folders of paintings, and its way back to the report."""

import json
import re

import compare
import pytest
from command_line import write_picture

from neural_style_tf.errors import UserError
from neural_style_tf.evaluation.comparison import read_votes


def test_the_page_shows_the_pairs_that_both_folders_have(tmp_path):
    photos = [write_picture(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("ab")]
    style = write_picture(tmp_path / "s.png", seed=5)
    for system, names in (("ours", ["a_s.png", "b_s.png"]), ("gan", ["a-s.png", "a_s_x.png"])):
        (tmp_path / system).mkdir()
        for seed, name in enumerate(names):
            write_picture(tmp_path / system / name, seed=10 + seed)
    folders = [str(tmp_path / name) for name in ("ours", "gan")]
    files = [str(path) for path in photos], [str(style)]
    out = tmp_path / "page"
    out.mkdir()
    study = compare.show_results(*folders, *files, out)
    compare.write_page(study, out)
    shown = json.loads(re.search(r"const study = (.*);", (out / "index.html").read_text())[1])
    assert (shown["a"], shown["b"], [trial["pair"] for trial in shown["trials"]]) == ("ours", "gan", ["a:s"])
    assert all((out / shown["trials"][0][role]).exists() for role in ("content", "style", "a", "b"))
    # What the page saves is what the report reads.
    vote = {"pair": "a:s", "a": shown["a"], "b": shown["b"], "choice": "b"}
    (tmp_path / "votes.jsonl").write_text(json.dumps(vote) + "\n")
    assert list(read_votes(tmp_path / "votes.jsonl", ["ours", "gan"])) == [(("a", "s"), "ours", "gan", -1.0)]
    (tmp_path / "gan" / "a-s.png").rename(tmp_path / "gan" / "b-s.png")
    (tmp_path / "ours" / "b_s.png").unlink()
    with pytest.raises(UserError, match="no pair in common"):
        compare.show_results(*folders, *files, out)
