"""The command `neural-style-tf-evaluate`, in process, on the narrow network."""

import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import write_picture
from paths import ROOT
from PIL import Image

from neural_style_tf.cli import evaluate


@pytest.fixture
def folder(tmp_path, narrow_weights, monkeypatch):
    """Two photos, a style picture, and two systems: `near` has a little of the style, `far` is all style."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "load_weights", lambda *given, **named: narrow_weights)
    monkeypatch.setattr(evaluate, "check_spec", lambda *given, **named: None)
    (tmp_path / "photos").mkdir()
    style = write_picture(tmp_path / "s.png", (48, 64), seed=5)
    for share, system in ((0.2, "near"), (1.0, "far")):
        (tmp_path / system).mkdir()
        for number, photo in enumerate("ab"):
            content = write_picture(tmp_path / "photos" / f"{photo}.png", (48, 64), seed=number)
            sides = [np.asarray(Image.open(file), np.float32) for file in (content, style)]
            mixture = (1 - share) * sides[0] + share * sides[1]
            Image.fromarray(np.uint8(mixture)).save(tmp_path / system / f"{photo}_s.png")
    return tmp_path


def command(*arguments):
    usual = ("--content=photos", "--style=s.png", "--size=64")
    return evaluate.run(["neural-style-tf-evaluate", *arguments, *usual])


def test_two_systems_are_compared(folder, capsys):
    assert command("near", "--compare=far") == 0
    out, err = capsys.readouterr()
    assert not err and "4/4 paintings" in out and "written: near/evaluation.csv" in out
    facts = json.loads((folder / "near" / "evaluation.json").read_text())
    assert list(facts["means"]) == ["near", "far", "(the photo)", "(the style picture)"]
    assert facts["wins"]["content_lost"]["near"]["far"] == 1
    assert facts["wins"]["w2"]["far"]["near"] == 1
    means = facts["means"]
    assert means["(the photo)"]["content_lost"][0] == pytest.approx(0, abs=1e-5)
    assert means["(the style picture)"]["style_missing"][0] == pytest.approx(0, abs=1e-5)
    assert "sha256 " + "0" * 64 in facts["facts"]["network"]
    assert len(facts["rows"]) == 8
    # A second time nothing is replaced.
    assert command("near") == 2
    assert "--overwrite replaces it" in capsys.readouterr().err


def test_what_cannot_be_measured_is_listed_and_the_rest_is_measured(folder, capsys):
    (folder / "far" / "b_s.png").write_bytes(b"no picture")
    write_picture(folder / "far" / "c_s.png")
    write_picture(folder / "near" / "a_s.png", (80, 64))
    assert command("near", "--compare=far", "--output_dir=report", "--quiet") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "far/c_s.png: no photo and style picture have this name" in err and "far/b_s.png" in err
    report = (folder / "report" / "evaluation.md").read_text()
    assert "Means are over the 1 of 2 pairs that all systems have." in report
    assert "near/a_s.png is 64×80, stretched to the shape of its photo" in report
    (folder / "photos" / "a.png").write_bytes(b"no picture")
    (folder / "photos" / "b.png").write_bytes(b"no picture")
    assert command("near", "--output_dir=other") == 1
    assert "nothing could be measured" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_columns_and_votes_of_others_are_merged(folder, capsys):
    rows = [f"near/{photo}_s.png,{number}" for number, photo in enumerate("ab")]
    (folder / "scores.csv").write_text("\n".join(["result,lpips:less", *rows]) + "\n")
    vote = {"pair": "a:s", "a": "near", "b": "far", "choice": "a"}
    (folder / "votes.jsonl").write_text(json.dumps(vote) + "\n")
    flags = ("--scores=scores.csv", "--votes=votes.jsonl")
    assert command("near", "--compare=far", *flags) == 0
    facts = json.loads((folder / "near" / "evaluation.json").read_text())
    assert facts["means"]["near"]["lpips"][0] == 0.5 and facts["means"]["far"]["lpips"][0] is None
    assert facts["votes"]["w2"]["trials"] == 1
    assert "Rank correlation" in capsys.readouterr().out


def test_runs_of_a_sweep_need_no_flag(job, folder, capsys):
    sweep = ("--content=photos", "--style=s.png", "--sweep=style_weight=1,100", "--iterations=1")
    assert job(*sweep, "--save_every=0", "--output_dir=o") == 0
    capsys.readouterr()
    assert evaluate.run(["evaluate", "o", "--size=48"]) == 0
    facts = json.loads((folder / "o" / "evaluation.json").read_text())
    assert list(facts["means"])[:2] == ["o: style_weight=1", "o: style_weight=100"]
    assert sorted(facts["pairs"]) == [["a", "s"], ["b", "s"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to measure"),
        (["near", "--sizes=3"], "unknown flag --sizes (did you mean 'size'?)"),
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty holds no picture and no run"),
        (["near", "--size=9000"], "--size must be 32 to 2048 pixels, not 9000"),
        (["near", "--content=gone.png"], "--content: gone.png does not exist"),
        (["near", "--style=empty"], "--style=empty: no picture there"),
        (["near", "--scores=gone.csv"], "--scores=gone.csv cannot be read"),
        (["near", "--output_dir=s.png/new"], "--output_dir: s.png is not a folder"),
        (["pairs/evaluation.csv", "--overwrite"], "pairs/evaluation.csv is read here"),
    ],
)
def test_a_mistake_is_one_line(folder, capsys, arguments, message):
    (folder / "empty").mkdir()
    (folder / "pairs").mkdir()
    table = "result,content,style\n../near/a_s.png,../photos/a.png,../s.png\n"
    (folder / "pairs" / "evaluation.csv").write_text(table)
    usual = [] if any("--size" in one for one in arguments) else ["--size=64"]
    names = [] if any("--content" in one or "--style" in one for one in arguments) else ["--content=photos"]
    rest = [] if any("--style" in one for one in arguments) else ["--style=s.png"]
    assert evaluate.run(["evaluate", *arguments, *usual, *names, *rest]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_without_the_extra_a_line_names_it(folder, monkeypatch, capsys):
    monkeypatch.setattr(evaluate.importlib.util, "find_spec", lambda name: None)
    assert command("near") == 2
    line = 'this needs scikit-image: pip install "neural-style-tf[evaluate]"'
    assert line in capsys.readouterr().err


def test_help_and_mistakes_do_without_tensorflow():
    code = (
        "import sys; from neural_style_tf.cli.evaluate import run; "
        "a, b = (run(['', one]) for one in ('--help', 'no')); "
        "sys.exit(bool({'tensorflow', 'skimage', 'matplotlib'} & sys.modules.keys()) or (a, b) != (0, 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--compare=RESULTS" in done.stdout
