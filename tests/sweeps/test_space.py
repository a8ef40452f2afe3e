"""From the text of --sweep to runs."""

import pytest

from neural_style_tf.errors import UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.sweeps.space import Axis, combine, parse_axis


def values(text, **options):
    return parse_axis(text, **options).values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("style_weight=1,10,1e2", ("1", "10", "1e2")),
        ("style_layers=relu1_1;relu2_1,relu3_1", ("relu1_1,relu2_1", "relu3_1")),
        ("style_weight=linspace(0,1,5)", ("0", "0.25", "0.5", "0.75", "1")),
        ("style_weight=logspace(1,100,3)", ("1", "10", "100")),
        ("iterations=linspace(1,10,4)", ("1", "4", "7", "10")),
        ("style_weight=linspace(3,9,1)", ("3",)),
        ("style_scale=linspace(0.5,1,3)", ("0.5", "0.75", "1")),
    ],
)
def test_lists_and_ranges(text, expected):
    assert values(text) == expected


def test_draws_are_those_of_their_seed_and_name():
    first = values("style_weight=loguniform(1,1000)", samples=50, seed=3)
    assert first == values("style_weight=loguniform(1,1000)", samples=50, seed=3)
    assert first != values("style_weight=loguniform(1,1000)", samples=50, seed=4)
    assert len(first) == 50 and all(1 <= float(value) <= 1000 for value in first)
    # Half of them below the geometric mean, about.
    assert 15 < sum(float(value) < 31.6 for value in first) < 35


def test_equal_draws_are_one_run():
    axis = parse_axis("iterations=uniform(1,3)", samples=20)
    assert len(axis.values) == 20
    assert sorted(run["iterations"] for run in combine([axis])) == ["1", "2", "3"]
    with pytest.raises(UserError, match="--sweep_samples: 1,000,000,000 draws are more than 10,000"):
        values("style_weight=uniform(0,1)", samples=10**9)


def test_words_are_no_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("content", "style", "bundled"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").touch()
    assert values("init=noise,content,style") == ("noise", "content", "style")
    assert values("weights=bundled,auto") == ("bundled", "auto")
    assert values("content=style") == ("style/a.jpg",)


def test_files_are_expanded_in_natural_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    litter = ("._a2.jpg", ".a3.jpg", "Thumbs.db", "a.ini/._a.jpg", "a.ini/desktop.ini", "a.ini/a.jpg")
    (tmp_path / "a.ini").mkdir()
    for name in ("a10.jpg", "a2.JPG", "notes.txt", "[1].png", *litter):
        (tmp_path / name).touch()
    assert values("content=*") == ("[1].png", "a2.JPG", "a10.jpg", "notes.txt")
    assert values("content=*/*,a2.JPG") == ("a.ini/a.jpg", "a2.JPG")
    with pytest.raises(UserError, match="no file has such a name"):
        values("content=._*")
    assert values("content=a*") == ("a2.JPG", "a10.jpg")
    assert expand_files("[1].png") == ["[1].png"], "a name that exists is no glob"
    assert [path.rpartition("/")[2] for path in values(f"content={tmp_path}")] == [
        "[1].png",
        "a2.JPG",
        "a10.jpg",
    ]
    assert values("content=missing.jpg,a2.JPG") == ("missing.jpg", "a2.JPG"), "reading it says what is wrong"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("style_wieght=1", "no setting 'style_wieght'.*style_weight"),
        ("output=a,b", "no setting 'output'"),
        ("style_weight", "values are missing"),
        ("style_weight=", "values are missing"),
        ("style_weight=1,,2", "a value is empty"),
        ("style_weight=linspace(1,2)", "takes 3 numbers"),
        ("style_weight=linspace(1,x,3)", "takes 3 numbers"),
        ("style_weight=linspace(1,inf,3)", "takes 3 numbers"),
        ("style_weight=linspace(1,2,0)", "how many"),
        ("style_weight=linspace(1,2,2.5)", "how many"),
        ("style_weight=linspace(1,2,1e9)", "how many"),
        ("style_weight=logspace(0,2,3)", "above 0"),
        ("style_weight=uniform(0,1)", "--sweep_samples"),
        ("style_weight=loguniform(0,1)", "above 0"),
        ("content=nothing*.jpg", "no file has such a name"),
        ("content=.", "no picture in that folder"),
    ],
)
def test_what_cannot_be_is_one_line(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=said) as error:
        values(text)
    assert "\n" not in str(error.value)


def test_runs_are_the_product_and_what_is_zipped_goes_together():
    a, b, c = Axis("a", ("1", "2")), Axis("b", ("x", "y")), Axis("c", ("p", "q", "r"))
    runs = combine([a, c])
    assert len(runs) == 6 and runs[1] == {"a": "1", "c": "q"}
    runs = combine([a, c, b], zipped=("a", "b"))
    assert len(runs) == 6 and {(run["a"], run["b"]) for run in runs} == {("1", "x"), ("2", "y")}
    drawn = [Axis("d", ("1", "2", "3"), True), Axis("e", ("4", "5", "6"), True)]
    assert combine(drawn) == [{"d": "1", "e": "4"}, {"d": "2", "e": "5"}, {"d": "3", "e": "6"}]
    assert combine([]) == [{}]
    # One photo with two paintings: only the pair must be new.
    photos, paintings = Axis("content", ("p", "q", "p")), Axis("style", ("x", "x", "y"))
    assert len(combine([photos, paintings], zipped=("content", "style"))) == 3


def test_spaces_that_cannot_be_are_refused():
    a, c = Axis("a", ("1", "2")), Axis("c", ("p", "q", "r"))
    for arguments, said in (
        (([a, a],), "given twice"),
        (([a, c], ("a", "c")), "a has 2, c has 3"),
        (([a], ("b",)), "'b' is not swept"),
        (([Axis("a", ("1", "2", "1"))],), "a=…: 1 occurs twice"),
        (([Axis("a", ("1", "1")), Axis("b", ("2", "2"))], ("a", "b")), "1, 2 occurs twice"),
        (([parse_axis("iterations=linspace(1,2,5)")],), "occurs twice"),
        (([Axis(str(i), tuple(map(str, range(10)))) for i in range(6)],), "1,000,000 runs"),
    ):
        with pytest.raises(UserError, match=said):
            combine(*arguments)
