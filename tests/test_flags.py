"""The command line's grammar: one source, precedence, both ways of flag files."""

import dataclasses
import itertools

import pytest

from neural_style_tf import flags
from neural_style_tf.config import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.presets import PRESETS
from neural_style_tf.record import flag_lines

FILES = ["--content=c.jpg", "--style=s.jpg"]


def parse(*arguments):
    return flags.parse(["run.py", *FILES, *arguments])


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


def test_a_run_s_flags_repeat_it(tmp_path):
    config = PRESETS["slides"].replace(seed=3, learning_rate=0.1 + 0.2, transpose_kernels=True)
    job = Job(content="/a b/c.jpg", style="/s.jpg", weights="bundled", weights_dir="/w")
    file = tmp_path / "flags.txt"
    file.write_text(flag_lines(config, job.replace(overwrite=True, output_dir="o", output="x.png")))
    assert flags.parse(["run.py", f"--flagfile={file}"]) == (config, job)


def test_a_name_that_breaks_a_line_is_not_smuggled_into_the_flag_file():
    lines = flag_lines(Config(), Job(content="a\n--overwrite", style="s.jpg ")).splitlines()
    assert not any(line.startswith("--overwrite") for line in lines)
    assert sum(line.startswith("# cannot be written") for line in lines) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contnet=x"], r"unknown flag --contnet \(did you mean 'content'\?\)"),
        (["--iterations=many"], "iterations.*many"),
        (["--iterations=1.5"], "iterations.*1.5"),
        (["extra.jpg"], "unexpected argument 'extra.jpg'"),
        (["--flagfile=/nowhere/f.txt"], "/nowhere/f.txt"),
        (["--preset=slide"], "did you mean 'slides'"),
        (["--style_layers=relu9_1"], "no layer 'relu9_1'"),
        (["--noquiet=3"], "noquiet"),
        (["--flagfile"], "--flagfile=FILE needs"),
        (["--output=a\0b.png"], "zero byte"),
        (["--content="], "--content=FILE is missing"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        parse(*arguments)
    assert "\n" not in str(error.value)


def test_help_names_every_flag():
    text = flags.help_text()
    for settings in (Config, Job):
        for field in dataclasses.fields(settings):
            assert f"--{field.name}" in text and field.metadata["help"] in text
