"""The runs in the output folder, and the commands that repeat them."""

import json
import os
import shlex
from pathlib import Path

import pytest
from command_line import BUNDLED, WEIGHTS_DIR, write_picture

from neural_style_tf.app.gallery import command_of, find_runs, go_on, read_stored
from neural_style_tf.app.requests import Place, Request, Style, plan
from neural_style_tf.cli import flags
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.runs.manifest import FORM
from neural_style_tf.runs.output_dir import LOCK
from neural_style_tf.utils.lock import Lock

SHALLOW = ("--content_layers=relu2_1", "--style_layers=relu1_1,relu2_1")


@pytest.fixture
def paint(job):
    """Return a function that paints a run on the narrow network, and its folder."""

    def run(*arguments, folder="o/a"):
        assert job(f"--output_dir={folder}", "--log_every=1", *SHALLOW, *arguments) in (0, 143)
        return read_stored(Path(folder))

    return run


def test_runs_are_found_the_newest_first(paint, tmp_path):
    for number, name in enumerate("ba"):
        paint("--iterations=1", folder=f"o/{name}")
        os.utime(f"o/{name}/run.json", (1000 + number, 1000 + number))
    (tmp_path / "o" / "pictures").mkdir()
    (tmp_path / "o" / "other").mkdir()
    (tmp_path / "o" / "broken").mkdir()
    (tmp_path / "o" / "broken" / "run.json").write_text("[" * 100_000)
    (tmp_path / "o" / "link").symlink_to(tmp_path / "o" / "a")
    assert [run.name for run in find_runs(tmp_path / "o")] == ["a", "b"]
    assert find_runs(tmp_path / "nowhere") == []


def test_a_run_that_another_process_paints_is_not_taken_for_a_dead_one(tmp_path):
    facts = {"config": {}, "inputs": {}, "weights": {}, "manifest": FORM, "status": "running"}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    lock = Lock(tmp_path / LOCK)
    assert lock.acquire() and read_stored(tmp_path).status == "running"
    lock.release()
    assert read_stored(tmp_path).status == "ended"
    # As of a process that was killed.
    (tmp_path / LOCK).touch()
    assert read_stored(tmp_path).status == "ended"


def test_what_is_linked_from_elsewhere_is_not_shown(paint, tmp_path):
    run = paint("--iterations=1")
    result = tmp_path / "o" / "a" / "result.png"
    result.rename(tmp_path / "elsewhere.png")
    result.symlink_to(tmp_path / "elsewhere.png")
    assert run.result is None and find_runs(tmp_path / "o") == []


def test_the_command_gives_the_same_bits(paint, job):
    run = paint("--iterations=4", "--save_every=1", "--strength=0.7", "--preset=gatys")
    command, note = command_of(run)
    program, *arguments = shlex.split(command)
    assert program == "neural-style-tf" and not note
    # How often it was saved is the page's affair.
    assert not any(one.startswith(("--save_every", "--log_every")) for one in arguments)
    assert job.bare(*arguments, "--output_dir=again") == 0
    assert Path("again/result.png").read_bytes() == Path("o/a/result.png").read_bytes()


def interrupted(paint, step, *arguments):
    """Return a run that looks as if it had been stopped at a step."""
    run = paint(*arguments)
    facts = json.loads(Path("o/a/run.json").read_text())
    Path("o/a/run.json").write_text(json.dumps(facts | {"status": "interrupted", "steps": step}))
    return read_stored(run.path)


def test_the_command_of_a_stopped_run_ends_where_it_was_stopped(paint):
    command, note = command_of(interrupted(paint, 2, "--iterations=3"))
    assert "--iterations=2" in command and not note
    config, _ = flags.parse(["", *shlex.split(command)[1:]])
    assert config.iterations == 2
    several = "--scales=2", "--scale_iterations=2", "--iterations=3", "--overwrite"
    assert "--iterations=1 " in command_of(interrupted(paint, 3, *several))[0] + " "


def test_where_no_command_ends_there_all_of_it_is_painted(paint):
    coarse = "--scales=2", "--scale_iterations=2", "--iterations=3"
    command, note = command_of(interrupted(paint, 1, *coarse))
    assert "--iterations=3" in command and "step 1 of 5" in note
    alike = "--scales=2", "--iterations=3", "--overwrite"
    assert "step 4 of 6" in command_of(interrupted(paint, 4, *alike))[1]


def test_a_finished_run_is_extended(paint):
    run = paint("--iterations=2")
    with pytest.raises(UserError, match="how many"):
        go_on(run, 0)
    further = go_on(run, 3)
    assert further.task.config.iterations == 5 and further.task.job.resume
    assert Painter()(further.task).status == "finished"
    assert read_stored(run.path).manifest.steps == 5
    # As if it had been painted at once.
    paint("--iterations=5", folder="o/b")
    assert Path("o/a/result.png").read_bytes() == Path("o/b/result.png").read_bytes()


def test_a_run_without_its_photo_is_not_gone_on_with(paint):
    run = paint("--iterations=1")
    Path("c.png").unlink()
    assert run.photo is None
    with pytest.raises(UserError, match="c.png"):
        go_on(run, 1)


def test_the_rows_of_the_plot(paint):
    rows = paint("--iterations=3").losses()
    assert [row["step"] for row in rows] == [0, 1, 2, 3] and rows[-1]["total"] < rows[0]["total"]


def test_a_run_of_the_page_is_found_and_repeated(job, tmp_path):
    """From the page's values to the same bits from the command that it shows."""
    photo = write_picture(tmp_path / "cat.png", (48, 64))
    style = write_picture(tmp_path / "sea.png", (50, 40), seed=1)
    asked = Request(str(photo), (Style(str(style)),), preset="gatys", image_size=64, iterations=2)
    run = plan(asked, Place(tmp_path / "out", "bundled", str(WEIGHTS_DIR)))
    assert Painter()(run.task).status == "finished"
    [found] = find_runs(tmp_path / "out")
    command, _ = command_of(found)
    photo.unlink()
    style.unlink()
    assert BUNDLED[0] in command and job.bare(*shlex.split(command)[1:], "--output_dir=again") == 0
    assert Path("again/result.png").read_bytes() == found.result.read_bytes()
