"""A run that was interrupted goes on to the same bits; another run is refused."""

import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command_line import read_metrics
from harness import rows
from narrow import SHALLOW, warm_stylize
from PIL import Image

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs import checkpoints
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.resume import check_same_run, trim_metrics
from neural_style_tf.runs.tensorboard import Curves
from neural_style_tf.transfer.records import Rows, StepRecord

SCALES = Config(**SHALLOW, iterations=6, scales=2, scale_iterations=(3,), log_every=3, save_every=3)
CASES = {
    "adam, tiled": SCALES.replace(tile="16", learning_rate_schedule="cosine"),
    "adam": SCALES.replace(scales=1, scale_iterations=()),
    "lbfgs": SCALES.replace(optimizer="lbfgs", init="content", history=2),
}


@pytest.mark.parametrize("case", [pytest.param("adam, tiled", marks=pytest.mark.slow), "lbfgs", "adam"])
def test_from_every_checkpoint_to_the_same_bits(case, pictures, narrow_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_KEPT", 100)
    config = CASES[case]
    saver = checkpoints.Checkpoints(tmp_path / "c", config.saving)
    records = {}
    for record in warm_stylize(*pictures, config, weights=narrow_weights):
        saver.on_step(record)
        records[record.step] = (dict(record.terms), record.image, record.best, record.best_step)
    steps = checkpoints.saved_steps(tmp_path / "c")
    assert len(steps) >= 3
    for step in steps:
        prefix = str(tmp_path / "c" / f"ckpt-{step}")
        again = list(stylize_all(pictures, config, narrow_weights, prefix))
        assert [r.step for r, *_ in again] == [s for s in records if s > step] or step == max(steps)
        for r, image, best in again:
            terms, expected, expected_best, best_step = records[r.step]
            assert dict(r.terms) == terms and r.best_step == best_step
            np.testing.assert_array_equal(image, expected)
            np.testing.assert_array_equal(best, expected_best)


def stylize_all(pictures, config, weights, prefix):
    for record in warm_stylize(*pictures, config, weights=weights, resume=prefix):
        yield record, record.image, record.best


def test_a_run_that_is_stopped_and_killed_goes_on_as_if_nothing_had_happened(
    real_job, warm_process, tmp_path
):
    """In real processes: one whose reader leaves, one that a signal stops, and one that is killed."""
    flags = ("--content_layers=relu1_1", "--style_layers=relu1_1", "--iterations=14", "--log_every=2")
    flags += ("--save_every=4",)
    leave = "import os; read, write = os.pipe(); os.close(read); os.dup2(write, 1)"
    stop, kill = (
        f"import os; at({step}, lambda record: os.kill(os.getpid(), {number}))"
        for step, number in ((6, 15), (12, 9))
    )

    def run(folder, *more, before=""):
        return warm_process.run(*flags, f"--output_dir={folder}", *more, before=before, folder=tmp_path)

    assert run("whole", before=leave) == 0, warm_process.said()
    assert run("cut", before=stop) == 128 + signal.SIGTERM, warm_process.said()
    assert "interrupted after" in warm_process.said()
    assert json.loads(Path("cut/run.json").read_text())["status"] == "interrupted"
    assert checkpoints.saved_steps(Path("cut/checkpoints"))[0] == read_metrics("cut")[-1]["step"] < 14
    with Image.open("cut/result.png") as result:
        result.load()
    assert run("cut", "--resume", before=kill) == -signal.SIGKILL
    assert run("cut", "--resume") == 0, warm_process.said()
    assert rows("cut") == rows("whole")
    assert Path("cut/result.png").read_bytes() == Path("whole/result.png").read_bytes()
    seconds = [row["seconds"] for row in read_metrics("cut")]
    assert seconds == sorted(seconds)
    facts = json.loads(Path("cut/run.json").read_text())
    assert facts["status"] == "finished" and len(facts["resumed"]) == 2


def test_a_finished_run_can_be_extended(job, capsys):
    assert job("--iterations=8", "--log_every=4", "--save_every=4", "--output_dir=a", "--quiet") == 0
    assert job("--iterations=4", "--log_every=4", "--save_every=4", "--output_dir=b", "--quiet") == 0
    again = ["--log_every=4", "--save_every=4", "--output_dir=b", "--resume"]
    assert job("--iterations=8", *again) == 0
    assert "resuming b/ from step 4" in capsys.readouterr().out
    assert rows("a") == rows("b")
    assert Path("a/result.png").read_bytes() == Path("b/result.png").read_bytes()
    # Once more changes nothing.
    assert job("--iterations=8", *again) == 0
    assert rows("a") == rows("b")


def test_a_finished_run_without_checkpoints_is_not_begun_anew(job, capsys):
    flags = ["--save_every=0", "--output_dir=o"]
    assert job("--iterations=3", *flags, "--quiet") == 0
    before = Path("o/result.png").read_bytes()
    assert job("--iterations=1", *flags, "--resume") == 2
    assert "left no checkpoint that can be read" in capsys.readouterr().err
    assert Path("o/result.png").read_bytes() == before


def test_a_run_is_not_resumed_to_an_end_before_where_it_is(job, capsys):
    flags = ["--log_every=2", "--save_every=2", "--output_dir=o"]
    assert job("--iterations=4", *flags, "--quiet") == 0
    before = Path("o/run.json").read_bytes()
    assert job("--iterations=3", *flags, "--resume") == 2
    assert "is at step 4 already, beyond 3" in capsys.readouterr().err
    assert Path("o/run.json").read_bytes() == before
    assert job("--iterations=4", *flags, "--resume", "--quiet") == 0


def test_resume_without_a_run_begins_one(job, tmp_path):
    assert job("--iterations=1", "--resume", "--quiet") == 0
    assert (tmp_path / "output" / "c-s" / "result.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--style_weight=7"], "--style_weight was 100.0, now 7.0"),
        (["--style=c.png"], "the style file is another one"),
        (["--overwrite"], "give one of them"),
    ],
)
def test_another_run_is_refused_and_named(job, capsys, flags, message):
    assert job("--iterations=2", "--output_dir=o", "--quiet") == 0
    before = Path("o/result.png").read_bytes(), Path("o/metrics.jsonl").read_bytes()
    assert job("--iterations=2", "--output_dir=o", "--resume", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert (Path("o/result.png").read_bytes(), Path("o/metrics.jsonl").read_bytes()) == before


COSINE = Config(learning_rate_schedule="cosine", iterations=100)


@pytest.mark.parametrize(
    ("recorded", "config", "hashes", "message"),
    [
        (
            {"seed": 1, "tv_weight": 2.0},
            Config(),
            {"weights": "b"},
            r"--tv_weight was 2.0.*--seed was 1.*weights file is another",
        ),
        ({}, Config(), {}, ""),
        # A setting that was not there was at its default.
        ({}, Config(convolution="winograd"), {}, "--convolution was 'direct', now 'winograd'"),
        ({"tile": "none"}, Config(tile="auto"), {}, ""),
        ({"tile": "none"}, Config(tile="64"), {}, ""),
        (flat(COSINE), COSINE, {}, ""),
        (flat(COSINE), COSINE.replace(iterations=200), {}, "--iterations also counts for the learning rate"),
        # A run.json without the file's hash.
        ({"init": "i.png"}, Config(init="i.png"), {"init": "a"}, "the init file is another one"),
    ],
)
def test_what_makes_another_run(recorded, config, hashes, message):
    inputs = {"init": {"path": "i.png"}} if "init" in recorded else {}
    manifest = Manifest(config=recorded, inputs=inputs, weights={"sha256": "a"})
    with pytest.raises(UserError, match=message) if message else contextlib.nullcontext():
        check_same_run(manifest, config, hashes)


def test_a_damaged_checkpoint_falls_back(job, capsys):
    """Of damage of every kind: `test_checkpoint_indexes_edited_into_nonsense_are_passed_over`."""
    flags = ["--iterations=9", "--log_every=3", "--save_every=3", "--output_dir=o"]
    assert job(*flags, "--quiet") == 0
    whole = Path("o/result.png").read_bytes()
    [data] = Path("o/checkpoints").glob("ckpt-9.data*")
    middle = data.stat().st_size // 2
    with data.open("r+b") as file:
        file.seek(middle)
        file.write(bytes(range(40)))
    assert job(*flags, "--resume") == 0
    said = capsys.readouterr().out
    assert "checkpoint of step 9 is damaged" in said and "from step 6" in said
    assert Path("o/result.png").read_bytes() == whole


def test_checkpoint_indexes_edited_into_nonsense_are_passed_over(tmp_path):
    """Of three checkpoints, the newer two are damaged in every way; the oldest is taken."""
    variable = tf.Variable(np.arange(200.0))
    for step in (1, 2, 3):
        tf.train.Checkpoint(v=variable).write(str(tmp_path / f"ckpt-{step}"))
    for name in ("ckpt-².index", "ckpt-x.index", "ckpt-.index", "ckpt-9999999999999999999999.index"):
        (tmp_path / name).write_bytes(b"")
    index, data = ((tmp_path / f"ckpt-3.{end}").read_bytes() for end in ("index", "data-00000-of-00001"))
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged, numbers = bytearray(index), bytearray(data)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(index))] ^= int(rng.integers(1, 256))
            numbers[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        if number % 3 == 0:
            del damaged[rng.integers(len(index)) :]
        (tmp_path / "ckpt-3.index").write_bytes(damaged)
        (tmp_path / "ckpt-2.data-00000-of-00001").write_bytes(numbers)
        prefix, notes = checkpoints.newest_good(tmp_path)
        # An index may be damaged where nobody reads it; the numbers are all read.
        assert prefix in (str(tmp_path / "ckpt-1"), str(tmp_path / "ckpt-3"))
        assert all(note.isprintable() for note in notes)


def test_metrics_are_trimmed(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 0}\n{"step": 4}\nnonsense\n{"step": 8}\n{"step": 2')
    trim_metrics(path, 4)
    assert path.read_bytes() == b'{"step": 0}\n{"step": 4}\n'


def test_curves_are_trimmed(tmp_path):
    config = Config(save_every=1)
    pixels = Rows((2, 2, 3), lambda top, bottom: np.zeros((bottom - top, 2, 3)))
    common = {"scale": 0, "planned": 9, "seconds": 0, "best_step": 0, "best_total": 1}
    record = StepRecord(step=0, terms={"total": 1.0}, **common, image_rows=pixels)
    curves = Curves(tmp_path, config, Job())
    for step in range(6):
        curves.on_step(dataclasses.replace(record, step=step))
    curves.on_end()
    [file] = tmp_path.iterdir()
    # Cut in the middle of the last record, as a kill does.
    os.truncate(file, file.stat().st_size - 9)
    curves = Curves(tmp_path, config, Job(), after=3)
    for step in range(4, 8):
        curves.on_step(dataclasses.replace(record, step=step, terms={"total": 2.0}))
    curves.on_end()
    assert len(list(tmp_path.iterdir())) == 2
    points = sorted(
        (event.step, float(tf.make_ndarray(value.tensor)))
        for path in tmp_path.iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "loss/total"
    )
    assert points == [(step, 1.0 if step < 4 else 2.0) for step in range(8)]


def test_leftovers_of_a_kill_are_swept(job):
    assert job("--iterations=0", "--output_dir=o", "--quiet") == 0
    litter = [Path("o") / name for name in (".partial-result.png-x.png", "images/.partial-step-000000.png-1")]
    for path in [*litter, Path("o/.partial-mine.png")]:
        path.write_text("half")
    assert job("--iterations=0", "--output_dir=o", "--resume", "--quiet") == 0
    assert not any(path.exists() for path in litter) and Path("o/.partial-mine.png").exists()


def test_two_runs_in_one_folder_are_kept_apart(job, capsys):
    running = OutputFolder("o", overwrite=False)
    assert job("--output_dir=o", "--overwrite") == 2
    assert "another run is writing" in capsys.readouterr().err
    running.release()
