"""Several styles, masks and colours on the command line: files, manifests, repeats, mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, write_picture
from PIL import Image

from neural_style_tf.cli import flags

SHORT = (*SMALL, "--iterations=2", "--save_every=1", "--quiet")
BOTH = ("--style=s.png", "--style=t.png")


@pytest.fixture
def files(tmp_path):
    """Write a second style, and masks of two halves."""
    write_picture(tmp_path / "t.png", (30, 44), seed=5)
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    Image.fromarray(255 - mask).save(tmp_path / "right.png")
    return tmp_path


def result(folder="o"):
    return Path(folder, "result.png").read_bytes()


def test_everything_at_once_is_recorded_repeated_and_resumed(job, files, capfd):
    masks = ("--content_mask=left.png", "--content_mask=right.png", "--style_mask=", "--style_mask=left.png")
    more = ("--content_weight_mask=left.png", "--colors=content", "--mask_weight=1,2", "--style_scale=1,0.9")
    flags = (*BOTH, *SMALL, *masks, *more, "--iterations=4", "--save_every=2", "--quiet")
    assert job(*flags, "--output_dir=o") == 0
    facts = json.loads(Path("o/run.json").read_text())
    assert list(facts["inputs"]) == [
        *("content", "style", "style_2", "content_mask", "content_mask_2", "style_mask_2"),
        "content_weight_mask",
    ]
    assert [Path(name).name for name in facts["job"]["style"]] == ["s.png", "t.png"]
    assert any("--colors=content: the losses" in note for note in facts["notes"])
    # From any folder, by its flags and by its manifest.
    for number, again in enumerate(("--flagfile=o/flags.txt", "--from_run=o/run.json")):
        where = f"again{number}"
        assert job.bare(again, f"--output_dir={where}", "--quiet") == 0
        assert result(where) == result()
    assert job(*flags[:-3], "--iterations=2", "--save_every=2", "--quiet", "--output_dir=half") == 0
    assert job(*flags, "--output_dir=half", "--resume") == 0
    assert result("half") == result()
    assert capfd.readouterr() == ("", ""), "quiet is quiet"


def test_another_number_of_pictures_is_another_run(job, files, capsys):
    assert job(*SHORT, "--output_dir=o", *BOTH) == 0
    before = result()
    assert job(*SHORT, "--output_dir=o", "--resume", "--style=s.png") == 2
    assert "the style_2 file is not given" in capsys.readouterr().err
    masks = ("--content_mask=left.png", "--content_mask=right.png")
    assert job(*SHORT, "--output_dir=o", "--resume", *BOTH, *masks) == 2
    assert "the content_mask file is new" in capsys.readouterr().err
    assert result() == before


def test_a_sweep_of_styles_takes_one_after_the_other_and_repeated_styles_are_one_blend(job, files):
    assert job(*SHORT, "--sweep=style=s.png,t.png", "--output_dir=o") == 0
    assert {path.parent.name for path in Path("o").glob("*/result.png")} == {"style=s", "style=t"}
    assert job(*SHORT, *BOTH, "--sweep=style_blend=1;0,0;1", "--output_dir=p") == 0
    assert {path.parent.name for path in Path("p").glob("*/result.png")} == {
        "style_blend=1_0",
        "style_blend=0_1",
    }
    for one, other in (("style=s", "style_blend=1_0"), ("style=t", "style_blend=0_1")):
        assert result(f"o/{one}") == result(f"p/{other}")


def test_the_command_line_wins_over_a_file_of_flags(files, monkeypatch):
    monkeypatch.chdir(files)
    Path("f.txt").write_text("--content=c.png\n--style=s.png\n--style=t.png\n--content_mask=left.png\n")
    assert flags.read(["run.py", "--flagfile=f.txt"]).settings()[1].style == ("s.png", "t.png")
    job = flags.read(["run.py", "--flagfile=f.txt", "--style=a,b.png"]).settings()[1]
    assert job.style == ("a,b.png",) and job.content_mask == ("left.png",)
    # What stands on both sides of a file within it is of one place.
    Path("g.txt").write_text("--style=a.png\n--flagfile=f.txt\n--style=b.png\n")
    assert flags.read(["run.py", "--flagfile=g.txt"]).settings()[1].style == ("a.png", "b.png")


def test_a_cut_out_is_the_same_on_black_and_on_white_and_keeps_its_shape(job, files):
    with Image.open("c.png") as picture:
        pixels = np.dstack([np.asarray(picture), np.asarray(Image.open("left.png"))])
    found = []
    for hidden in (0, 255):
        pixels[pixels[..., 3] == 0, :3] = hidden
        Image.fromarray(pixels).save("c.png")
        assert job(*SHORT, "--init=content", f"--output_dir=o{hidden}") == 0
        found.append(np.asarray(Image.open(f"o{hidden}/result.png")))
    assert np.array_equal(*found) and np.array_equal(found[0][..., 3], pixels[..., 3])


def test_hidden_colours_of_a_style_are_not_part_of_it(job, files):
    with Image.open("s.png") as picture:
        style = np.dstack([np.asarray(picture), np.full((40, 50), 255, np.uint8)])
    style[:, 25:, 3] = 0
    for number, hidden in enumerate(((255, 0, 255), (0, 255, 0))):
        style[:, 25:, :3] = hidden
        Image.fromarray(style).save("s.png")
        assert job(*SHORT, f"--output_dir=o{number}") == 0
    assert result("o0") == result("o1")


def test_regions_too_small_are_told_before_anything_is_computed(job, files, capsys):
    dot = np.zeros((48, 64), np.uint8)
    dot[10:13, 10:13] = 255
    Image.fromarray(dot).save("dot.png")
    assert job("--preset=original", "--iterations=0", "--content_mask=dot.png", "--output_dir=o") == 0
    said = capsys.readouterr().out
    told = "at 64×48 pixels the mask of style 1 is too small for relu3_1, relu4_1, relu5_1: left out there"
    assert told in said and said.index(told) < said.index("device:")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--content_mask=none.png",), "none.png"),
        (("--content_weight_mask=notes.txt",), "notes.txt"),
        (("--content_weight_mask=left.png", "--content_weight_mask=right.png"), "is given 2 times: give one"),
        (("--content_mask=left.png", "--content_mask=right.png"), "given 2 times, and --style 1"),
        ((*BOTH, "--style="), "the name of the picture is empty"),
        (("--style=clear.png",), "clear.png is transparent everywhere"),
        (("--content_mask=.",), "is a folder"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(job, files, capsys, flags, said):
    Path("notes.txt").write_text("no picture\n")
    Image.new("RGBA", (40, 40)).save("clear.png")
    before = sorted(files.rglob("*"))
    assert job("--iterations=1", *flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(files.rglob("*")) == before


def test_files_of_a_repeated_run_are_neither_added_nor_dropped(job, files, capsys):
    assert job(*SHORT, *BOTH, "--content_weight_mask=left.png", "--output_dir=o") == 0
    again = ("--from_run=o/run.json", "--output_dir=p", "--quiet")
    for change, said in (
        (("--content_weight_mask=",), "the content_weight_mask file is not given"),
        (("--style=s.png",), "the style_2 file is not given"),
        (("--style_mask=left.png", "--style_mask=right.png"), "the style_mask file is new"),
    ):
        assert job.bare(*again, *change) == 2
        assert said in capsys.readouterr().err
    assert not Path("p").exists()


def test_what_is_odd_about_a_mask_is_told(job, files, capsys):
    frames = [Image.new("L", (64, 48), level) for level in (200, 0)]
    frames[0].save("m.gif", save_all=True, append_images=frames[1:])
    assert job("--iterations=0", "--content_mask=m.gif", "--output_dir=o") == 0
    assert "m.gif is animated; the first frame is used" in capsys.readouterr().out
    assert "animated" in Path("o/run.json").read_text()
