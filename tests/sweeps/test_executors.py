"""Executors of this machine, with a painter that needs no TensorFlow."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from command_line import read_metrics
from painters import STEPS, FakePainter, fake_painter, outcomes, status, steps_of

from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Outcome
from neural_style_tf.sweeps import executors
from neural_style_tf.sweeps.executors import Event, Worker, gpu_of_each, one_after_another, side_by_side
from neural_style_tf.utils import runtime


def process_of(name):
    [pid] = {row["pid"] for row in read_metrics(f"o/{name}")}
    return pid


def events_until(worker, condition):
    """Return the events of a worker up to the first of which `condition` is true."""
    events = [worker.receive()]
    while not condition(events[-1]):
        events.append(worker.receive())
    return events


def test_one_after_another_ends_with_the_run_that_a_signal_ends(tasks):
    received = []

    def painter(task):
        received.append(signal.SIGINT)
        return Outcome("interrupted")

    assert outcomes(one_after_another(tasks(*"abc"), painter, received)) == {"a": Outcome("interrupted")}


class FakeWorker:
    """A process as far as `side_by_side` asks; each run ends when it is looked at."""

    made = ()

    def __init__(self, make_painter, environment):
        self.connection, self.task, self.names, self.interrupts = self, None, [], 0
        FakeWorker.made = (*FakeWorker.made, self)

    def begin(self, task):
        self.task = task
        self.names.append(task.name)
        return Event(task.name)

    def receive(self):
        task, self.task = self.task, None
        return Event(task.name, outcome=Outcome("finished"))

    def interrupt(self):
        self.interrupts += 1

    def close(self):
        self.closed = True


@pytest.fixture
def fake_workers(monkeypatch):
    """Make workers fakes, of which the first that is busy is always the one that has something to say."""
    monkeypatch.setattr(FakeWorker, "made", ())
    monkeypatch.setattr(executors, "Worker", FakeWorker)
    monkeypatch.setattr(executors, "wait", lambda connections, timeout: connections[:1])


def test_each_process_takes_neighbours_and_then_from_the_end_of_the_longest_queue(tasks, fake_workers):
    assert len(outcomes(side_by_side(tasks(*"abcdef"), None, [{}, {}], []))) == 6
    assert [worker.names for worker in FakeWorker.made] == [list("abcfe"), ["d"]]
    assert all(worker.closed for worker in FakeWorker.made)


def test_a_signal_is_passed_on_once_and_no_other_run_begins(tasks, fake_workers):
    received = []
    for event in side_by_side(tasks(*"abcdef"), None, [{}, {}], received):
        if event.outcome:
            received.append(signal.SIGINT)
    first, second = FakeWorker.made
    assert (first.names, second.names) == (["a"], ["d"])
    assert (first.interrupts, second.interrupts) == (1, 1)


def test_a_process_that_dies_fails_its_run_and_no_other(tasks):
    events = list(side_by_side(tasks("dies", "bad", "a"), fake_painter(), [{"PAINTER_MARK": "-mark"}], []))
    found = outcomes(events)
    assert found["dies"].status == "failed"
    assert "ended by SIGKILL, as the system does when memory is short" in found["dies"].line
    assert found["bad"] == Outcome("failed", "no more paint")
    assert found["a"] == Outcome("finished")
    steps = [(event.step, event.planned) for event in events if event.name == "a" and not event.outcome]
    assert steps == [(0, 0), *((step, STEPS) for step in range(1, STEPS + 1))]
    assert Path("o/a/result.png").read_bytes() == b"content+style-mark"
    assert not multiprocessing.active_children()
    # The same command goes on with the run that failed.
    assert status("dies") == "running"
    assert FakePainter()(*tasks("dies")) == Outcome("finished") and steps_of("dies") == [*range(1, STEPS + 1)]


def test_a_run_is_interrupted_and_its_process_takes_the_next(tasks):
    worker = Worker(fake_painter(0.05), {})
    [first, second, third, fourth] = tasks(*"abcd")
    worker.begin(first)
    events_until(worker, lambda event: event.step == 2)
    worker.interrupt()
    assert events_until(worker, lambda event: event.outcome)[-1].outcome == Outcome("interrupted")
    assert status("a") == "interrupted" and steps_of("a")[-1] < STEPS
    worker.begin(second)
    assert events_until(worker, lambda event: event.outcome)[-1].outcome == Outcome("finished")
    assert process_of("a") == process_of("b") != os.getpid()
    # Before the first step there is nothing to save: the process is killed, and another one takes its place.
    worker.begin(third)
    worker.interrupt()
    assert events_until(worker, lambda event: event.outcome)[-1].outcome == Outcome("interrupted")
    worker.begin(fourth)
    events_until(worker, lambda event: event.step == 2)
    worker.close()
    assert status("d") == "interrupted" and process_of("d") != process_of("b")
    assert not multiprocessing.active_children()


def test_signals_to_all_processes_are_for_the_parent_to_decide(tasks):
    """As when a terminal is closed, or a job's time is over; also while a process still imports."""
    numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
    worker = Worker(fake_painter(), {})
    worker.begin(*tasks("a"))
    for number in numbers:
        os.kill(worker._process.pid, number)
    events_until(worker, lambda event: event.step == 1)
    for number in numbers:
        os.kill(worker._process.pid, number)
    assert events_until(worker, lambda event: event.outcome)[-1].outcome == Outcome("finished")
    worker.close()
    # This process hears signals as before.
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(numbers)


def test_a_process_that_never_starts_fails_its_run(tasks):
    worker = Worker(os.abort, {})
    worker.begin(*tasks("a"))
    assert "ended by SIGABRT" in worker.receive().outcome.line
    worker.close()


@pytest.fixture
def pipe(monkeypatch):
    """Return the parent's end of a pipe, and a function that serves it in this process."""
    monkeypatch.setattr(executors, "_SHARED_SIGNALS", [])
    parent, child = multiprocessing.Pipe()
    return parent, lambda painter: executors._serve_runs(child, lambda: painter, {})


def test_a_run_is_saved_when_the_parent_is_gone(tasks, pipe):
    parent, serve = pipe
    parent.send(*tasks("a"))
    parent.close()
    serve(FakePainter())
    assert status("a") == "interrupted" and steps_of("a") == [1]


def test_a_request_to_stop_that_comes_late_is_not_for_the_next_run(tasks, pipe):
    parent, serve = pipe
    first, second = tasks(*"ab")
    for message in (first, executors._STOP, second):
        parent.send(message)
    names = []

    def painter(task, report):
        names.append(task.name)
        if task is not first and len(names) == 2:
            parent.close()
        return Outcome("finished")

    serve(painter)
    assert names == ["a", "b"]


def test_each_process_has_a_gpu_of_its_own():
    assert gpu_of_each(2, {"CUDA_VISIBLE_DEVICES": "3,5,7"}) == [
        {"CUDA_VISIBLE_DEVICES": "3"},
        {"CUDA_VISIBLE_DEVICES": "5"},
    ]
    with pytest.raises(UserError, match="--jobs=3: there are 2 GPUs"):
        gpu_of_each(3, {"CUDA_VISIBLE_DEVICES": "0,1"})
    # A card named twice is one, and CUDA hides what stands behind a name that is none.
    with pytest.raises(UserError, match="--jobs=2: there are 1 GPUs"):
        gpu_of_each(2, {"CUDA_VISIBLE_DEVICES": "1,1, -1,2"})
    for names in ("GPU-8932f937, GPU-7bd1", "MIG-GPU-8932f937/1/0,MIG-7bd1"):
        shares = gpu_of_each(2, {"CUDA_VISIBLE_DEVICES": names})
        assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == names.replace(" ", "").split(",")
    for hidden in ("", "-1", "NoDevFiles"):
        assert gpu_of_each(2, {"CUDA_VISIBLE_DEVICES": hidden}) == [{}, {}]


@pytest.mark.parametrize(
    ("files", "driver", "gpus"),
    [
        (["nvidia2"], True, 1),
        (["nvidia1", "nvidia3", "nvidia10", "nvidiactl", "nvidia-uvm"], True, 3),
        (["dxg"], True, 1),
        (["dxg"], False, 0),
        (["nvidiactl"], True, 0),
    ],
)
def test_gpus_have_the_numbers_of_cuda(tmp_path, monkeypatch, files, driver, gpus):
    """In a container, whose files keep the numbers of the machine, and under WSL2, which has one file."""
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(runtime, "_DEVICES", tmp_path)
    monkeypatch.setattr(runtime, "_WSL_DRIVERS", (tmp_path if driver else tmp_path / "none",))
    numbers = [share.get("CUDA_VISIBLE_DEVICES") for share in gpu_of_each(max(1, gpus), {})]
    assert numbers == ([str(number) for number in range(gpus)] or [None])
    if gpus:
        with pytest.raises(UserError, match=f"there are {gpus} GPUs.*CUDA_VISIBLE_DEVICES"):
            gpu_of_each(gpus + 1, {})
