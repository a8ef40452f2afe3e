"""Processes side by side, with a painter that needs no TensorFlow."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from command_line import environment, read_metrics
from painters import STEPS, fake_painter, slow_to_end
from paths import ROOT

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Outcome, Task
from neural_style_tf.sweeps import executors
from neural_style_tf.sweeps.executors import (
    Worker,
    find_shard,
    one_after_another,
    share_out,
    side_by_side,
    split,
)
from neural_style_tf.utils import runtime


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Return a function that makes runs of these names."""
    monkeypatch.chdir(tmp_path)
    Path("c").write_bytes(b"content")
    Path("s").write_bytes(b"style")

    def make(*names):
        return [Task(name, Config(), Job(content="c", style="s", output_dir=f"o/{name}")) for name in names]

    return make


def outcomes(events):
    return {event.name: event.outcome for event in events if event.outcome}


def status(folder):
    return json.loads((Path(folder) / "run.json").read_text())["status"]


def processes(name):
    return {row["pid"] for row in read_metrics(f"o/{name}")}


def test_who_asks_for_the_end_before_a_run_has_begun_is_heard(tasks, monkeypatch):
    """Its task lies in the queue, while the process still imports."""
    sent, killed = iter([*tasks("a"), None]), []

    def receive():
        for message in sent:
            return message
        raise EOFError

    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number))
    waiting = queue.SimpleQueue()
    executors._listen(types.SimpleNamespace(recv=receive), waiting, threading.Event(), threading.Lock())
    assert killed[0] == executors.RELAYED and isinstance(waiting.get(), Task)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_all_processes_does_not_end_one_that_still_imports(tasks, number):
    """It is for the parent to say what it means."""
    worker = executors.Worker(fake_painter(), {})
    os.kill(worker._process.pid, number)
    [task] = tasks("a")
    worker.begin(task)
    events = []
    while worker.task:
        events.append(worker.receive())
    worker.close()
    assert outcomes(events) == {"a": Outcome("finished")}
    # And this one hears signals as before.
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {number}


GROUP = """
import signal
from painters import fake_painter
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.jobs.task import Task
from neural_style_tf.sweeps.executors import side_by_side

if __name__ == "__main__":
    tasks = [Task(name, Config(), Job(content="c", style="s", output_dir=f"o/{name}")) for name in "ab"]
    # Under `nohup` it would be ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    interrupts = Interrupts()
    interrupts.graceful = True
    with interrupts.collected():
        for event in side_by_side(tasks, fake_painter(0.5), [{}, {}], interrupts.received):
            print(event.name, event.step, event.outcome, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_all_processes_counts_once(tasks, tmp_path, number):
    """As when a terminal is closed, or a job's time is over: a second one would end the runs at once."""
    (tmp_path / "group.py").write_text(GROUP)
    variables = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests/helpers'}")
    process = subprocess.Popen(
        [sys.executable, "group.py"],
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    begun = set()
    for line in process.stdout:
        name, step, _ = line.split(maxsplit=2)
        begun |= {name} if int(step) else set()
        if begun == {"a", "b"}:
            break
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert [status("o/a"), status("o/b")] == ["interrupted"] * 2


def test_neighbours_share_a_process_and_each_has_its_environment(tasks):
    marks = [{"PAINTER_MARK": "-first"}, {"PAINTER_MARK": "-second"}]
    found = list(side_by_side(tasks(*"abcdef"), fake_painter(0.05), marks, []))
    assert outcomes(found) == dict.fromkeys("abcdef", Outcome("finished"))
    assert [(e.step, e.planned) for e in found if e.name == "a" and not e.outcome] == [
        (0, 0),
        *((step, STEPS) for step in range(1, STEPS + 1)),
    ]
    assert Path("o/a/result.png").read_bytes() == b"content+style-first"
    assert Path("o/d/result.png").read_bytes() == b"content+style-second"
    assert processes("a") == processes("b") != processes("d") == processes("e")
    assert os.getpid() not in processes("a") | processes("d")


def test_who_has_no_more_takes_from_the_longest_queue(tasks):
    done = tasks("a")
    list(one_after_another(done, fake_painter()(), []))
    # The first two are finished already: their process takes the last of the other's.
    todo = tasks("b", "c")
    list(one_after_another(todo, fake_painter()(), []))
    found = outcomes(side_by_side([*todo, *tasks("d", "e")], fake_painter(0.2), [{}, {}], []))
    assert set(found.values()) == {Outcome("finished")} and len(found) == 4
    assert processes("d") != processes("e")


def test_a_process_that_dies_fails_its_run_and_no_other(tasks):
    found = outcomes(side_by_side(tasks("dies", "bad", "a", "b"), fake_painter(), [{}], []))
    assert found["dies"].status == "failed"
    assert "ended by SIGKILL, as the system does when memory is short" in found["dies"].line
    assert found["bad"] == Outcome("failed", "no more paint")
    assert found["a"] == found["b"] == Outcome("finished")
    assert status("o/dies") == "running"
    # The same again goes on with it.
    assert outcomes(side_by_side(tasks("dies"), fake_painter(), [{}], [])) == {"dies": Outcome("finished")}
    assert [row["step"] for row in read_metrics("o/dies")] == list(range(1, STEPS + 1))


def test_a_process_that_was_stopped_gets_no_other_run(tasks):
    """It may still be there, but reads no more."""
    worker = Worker(slow_to_end, {})
    found = []
    for task in tasks("a", "b"):
        worker.begin(task)
        if task.name == "a":
            worker.stop()
        while (event := worker.receive()).outcome is None:
            pass
        found.append(event.outcome)
    worker.close()
    assert found == [Outcome("interrupted"), Outcome("finished")]


TOLD_AT_ONCE = """
import threading, time, types
from painters import fake_painter
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.sweeps import executors

task = executors.Task("a", Config(), Job(content="c", style="s", output_dir="o"))
sent, start = [task, None], threading.Thread.start

def receive():
    if not sent:
        time.sleep(60)
    return sent.pop(0)

def start_slowly(thread):
    start(thread)
    time.sleep(20)

threading.Thread.start = start_slowly
executors._serve(types.SimpleNamespace(recv=receive), fake_painter(), {})
"""


TOLD_LATE = """
import os, queue, types
from painters import fake_painter
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.sweeps import executors

tasks = [executors.Task(name, Config(), Job(content="c", style="s", output_dir=name)) for name in "ab"]
sent = queue.SimpleQueue()
sent.put(tasks.pop(0))

def send(said):
    if isinstance(said, executors.Outcome):
        print(said.status, flush=True)
        os.kill(os.getpid(), executors.RELAYED)
        sent.put(tasks.pop(0) if tasks else None)

executors._serve(types.SimpleNamespace(recv=sent.get, send=send), fake_painter(), {})
"""


@pytest.mark.parametrize(("script", "said"), [(TOLD_AT_ONCE, ""), (TOLD_LATE, "finished\n" * 2)])
def test_a_process_is_told_to_end_at_its_beginning_or_late(tasks, tmp_path, script, said):
    """While it begins to listen it ends without a word; when its run has just ended it takes the next."""
    variables = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests/helpers'}")
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_a_signal_lets_all_save_and_begins_no_other(tasks):
    received = []
    found = {}
    for event in side_by_side(tasks(*"abcd"), fake_painter(0.3), [{}, {}], received):
        if event.step == 2 and not received:
            # Once: a second signal ends them at once.
            received.append(signal.SIGINT)
        if event.outcome:
            found[event.name] = event.outcome
    assert found == {"a": Outcome("interrupted"), "c": Outcome("interrupted")}
    assert status("o/a") == status("o/c") == "interrupted" and not Path("o/b").exists()
    assert set(outcomes(side_by_side(tasks(*"abcd"), fake_painter(), [{}, {}], [])).values()) == {
        Outcome("finished")
    }
    assert [row["step"] for row in read_metrics("o/a")] == list(range(1, STEPS + 1))


def test_processes_end_when_nobody_takes_their_events(tasks):
    events = side_by_side(tasks(*"ab"), fake_painter(0.3), [{}, {}], [])
    while next(events).step < 2:
        pass
    events.close()
    assert not executors.multiprocessing.active_children()
    assert status("o/a") == "interrupted"


def test_one_after_another_ends_with_the_run_that_a_signal_ends(tasks):
    received = []

    def painter(task):
        received.append(signal.SIGINT)
        return Outcome("interrupted")

    assert outcomes(one_after_another(tasks(*"abc"), painter, received)) == {"a": Outcome("interrupted")}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_parts_are_all_once(count):
    items = list(range(10))
    parts = [list(split(items, index, count)) for index in range(count)]
    assert [item for one in parts for item in one] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


SLURM = {f"SLURM_ARRAY_TASK_{name}": "4" for name in ("COUNT", "ID")} | {"SLURM_ARRAY_TASK_MIN": "1"}


@pytest.mark.parametrize(
    ("asked", "environment", "shard"),
    [
        ("auto", {}, (1, 1)),
        ("2/3", {}, (2, 3)),
        ("auto", SLURM, (4, 4)),
        ("none", SLURM, (1, 1)),
        ("1/2", SLURM, (1, 2)),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "2"}, (3, 4)),
        ("auto", {"SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_ID": "7"}, (1, 1)),
    ],
)
def test_the_part_of_this_command(asked, environment, shard):
    assert find_shard(asked, environment) == shard


@pytest.mark.parametrize(
    ("asked", "environment"),
    [
        *((asked, {}) for asked in ("0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3", "²/3", "")),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "9"}),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_STEP": "0"}),
        ("auto", {"SLURM_ARRAY_TASK_COUNT": "3"}),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_STEP": "2"}),
    ],
)
def test_parts_that_cannot_be(asked, environment):
    with pytest.raises(UserError, match="--shard"):
        find_shard(asked, environment)


def test_gpus_are_shared_out_one_each():
    assert share_out(2, {"CUDA_VISIBLE_DEVICES": "3,5,7"}) == [
        {"CUDA_VISIBLE_DEVICES": "3"},
        {"CUDA_VISIBLE_DEVICES": "5"},
    ]
    assert share_out(3, {"CUDA_VISIBLE_DEVICES": ""}) == share_out(3, {"CUDA_VISIBLE_DEVICES": "-1"})
    with pytest.raises(UserError, match="--jobs=3: there are 2 GPUs"):
        share_out(3, {"CUDA_VISIBLE_DEVICES": "0,1"})
    # A card named twice is one, and what stands behind a name that is none is hidden.
    with pytest.raises(UserError, match="--jobs=2: there are 1 GPUs"):
        share_out(2, {"CUDA_VISIBLE_DEVICES": "1,1, -1,2"})
    for names in ("GPU-8932f937, GPU-7bd1", "MIG-GPU-8932f937/1/0,MIG-7bd1"):
        shares = share_out(2, {"CUDA_VISIBLE_DEVICES": names})
        assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == names.replace(" ", "").split(",")
    assert share_out(2, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}) == [{}, {}]


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
    numbers = [share.get("CUDA_VISIBLE_DEVICES") for share in share_out(max(1, gpus), {})]
    assert numbers == ([str(number) for number in range(gpus)] or [None])
    if gpus:
        with pytest.raises(UserError, match=f"there are {gpus} GPUs.*CUDA_VISIBLE_DEVICES"):
            share_out(gpus + 1, {})


def test_the_events_of_a_process_that_never_starts_end(tasks):
    """What cannot even be made in a process fails run by run, and does not hang."""
    found = {}

    def collect():
        found.update(outcomes(side_by_side(tasks("a", "b"), os.abort, [{}], [])))

    thread = threading.Thread(target=collect)
    thread.start()
    thread.join(60)
    assert set(found) == {"a", "b"} and {one.status for one in found.values()} == {"failed"}
