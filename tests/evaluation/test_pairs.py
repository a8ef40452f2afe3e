"""Which painting belongs to which photo and style picture."""

from pathlib import Path

import pytest

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.evaluation.pairs import Search
from neural_style_tf.runs.manifest import Manifest


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def write_run(folder, content, style, status="finished", **changes):
    config = flat(Config().replace(**changes))
    styles = [str(style)] if isinstance(style, Path) else list(map(str, style))
    job = flat(Job(content=str(content), style=tuple(styles)))
    touch(folder / "result.png")
    manifest = Manifest(config=config, job=job, inputs={}, weights={}, status=status)
    (folder / "run.json").write_text(manifest.to_json())


@pytest.mark.parametrize(
    "name", ["my-cat_the_scream.png", "My cat - The Scream.jpg", "my-cat_stylized_the_scream.png"]
)
def test_names_hold_those_of_photo_and_style(tmp_path, name):
    contents = touch(tmp_path / "my-cat.jpg", tmp_path / "cat.jpg")
    styles = touch(tmp_path / "the_scream.jpg", tmp_path / "scream.jpg")
    [result] = touch(tmp_path / "other system" / name)
    search = Search(contents, styles)
    search.add(str(result.parent))
    [painting] = search.paintings
    assert (painting.result, painting.content, painting.style) == (result, contents[0], styles[0])
    assert painting.system.name == "other system" and painting.pair == ("my-cat", "the_scream")
    assert not search.problems


def test_pictures_without_a_pair_are_listed(tmp_path):
    contents = touch(tmp_path / "a.jpg", tmp_path / "a_b.jpg")
    styles = touch(tmp_path / "b_c.jpg", tmp_path / "c.jpg")
    touch(*(tmp_path / "out" / name for name in ("a_b_c.png", "x_c.png", "a_c.png", "a-c.png")))
    search = Search(contents, styles)
    search.add(str(tmp_path / "out"))
    assert [painting.pair for painting in search.paintings] == [("a", "c")]
    lines = "\n".join(search.problems)
    assert "a_b_c.png: several pairs have this name" in lines
    assert "x_c.png: no photo and style picture have this name; expected photo_style.png" in lines
    assert "out has a painting of this pair already" in lines


def test_an_earlier_report_is_no_painting(tmp_path):
    content, style, result, _ = touch(
        *(tmp_path / name for name in ("a.jpg", "b.jpg", "out/r.png", "out/evaluation.png"))
    )
    search = Search([content], [style])
    search.add(str(result.parent))
    assert [painting.result for painting in search.paintings] == [result] and not search.problems


def test_one_photo_and_one_style_are_the_pair_of_any_picture(tmp_path):
    content, style, result = touch(*(tmp_path / name for name in ("a.jpg", "b.jpg", "r.png")))
    search = Search([content], [style])
    search.add(str(result))
    assert search.paintings[0].pair == ("a", "b")


def test_a_table_names_files_from_its_folder(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "result,content,style,system\no.png,c.png,s.png,gan\np.png,c.png,s.png,\nq.png,,s.png,x\n"
    )
    search = Search()
    search.add(str(table))
    assert [painting.system.name for painting in search.paintings] == ["gan", "pairs"]
    assert search.paintings[0].result == tmp_path / "o.png"
    assert search.problems == [f"{table}, line 4: an empty cell"]
    table.write_text("picture\no.png\n")
    with pytest.raises(UserError, match="must have the columns result, content, style"):
        search.add(str(table))


def test_runs_name_their_pictures_and_a_sweep_its_systems(tmp_path):
    content, other, style = touch(*(tmp_path / name for name in ("a.jpg", "b.jpg", "s.jpg")))
    root = tmp_path / "sweep"
    for weight in (5.0, 10.0, 100.0):
        for photo in (content, other):
            # The tile follows the size of the photo.
            tile = "none" if photo == other else "512"
            write_run(root / f"{weight} {photo.stem}", photo, style, style_weight=weight, tile=tile)
    search = Search()
    search.add(str(root))
    systems = sorted({painting.system for painting in search.paintings}, key=lambda one: one.place)
    assert [one.name for one in systems] == [f"sweep: style_weight={value}" for value in ("5", "10", "100")]
    assert [(one.line, one.place) for one in systems] == [("sweep", 0), ("sweep", 1), ("sweep", 2)]
    assert len(search.paintings) == 6 and not search.problems


def test_two_folders_of_one_name_are_two_systems(tmp_path):
    contents, styles = touch(tmp_path / "a.jpg"), touch(tmp_path / "s.jpg")
    touch(tmp_path / "ours" / "out" / "a_s.png", tmp_path / "gan" / "out" / "a_s.png")
    search = Search(contents, styles)
    for folder in ("ours", "gan"):
        search.add(str(tmp_path / folder / "out"))
    names = [painting.system.name for painting in search.paintings]
    assert names == ["out", str(tmp_path / "gan" / "out")] and not search.problems


def test_what_auto_chose_tells_runs_of_a_pair_apart(tmp_path):
    content, style = touch(tmp_path / "a.jpg", tmp_path / "s.jpg")
    for precision in ("float32", "bfloat16"):
        write_run(tmp_path / "r" / precision, content, style, precision=precision)
    search = Search()
    search.add(str(tmp_path / "r"))
    assert {painting.system.name for painting in search.paintings} == {
        "r: precision=float32",
        "r: precision=bfloat16",
    }


def test_runs_that_cannot_be_measured_are_listed(tmp_path):
    content, style, second = touch(*(tmp_path / name for name in ("a.jpg", "s.jpg", "t.jpg")))
    root = tmp_path / "runs"
    write_run(root / "good", content, style)
    write_run(root / "running", content, style, status="failed: no memory")
    write_run(root / "moved", tmp_path / "gone.jpg", style)
    write_run(root / "blend", content, (style, second))
    write_run(root / "clip", content, style)
    (root / "clip" / "result.png").rename(root / "clip" / "result.mp4")
    touch(root / "foreign" / "run.json")
    search = Search()
    search.add(str(root))
    assert [painting.result.parent.name for painting in search.paintings] == ["good"]
    lines = "\n".join(search.problems)
    for words in (
        "this run is failed, not finished",
        "gone.jpg, which it was painted from, is no longer there",
        "a blend of 2 style pictures; --style names one",
        "this run is a clip; expected a picture",
        "cannot be read as the run.json of a run",
    ):
        assert words in lines, lines
    # Files that have moved are found by their names.
    [moved] = touch(tmp_path / "elsewhere" / "gone.jpg")
    search = Search([moved, content])
    search.add(str(root / "moved"))
    assert search.paintings[0].content == moved
    # A run whose photo is where it was keeps it, though another one is named, for other paintings.
    search = Search([second])
    search.add(str(root / "good"))
    assert search.paintings[0].content == content


def test_nothing_to_measure_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "pictures" / "a.png")
    (tmp_path / "latin.csv").write_bytes(b"\xff\xfe\xff")
    for name, message in (
        ("latin.csv", "cannot be read as a CSV"),
        ("nowhere", "does not exist: give a folder of paintings, or a CSV of pairs"),
        ("empty", "holds no picture and no run"),
        ("pictures", "holds no run.json"),
    ):
        with pytest.raises(UserError, match=message):
            Search().add(str(tmp_path / name))
