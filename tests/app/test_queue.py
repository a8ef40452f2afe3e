"""One run at a time, in a process of its own, with a painter that needs no TensorFlow."""

import functools
import json
import os
import time
from pathlib import Path

import pytest
from command_line import read_metrics
from painters import STEPS, FakePainter, fake_painter

from neural_style_tf.app.queue import PlannedRun, RunQueue, TimeLeft
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Task
from neural_style_tf.transfer.scales import Scale

SCALES = (Scale(0, (8, 8), ((8, 8),), 4, 0), Scale(1, (16, 16), ((16, 16),), 4, 4))


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Return a function that makes the run of a name."""
    monkeypatch.chdir(tmp_path)
    Path("c").write_bytes(b"content")
    Path("s").write_bytes(b"style")

    def make(name):
        job = Job(content="c", style="s", output_dir=f"o/{name}")
        Path(job.output_dir).mkdir(parents=True)
        return PlannedRun(Task(name, Config(), job), SCALES)

    return make


@pytest.fixture
def open_queue():
    """Return a function that makes a queue, which is closed at the end."""
    opened = []

    def make(seconds=0.0, **options):
        opened.append(RunQueue(fake_painter(seconds), **options))
        return opened[-1]

    yield make
    for queue in opened:
        queue.close()


def wait_for(condition, seconds=60):
    for _ in range(seconds * 50):
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError


def status(name):
    return json.loads((Path("o") / name / "run.json").read_text())["status"]


def test_its_process_adds_to_its_environment(make_run, open_queue):
    queue = open_queue(environment={"PAINTER_MARK": " as asked"})
    queue.submit(make_run("a"))
    wait_for(lambda: queue.outcome("a"))
    assert Path("o/a/result.png").read_bytes() == b"content+style as asked"


def test_runs_are_painted_in_turn_by_one_process(make_run, open_queue):
    queue = open_queue(0.05)
    for name in "abc":
        queue.submit(make_run(name))
    wait_for(lambda: (at := queue.progress("a")) and at.step > 0)
    assert [queue.progress(name).place for name in "abc"] == [0, 1, 2]
    assert queue.current() == "a" and queue.progress("a").planned == STEPS
    with pytest.raises(UserError, match="already"):
        queue.submit(PlannedRun(Task("b", Config(), Job(content="c", style="s")), SCALES))
    wait_for(lambda: queue.outcome("c"))
    assert [queue.outcome(name).status for name in "abc"] == ["finished"] * 3
    assert queue.progress("c") is None and queue.current() is None
    processes = {row["pid"] for name in "abc" for row in read_metrics(f"o/{name}")}
    assert len(processes) == 1 and os.getpid() not in processes


def test_a_stopped_run_is_saved_and_the_process_goes_on(make_run, open_queue):
    queue = open_queue(0.2)
    run = make_run("a")
    queue.submit(run)
    queue.submit(make_run("b"))
    wait_for(lambda: (at := queue.progress("a")) and at.step > 1)
    queue.stop("a")
    assert queue.progress("a").stopping
    wait_for(lambda: queue.outcome("a"))
    assert queue.outcome("a").status == "interrupted" and status("a") == "interrupted"
    # Gone on with, by the same process.
    queue.submit(run)
    wait_for(lambda: queue.outcome("a"))
    assert queue.outcome("a").status == "finished" and status("a") == "finished"
    assert [row["step"] for row in read_metrics("o/a")] == list(range(1, STEPS + 1))
    assert len({row["pid"] for name in "ab" for row in read_metrics(f"o/{name}")}) == 1


def test_a_run_that_waits_is_taken_out_of_the_line(make_run, open_queue):
    queue = open_queue(0.1)
    queue.submit(make_run("a"))
    queue.submit(make_run("b"))
    queue.stop("b")
    assert queue.progress("b") is None and queue.outcome("b").status == "interrupted"
    # The folder that claimed its name is gone with it.
    assert not Path("o/b").exists()


def test_a_stop_before_the_first_step_leaves_a_process_that_paints(make_run, open_queue):
    """An interrupted import would leave it useless, so another one takes its place."""
    queue = open_queue(0.5)
    queue.submit(make_run("a"))
    wait_for(lambda: queue.progress("a").place == 0)
    queue.stop("a")
    wait_for(lambda: queue.outcome("a"))
    assert queue.outcome("a").status in ("interrupted", "finished")
    queue.submit(make_run("bad"))
    wait_for(lambda: queue.outcome("bad"))
    assert queue.outcome("bad").line == "no more paint"


def test_a_process_that_dies_takes_nothing_else_down(make_run, open_queue):
    queue = open_queue()
    queue.submit(make_run("dies"))
    queue.submit(make_run("a"))
    wait_for(lambda: queue.outcome("a"))
    assert "SIGKILL" in queue.outcome("dies").line and queue.outcome("a").status == "finished"


def test_the_line_has_an_end(make_run, open_queue):
    queue = open_queue(0.2, most=1)
    queue.submit(make_run("a"))
    wait_for(lambda: queue.progress("a").place == 0)
    queue.submit(make_run("b"))
    with pytest.raises(UserError, match="wait already"):
        queue.submit(make_run("c"))


def test_a_check_that_fails_ends_the_run_after_a_new_process(make_run, open_queue):
    """Memory that an earlier run's process keeps is given back before a run is refused."""
    asked = []

    def check(run):
        asked.append(run.name)
        if run.name == "large" or len(asked) == 1:
            raise UserError("too large")

    queue = open_queue(check=check)
    queue.submit(make_run("a"))
    queue.submit(make_run("large"))
    wait_for(lambda: queue.outcome("large"))
    assert queue.outcome("a").status == "finished"
    assert queue.outcome("large").line == "too large" and not Path("o/large").exists()
    assert asked == ["a", "a", "large", "large"]


def test_closing_saves_what_is_painted(make_run):
    queue = RunQueue(functools.partial(FakePainter, 0.3))
    queue.submit(make_run("a"))
    queue.submit(make_run("b"))
    wait_for(lambda: (at := queue.progress("a")) and at.step > 1)
    queue.close()
    assert status("a") == "interrupted" and not Path("o/b").exists()


def test_the_time_left_is_that_of_pixels():
    now = [0.0]
    left = TimeLeft(SCALES, lambda: now[0])
    # What is compiled for the first step takes long, and does not count.
    now[0] = 100.0
    assert left.at(0) is None and left.at(1) is None
    now[0] = 101.0
    # A second for 64 pixels; three steps are done of four, and five evaluations of 256 pixels are left.
    assert left.at(2) == pytest.approx(2 + 5 * 4)
    now[0] = 103.0
    assert left.at(4) == pytest.approx(5 * 4)
    now[0] = 150.0
    assert left.at(5) == pytest.approx(3 * 4)
    now[0] = 158.0
    assert left.at(6) == pytest.approx(2 * 8)
    assert left.at(8) == 0
