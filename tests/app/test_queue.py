"""One run at a time, in a process of its own, with a painter that needs no TensorFlow."""

import os
from pathlib import Path

import pytest
from command_line import read_metrics
from harness import wait_until
from painters import STEPS, fake_painter, status

from neural_style_tf.app.queue import RunQueue
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Task


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    """Return a function that makes the run of a name."""
    monkeypatch.chdir(tmp_path)
    Path("c").write_bytes(b"content")
    Path("s").write_bytes(b"style")

    def make(name):
        job = Job(content="c", style="s", output_dir=f"o/{name}")
        Path(job.output_dir).mkdir(parents=True, exist_ok=True)
        return Task(name, Config(), job)

    return make


@pytest.fixture
def open_queue(make_run):
    """Return a function that makes a queue with runs, which is closed at the end."""
    opened = []

    def make(seconds, *names, **options):
        opened.append(RunQueue(fake_painter(seconds), **options))
        for name in names:
            add(opened[-1], make_run(name))
        return opened[-1]

    yield make
    for queue in opened:
        queue.close()


def add(queue, task):
    queue.add(lambda: task)


def outcome(queue, name):
    wait_until(lambda: queue.find(name).outcome)
    return queue.find(name).outcome


def processes(*names):
    return {row["pid"] for name in names for row in read_metrics(f"o/{name}")}


def test_runs_are_painted_in_turn_by_one_process_with_its_environment(make_run, open_queue):
    queue = open_queue(0.05, *"abc", most=2, environment={"PAINTER_MARK": " as asked"})
    wait_until(lambda: queue.find("a").step > 0)
    assert queue.line() == ["a", "b", "c"] and queue.find("a").planned == STEPS
    with pytest.raises(UserError, match="2 paintings are already waiting"):
        add(queue, make_run("d"))
    outcome(queue, "a")
    with pytest.raises(UserError, match="c is being painted already"):
        add(queue, make_run("c"))
    outcome(queue, "c")
    assert [queue.find(name).outcome.status for name in "abc"] == ["finished"] * 3
    assert queue.line() == [] and queue.find("d") is None
    assert len(processes(*"abc")) == 1 and os.getpid() not in processes("a")
    assert Path("o/a/result.png").read_bytes() == b"content+style as asked"


def test_a_stopped_run_is_saved_and_the_process_goes_on(make_run, open_queue):
    queue = open_queue(0.1, *"abc")
    queue.stop("c")
    assert queue.line() == ["a", "b"] and queue.find("c").outcome.status == "interrupted"
    # The folder that claimed its name is gone with it.
    assert not Path("o/c").exists()
    wait_until(lambda: queue.find("a").step > 1)
    queue.stop("a")
    assert outcome(queue, "a").status == status("a") == "interrupted"
    add(queue, make_run("a"))
    assert outcome(queue, "a").status == status("a") == "finished"
    assert [row["step"] for row in read_metrics("o/a")] == list(range(1, STEPS + 1))
    assert len(processes("a", "b")) == 1


def test_a_stop_before_the_first_step_leaves_a_queue_that_paints(make_run, open_queue):
    """An interrupted import would leave its process useless, so another one takes its place."""
    queue = open_queue(0.5, "a")
    wait_until(lambda: queue.find("a").begun)
    queue.stop("a")
    assert outcome(queue, "a").status in ("interrupted", "finished")
    assert not Path("o/a/run.json").exists() or status("a") != "running"
    add(queue, make_run("bad"))
    assert outcome(queue, "bad").line == "no more paint"


def test_a_resumed_run_that_is_killed_before_it_reports_is_interrupted(make_run, open_queue):
    """A stop kills a process that has not reported yet, and its run.json may say `running` by then."""
    queue = open_queue(0.0, "slow")
    wait_until(lambda: Path("o/slow/run.json").exists())
    assert status("slow") == "running" and not queue.find("slow").step
    queue.stop("slow")
    assert outcome(queue, "slow").status == status("slow") == "interrupted"


def test_a_process_that_dies_takes_nothing_else_down(open_queue):
    queue = open_queue(0.0, "dies", "a")
    assert outcome(queue, "a").status == "finished" and "SIGKILL" in outcome(queue, "dies").line


def test_a_check_that_fails_ends_the_run_after_a_new_process(open_queue):
    """Memory that an earlier run's process keeps is given back before a run is refused."""
    checked = []

    def check(task):
        checked.append(task.name)
        if task.name == "large" or len(checked) == 1:
            raise UserError("too large")

    queue = open_queue(0.0, "a", "large", check=check)
    assert outcome(queue, "large").line == "too large" and not Path("o/large").exists()
    assert outcome(queue, "a").status == "finished" and checked == ["a", "a", "large", "large"]


def test_closing_saves_the_run_that_is_painted_and_forgets_those_that_wait(open_queue):
    queue = open_queue(0.3, "a", "b")
    wait_until(lambda: queue.find("a").step > 1)
    queue.close()
    assert status("a") == queue.find("a").outcome.status == "interrupted" and not Path("o/b").exists()
