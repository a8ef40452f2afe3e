"""The command line's grammar: one source, precedence, both ways of flag files."""

import itertools
import os
import shlex

import pytest

from neural_style_tf.cli import flags
from neural_style_tf.config.fields import flat
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import Manifest, flag_lines, with_absolute_paths

FILES = ["--content=c.jpg", "--style=s.jpg"]


def parse(*arguments):
    return flags.read(["run.py", *FILES, *arguments]).settings()


def test_defaults_are_the_settings_own():
    assert parse() == (Config(), Job(content="c.jpg", style="s.jpg"))


def test_flags_override_the_preset():
    config, _ = parse("--preset=slides", "--tv_weight=3", "--style_layers=relu1_1:0.5,relu2_1")
    assert config == PRESETS["slides"].replace(
        tv_weight=3.0, style_layers=(("relu1_1", 0.5), ("relu2_1", 1.0))
    )


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("spelling", ["joined", "apart"])
def test_flags_override_the_flag_file_wherever_it_stands(tmp_path, order, spelling):
    file = tmp_path / "f.txt"
    file.write_text("# comment\n--preset=gatys\n--seed=7\n--iterations=9\n--transpose_kernels\n")
    file_flag = [f"--flagfile={file}"] if spelling == "joined" else ["--flagfile", str(file)]
    arguments = [file_flag, ["--iterations=5", "--notranspose_kernels"]]
    config, _ = parse(*itertools.chain(*arguments[:: 1 if order else -1]))
    assert config == PRESETS["gatys"].replace(seed=7, iterations=5)


@pytest.fixture(params=["command", "flags.txt", "run.json"])
def repeat(request, tmp_path):
    """Return what writes settings down in a way and reads them again."""

    def through(config, job):
        if request.param == "command":
            return flags.read(shlex.split(flags.command(config, job, program=["run.py"]))).settings()
        path = tmp_path / request.param
        if request.param == "flags.txt":
            path.write_text(flag_lines(config, job))
            return flags.read(["run.py", f"--flagfile={path}"]).settings()
        facts = {"config": flat(config), "job": with_absolute_paths(flat(job))}
        path.write_text(Manifest(**facts, inputs={}, weights={}).to_json())
        again, files = flags.read(["run.py", f"--from_run={path}"]).settings()
        return again, files.replace(from_run="")

    return through


def test_a_run_is_repeated_whatever_its_files_are_called(repeat, tmp_path):
    for name in ("it's.jpg", '"a".jpg', "'a'", "a = b", "#1, 2;3", "--style=x", "写真 1"):
        path = str(tmp_path / name)
        job = Job(content=path, style=(path, "/b.jpg"), style_mask=("", path), weights_dir="/w", dpi=300)
        config = PRESETS["balanced"].replace(scales=3, init=path, learning_rate=0.1 + 0.2, clamp=False)
        assert repeat(config, job) == (config, job)


def test_only_what_makes_the_picture_is_repeated():
    job = Job(content="/c.jpg", style="/s.jpg", output_dir="o", output="x.png", quiet=True)
    assert not {"--output_dir=o", "--output=x.png", "--quiet"} & set(flag_lines(Config(), job).splitlines())


def test_a_name_that_breaks_a_line_is_not_smuggled_into_the_flag_file(tmp_path):
    text = flag_lines(Config(), Job(content="a\n--overwrite", style="s.jpg "))
    lines = text.splitlines()
    assert not any(line.startswith("--overwrite") for line in lines)
    assert sum(line.startswith("# cannot be written") for line in lines) == 2
    # Nor is the run repeated without it.
    (tmp_path / "f.txt").write_text(text)
    with pytest.raises(UserError, match="content_cannot_be_written"):
        parse(f"--flagfile={tmp_path / 'f.txt'}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contnet=x"], r"unknown flag --contnet \(did you mean 'content'\?\)"),
        (["--clamp=maybe"], r"^--clamp must be true or false, not .maybe.$"),
        (["extra.jpg"], "unexpected argument 'extra.jpg'"),
        (["--noquiet=3"], "noquiet"),
        (["--flagfile"], "--flagfile=FILE needs"),
        (["--init=noise", "--init", "style"], "--init is given 2 times"),
        (["--output=a.png", "--output=b.png"], "--output is given 2 times"),
        (["--style", "--style=b.jpg"], "--style=… needs a value, and --style=b.jpg follows --style"),
        (["--content", "-quiet"], "--content=… needs a value, and -quiet follows"),
        (["--sweep", "--flagfile=f.txt"], "--sweep=… needs a value"),
        (["--style"], "--style=… needs a value, and nothing follows"),
        (["--style=b.jpg", "--", "--style=c.jpg"], "unexpected argument '--style=c.jpg'"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        parse(*arguments)
    assert "\n" not in str(error.value)


def test_a_missing_picture_is_named():
    with pytest.raises(UserError, match="--content=FILE is missing"):
        flags.read(["run.py", "--style=s.jpg", "--content="]).settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xd8\xff\xe0JFIF", "f.txt: not a text of flags"),
        (b"--flagfile=f.txt", "f.txt: this file includes itself"),
        (b"--flagfile=g.txt", "g.txt: cannot be read: No such file"),
        (b"--" + b"a" * 5000, "f.txt: unknown flag --aaaa"),
        (b"--bo\x1b[31m\x07=1", "unknown flag --bo .31m"),
        (b"#" * (2 << 20), "f.txt: too long"),
        (b"hello", "f.txt: unexpected argument 'hello'"),
        (b"--style\n--quiet", "f.txt: --style=… needs a value, and --quiet follows"),
        (b"--content=caf\xe9.jpg", "f.txt: not a text of flags, one to a line, in UTF-8"),
        (b"\xff\xfe-\x00-", "f.txt: not a text of flags"),
        (b"--output=a.png\n --output=b.png", "f.txt: --output is given 2 times"),
    ],
)
def test_flag_files_edited_into_nonsense_are_refused_in_one_line(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        parse("--flagfile=f.txt")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_flag_file_is_read_however_an_editor_writes_it(tmp_path, monkeypatch, encoding, newline):
    monkeypatch.chdir(tmp_path)
    text = "// mine\n\n  # and\n--content='my photo.jpg'\n--style=\"écrit.jpg\"\n"
    text += '"--style=b c.jpg"\n--flagfile="g h"'
    bom = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    (tmp_path / "f.txt").write_bytes((bom + text.replace("\n", newline)).encode(encoding))
    (tmp_path / "g h").write_text("\n--seed 4\n--style_mask\nm.png\n--style_mask = 'm n.png'")
    config, job = flags.read(["run.py", "--flagfile", "f.txt"]).settings()
    assert (job.content, job.style) == ("my photo.jpg", ("écrit.jpg", "b c.jpg"))
    assert (config.seed, job.style_mask) == (4, ("m.png", "m n.png"))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("--content=it's John's.jpg", "it's John's.jpg"),
        ("--content='tis.jpg", "'tis.jpg"),
        ('--content="it\'s.jpg"', "it's.jpg"),
        ("--content='say \"hi\".jpg'", 'say "hi".jpg'),
        ("'--content=it'\"'\"'s.jpg'", "it's.jpg"),
        ('--content="a" and "b".jpg', '"a" and "b".jpg'),
        ('--content="a=b,c#d.jpg"', "a=b,c#d.jpg"),
        ('--content="C:\\pictures\\a b.jpg"', "C:\\pictures\\a b.jpg"),
        ("--content=a=b --c.jpg", "a=b --c.jpg"),
        ("--content=", ""),
        ('--content=""', ""),
    ],
)
def test_quotes_around_a_value_go_and_those_within_stay(tmp_path, line, value):
    (tmp_path / "f.txt").write_text(line)
    line = flags.read(["run.py", f"--flagfile={tmp_path / 'f.txt'}"])
    assert line.contents == (value,)


def test_quotes_around_the_values_of_a_sweep_go(tmp_path):
    (tmp_path / "f.txt").write_text('--sweep=style="a b.jpg","c.jpg"\n--sweep="seed=1,2"\n--sweep=my style=3')
    line = flags.read(["run.py", f"--flagfile={tmp_path / 'f.txt'}"])
    assert line.sweep.sweep == ("style=a b.jpg,c.jpg", "seed=1,2", "my style=3")


def test_what_depends_on_a_flag_follows_it(tmp_path):
    """Of a preset, and of a flag file, which is one of one's own."""
    (tmp_path / "f.txt").write_text(flag_lines(PRESETS["balanced"], Job()))
    for before in ("--preset=balanced", f"--flagfile={tmp_path / 'f.txt'}"):
        assert parse(before, "--scales=2")[0] == PRESETS["balanced"].replace(scales=2)
        line = flags.read(["run.py", *FILES, before, "--sweep=scales=1,3"])
        found = [line.settings({"scales": scales})[0].sizes.scale_iterations for scales in ("1", "3")]
        assert found == [(), (20, 16)]


@pytest.mark.parametrize("name", [".", "/dev/zero", "pipe", "loop", "a\nb", "", "\udcff"])
def test_what_is_no_flag_file_is_refused_without_waiting(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="--flagfile") as error:
        parse(f"--flagfile={name}")
    assert str(error.value).isprintable()


def test_a_flag_over_the_same_flag_in_a_file_is_no_mistake(tmp_path):
    (tmp_path / "f.txt").write_text("--style=other.jpg")
    assert parse(f"--flagfile={tmp_path / 'f.txt'}")[1].style == ("s.jpg",)


@pytest.mark.parametrize(
    ("files", "styles"),
    [
        ("ab", ("b.jpg", "c.jpg")),
        ("ba", ("a.jpg",)),
        ("aba", ("a.jpg",)),
        ("i", ("i.jpg",)),
        ("ai", ("i.jpg",)),
    ],
)
def test_of_several_flag_files_the_last_that_names_styles_wins(tmp_path, monkeypatch, files, styles):
    monkeypatch.chdir(tmp_path)
    texts = {
        "a": "--style=a.jpg --tv_weight=1",
        "b": "--style=b.jpg --style=c.jpg",
        "i": "--style=i.jpg --flagfile=b",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text.replace(" ", "\n"))
    _, job = flags.read(["run.py", "--content=c.jpg", *(f"--flagfile={name}" for name in files)]).settings()
    assert job.style == styles


def test_help_names_every_flag():
    text = flags.help_text()
    for field in SETTINGS.values():
        assert f"--{field.name}" in text and flags.explanation(field) in text
    lines = [line.strip() for line in text.splitlines()]
    for line in ("--scale_iterations=N,N,…", "--output_dir=FOLDER", "--content=FILE", "--adam_epsilon=1e-08"):
        assert line in lines
    assert all(name in flags.explanation(SETTINGS["preset"]) for name in PRESETS)
