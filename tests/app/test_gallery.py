"""The runs in the output folder, and the commands that repeat them."""

import json
import os
import shlex
from pathlib import Path

import pytest
from command_line import WEIGHTS_DIR, write_picture
from narrow import SHALLOW

from neural_style_tf.app.gallery import command_of, find_runs, go_on, read_stored
from neural_style_tf.app.requests import Request, Style, plan
from neural_style_tf.cli import flags
from neural_style_tf.config.fields import flat
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import LOCK
from neural_style_tf.utils.files import Lock

BUNDLED = {"weights": "bundled", "weights_dir": str(WEIGHTS_DIR)}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a function that writes what a run leaves that nobody has painted; it returns the run."""
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "c.png")
    write_picture(tmp_path / "s.png", seed=1)
    job = flat(Job(content="c.png", style="s.png", **BUNDLED))

    def write(name="a", status="interrupted", steps=None, **settings):
        folder = tmp_path / "o" / name
        folder.mkdir(parents=True, exist_ok=True)
        inputs = {"content": {"path": "c.png"}}
        manifest = Manifest(flat(Config(**settings)), inputs, {}, job, status=status, steps=steps)
        (folder / "run.json").write_text(manifest.to_json())
        write_picture(folder / "result.png")
        return read_stored(folder)

    return write


def test_runs_are_found_the_newest_first(store, tmp_path):
    for number, name in enumerate("ba"):
        store(name)
        os.utime(f"o/{name}/run.json", (1000 + number, 1000 + number))
    for name in ("pictures", "other", "broken"):
        (tmp_path / "o" / name).mkdir()
    (tmp_path / "o" / "broken" / "run.json").write_text("[" * 100_000)
    (tmp_path / "o" / "link").symlink_to(tmp_path / "o" / "a")
    # Nothing that is linked from elsewhere is shown.
    result = store("linked").path / "result.png"
    result.rename(tmp_path / "elsewhere.png")
    result.symlink_to(tmp_path / "elsewhere.png")
    assert [run.path.name for run in find_runs(tmp_path / "o")] == ["a", "b"]
    assert find_runs(tmp_path / "nowhere") == []


def test_a_run_that_another_process_paints_is_not_taken_for_a_dead_one(store):
    run = store(status="running")
    lock = Lock(run.path / LOCK)
    assert lock.acquire() and run.status == "running"
    lock.release()
    assert run.status == "ended"
    # As of a process that was killed.
    (run.path / LOCK).touch()
    assert run.status == "ended"


def test_the_command_of_a_stopped_run_ends_where_it_was_stopped(store):
    # How often it was saved is the page's affair.
    command, note = command_of(store(steps=2, iterations=3, save_every=1, log_every=1))
    program, *arguments = shlex.split(command)
    assert program == "neural-style-tf" and not note
    assert not any(argument.startswith(("--save_every", "--log_every")) for argument in arguments)
    config, _ = flags.read(["", *arguments]).settings()
    assert config.iterations == 2
    several = {"scales": 2, "scale_iterations": 2, "iterations": 3, "image_size": 64}
    assert "--iterations=1 " in command_of(store(steps=3, **several))[0] + " "


def test_where_no_command_ends_there_all_of_it_is_painted(store):
    coarse = {"scales": 2, "scale_iterations": 2, "iterations": 3, "image_size": 64}
    command, note = command_of(store(steps=1, **coarse))
    assert "--iterations=3" in command and "step 1 of 5" in note
    assert "step 4 of 6" in command_of(store(steps=4, scales=2, iterations=3, image_size=64))[1]
    assert "step 2 of 3" in command_of(store(steps=2, iterations=3, optimizer="adam", averaging=0.9))[1]


def test_a_run_without_its_photo_is_not_gone_on_with(store):
    run = store(status="finished")
    with pytest.raises(UserError, match="how many"):
        go_on(run, 0)
    Path("c.png").unlink()
    assert run.photo is None
    with pytest.raises(UserError, match="c.png"):
        go_on(run, 1)


def test_about_500_rows_of_the_losses_are_read_with_the_last(store):
    run = store()
    assert run.losses() == ()
    (run.path / "metrics.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in range(1800)))
    steps = [row["step"] for row in run.losses()]
    assert steps[0] == 0 and steps[-1] == 1799 and 400 < len(steps) <= 600


def test_a_run_of_the_page_is_repeated_and_extended_to_the_same_bits(job, tmp_path):
    """From the page's values to the same bits from the command that it shows."""
    photo, style = write_picture(tmp_path / "cat.png", (24, 32)), write_picture(tmp_path / "sea.png", seed=1)
    settings = {"preset": "gatys", "strength": 0.7, "style_scale": 1, "image_size": 32, "colors": "style"}
    settings |= {"iterations": 2, "seed": 0}
    request = Request(str(photo), (Style(str(style)),), settings, base=PRESETS["gatys"].replace(**SHALLOW))
    run = plan(request, Job(output_dir=str(tmp_path / "out"), **BUNDLED))
    reports = []
    assert Painter()(run, lambda *report: reports.append(report)).status == "finished"
    # Steps, saved, and the seconds left of the record.
    assert reports[-1] == (2, 2, True, 0.0)
    photo.unlink()
    style.unlink()
    [stored] = find_runs(tmp_path / "out")
    command, _ = command_of(stored)
    assert job.bare(*shlex.split(command)[1:], "--output_dir=again") == 0
    assert Path("again/result.png").read_bytes() == stored.result.read_bytes()

    further = go_on(stored, 3)
    assert Painter()(further).status == "finished"
    [stored] = find_runs(tmp_path / "out")
    assert stored.manifest.steps == 5 and json.loads((stored.path / "run.json").read_text())["resumed"]
    assert job.bare(*shlex.split(command_of(stored)[0])[1:], "--output_dir=at_once") == 0
    assert Path("at_once/result.png").read_bytes() == stored.result.read_bytes()
