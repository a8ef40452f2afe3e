"""A Ray cluster: a fake in this process for the logic; real clusters on loopback are slow."""

import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from command_line import BUNDLED, read_metrics, write_picture
from harness import rows
from painters import STEPS, FakePainter, fake_painter, outcomes, steps_of

from neural_style_tf.cli import main
from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.jobs.task import Outcome, Supplies, Task
from neural_style_tf.runs.output_dir import FolderInUse, OutputFolder
from neural_style_tf.runs.resume import status_of
from neural_style_tf.sweeps import ray_cluster
from neural_style_tf.sweeps.ray_cluster import RayExecutor, RunFiles, check_ray, files_of, stamps


def pack(folder):
    return {name: (folder / name).read_bytes() for name in stamps(folder)}


def send(files, name, attempt, contents, gone=()):
    files.write(name, attempt, {file: np.frombuffer(data, np.uint8) for file, data in contents.items()}, gone)


def options(address="local", ray_cpus=1, **others):
    return SweepConfig(ray=address, ray_cpus=ray_cpus, **others)


def on_ray(tasks, make_painter, sweep, received=()):
    return RayExecutor(make_painter, sweep, lambda job: None, received)(tasks)


ALL_STEPS = list(range(1, STEPS + 1))


def test_the_next_attempt_gets_what_was_saved(tasks, tmp_path):
    [task] = tasks("a")
    files = RunFiles()
    assert files.begin(task) == (1, False, {})
    painted = tmp_path / "elsewhere"
    painter, stop = FakePainter(), lambda step, planned, saved: step == 3
    assert painter(task, stop, Supplies(output_dir=str(painted))) == Outcome("interrupted")
    send(files, "a", 1, pack(painted))
    assert pack(Path("o/a")) == pack(painted) and "checkpoints/ckpt-3.3" in pack(painted)
    with pytest.raises(FolderInUse):
        OutputFolder("o/a", overwrite=False, resume=True)
    # Its machine is lost, and another one goes on.
    attempt, has_written, earlier = files.begin(task)
    assert attempt == 2 and has_written
    assert {name: content.tobytes() for name, content in earlier.items()} == pack(painted)
    # The first one is not dead after all: what it sends is dropped, and it is told to stop.
    send(files, "a", 1, {"result.png": b"late"}, ["run.json"])
    assert not Path("o/a/result.png").exists() and Path("o/a/run.json").exists()
    assert files.tick("a", 1, 5, 8) and not files.tick("a", 2, 4, 8)
    assert files.progress() == {"a": (4, 8)}
    send(files, "a", 2, {"checkpoints/ckpt-4.4": b"new"}, ["checkpoints/ckpt-3.3"])
    assert [path.name for path in Path("o/a/checkpoints").iterdir()] == ["ckpt-4.4"]
    files.stop()
    assert files.tick("a", 2, 5, 8)
    files.end("a")
    OutputFolder("o/a", overwrite=False, resume=True).release()
    files.end("a")


def test_a_folder_that_another_process_uses_is_an_outcome(tasks):
    held = OutputFolder("o/a", overwrite=False)
    assert RunFiles().begin(*tasks("a")) == Outcome("in use")
    held.release()
    Path("o/b").mkdir()
    Path("o/b/result.png").touch()
    assert RunFiles().begin(*tasks("b")).status == "failed"


def test_an_earlier_run_is_replaced_once(tasks):
    [task] = tasks("a", overwrite=True)
    FakePainter()(task)
    assert Path("o/a/result.png").exists()
    files = RunFiles()
    assert files.begin(task) == (1, False, {})
    send(files, "a", 1, {"checkpoints/ckpt-1.1": b""})
    attempt, has_written, earlier = files.begin(task)
    assert (attempt, has_written, [*earlier]) == (2, True, ["checkpoints/ckpt-1.1"])


def test_only_what_has_changed_is_sent_and_a_checkpoint_last(tasks, tmp_path):
    files, written = RunFiles(), []
    files.begin(*tasks("a"))

    def call(method, *arguments):
        if method == "write":
            written.extend(arguments[0])
        return getattr(files, method)("a", 1, *arguments)

    run = ray_cluster._LocalRun(tmp_path / "here", call)
    hidden = (".neural-style-tf.lock", ".partial-run.json-x", "images/.partial-step-2.png-x")
    for name in ("checkpoints/ckpt-1.1", "images/step-1.png", "run.json", "empty", *hidden):
        path = run.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode())
    run.send()
    assert written == ["empty", "images/step-1.png", "run.json", "checkpoints/ckpt-1.1"]
    assert pack(Path("o/a")) == pack(run.folder)
    written.clear()
    (run.folder / "run.json").write_bytes(b"other")
    (run.folder / "empty").unlink()
    run.send()
    assert written == ["run.json"] and pack(Path("o/a")) == pack(run.folder)
    copy = ray_cluster._LocalRun(tmp_path / "copy", call)
    copy.fetch({name: np.frombuffer(data, np.uint8) for name, data in pack(Path("o/a")).items()})
    copy.send()
    assert written == ["run.json"] and pack(copy.folder) == pack(run.folder)


def test_the_files_that_a_run_reads():
    assert files_of(Task("a", Config(), Job(content="c", style="s"))) == ["c", "s"]
    task = Task("a", Config(init="start.png"), Job(content="c", style="c", from_run="r"))
    assert files_of(task) == ["c", "r", "start.png"]


@pytest.mark.parametrize("setting", ["style_loss", "optimizer"])
def test_the_module_of_a_users_own_class_is_sent(setting, tasks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").touch()
    [task, other] = tasks("a", "b")
    own = dataclasses.replace(task, config=task.config.replace(**{setting: "mine:Mine"}))
    assert ray_cluster.own_modules([own, other, own]) == [str(tmp_path / "mine.py")]
    assert ray_cluster.own_modules([other]) == []


def test_ray_that_is_not_installed_is_a_line(monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[cluster\]"'):
        check_ray()


class Reference:
    def __init__(self, value):
        self.value = value


class FakeRay:
    """Ray in this process: a task runs when it is handed over, and is done at the look number `looks`.

    The resources of its machine are `free` of `had`, and become `then` at the second look.
    """

    exceptions = types.SimpleNamespace(RayError=OSError, TaskCancelledError=EOFError)

    def __init__(self, had, free=(), then=None, looks=1, shared=False):
        self.had, self.free, self.then, self.looks, self.looked = had, dict(free), then, looks, 0
        self.files = RunFiles(shared=shared)
        strategies = types.SimpleNamespace(NodeAffinitySchedulingStrategy=lambda *_, **__: None)
        self.util = types.SimpleNamespace(scheduling_strategies=strategies)

    def get_runtime_context(self):
        return types.SimpleNamespace(get_node_id=lambda: "here", gcs_address="127.0.0.1:1")

    def init(self, **options):
        pass

    def shutdown(self):
        pass

    def remote(self, **options):
        class Actor:
            @staticmethod
            def __getattr__(name):
                return types.SimpleNamespace(remote=getattr(self.files, name))

        def make(target):
            def start(*arguments, **named):
                return Actor() if target is RunFiles else Reference(target(*arguments, **named))

            return types.SimpleNamespace(remote=start)

        return make

    def put(self, value):
        return Reference(value)

    def get(self, value):
        return value.value if isinstance(value, Reference) else value

    def nodes(self):
        return [{"Alive": True, "Resources": self.had}]

    def available_resources(self):
        return self.free

    def wait(self, running, timeout):
        self.looked += 1
        if self.looked == 2 and self.then:
            self.had = self.then
        return (running, []) if self.looked >= self.looks else ([], running)


@pytest.fixture
def paint_on(monkeypatch):
    """Return a function that paints on a `FakeRay`."""

    def paint(ray, tasks, sweep, say=print):
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr(ray_cluster, "_painters", [])
        return outcomes(RayExecutor(fake_painter(), sweep, lambda job: None, [], say)(tasks))

    return paint


@pytest.fixture
def head(monkeypatch):
    """Let the head of the cluster answer."""
    monkeypatch.setattr(ray_cluster.socket, "create_connection", lambda *_, **__: socket.socket())


@pytest.mark.parametrize("shared", [False, True])
def test_tasks_paint_from_copies_and_their_files_come_back(tasks, paint_on, head, shared):
    runs = [*tasks("bad"), *tasks("a", output="out/copy.png"), *tasks("b")]
    Path("out").mkdir()
    # A file that has gone since the check ends its run, and no other.
    lost = dataclasses.replace(runs[0], name="lost", job=runs[0].job.replace(content="gone.png"))
    ray = FakeRay({"CPU": 2}, shared=shared)
    assert paint_on(ray, [lost, *runs], options(shared_output=shared)) == {
        "lost": Outcome(
            "failed", "No such file or directory: gone.png; was it moved or removed during the run?"
        ),
        "bad": Outcome("failed", "no more paint"),
        "a": Outcome("finished"),
        "b": Outcome("finished"),
    }
    assert Path("o/a/result.png").read_bytes() == b"content+style"
    assert Path("out/copy.png").read_bytes() == b"a copy"
    assert [path.name for path in Path("o/a/checkpoints").iterdir()] == [f"ckpt-{STEPS}.{STEPS}"]
    assert not Path("o/a/.neural-style-tf.lock").exists()


@pytest.mark.parametrize("reached", [0, 2])
def test_an_earlier_result_in_a_shared_folder_is_replaced_after_a_machine_was_lost(
    tasks, paint_on, head, reached
):
    """Whether before its first step or after: --overwrite is meant once, and not forgotten."""
    [task] = tasks("a", overwrite=True)
    FakePainter()(task)
    ray = FakeRay({"CPU": 2}, shared=True)
    ray.files.begin(task)

    def report(step, planned, saved):
        ray.files.tick("a", 1, step, planned)
        return step == reached

    if reached:
        FakePainter()(task, report)
    Path("c").write_bytes(b"new")
    assert paint_on(ray, [task], options(shared_output=True)) == {"a": Outcome("finished")}
    assert Path("o/a/result.png").read_bytes() == b"new+style"
    # It begins anew, or goes on from the second step.
    assert steps_of("a") == (ALL_STEPS[:reached] or ALL_STEPS) + ALL_STEPS


@pytest.mark.parametrize(
    ("had", "free", "then", "line"),
    [
        ({"CPU": 0}, {}, None, "a takes 1 CPU; free in the cluster: 0 of 0 CPU; no machine has that much"),
        ({"CPU": 4, "memory": 8e9}, {"CPU": 1.0, "memory": 8e9}, None, "takes 2 CPU; free .*: 1 of 4 CPU$"),
        (
            {"CPU": 2, "GPU": 1},
            {"CPU": 2.0},
            {"CPU": 2},
            "takes 2 CPU, 1 GPU; free in the cluster: 2 of 2 CPU, 0 of 0 GPU; no machine has that much",
        ),
    ],
)
def test_what_is_waited_for_is_said_once(tasks, monkeypatch, paint_on, head, had, free, then, line):
    """A head without cores, a busy cluster, a machine with a GPU that leaves."""
    monkeypatch.setattr(ray_cluster, "START_SECONDS", 0.0)
    # Nothing begins, unless it did before the machine left.
    monkeypatch.setattr(ray_cluster, "paint_on_node", lambda *_, **__: Outcome("finished"))
    lines = []
    ray = FakeRay(had, free, then, looks=5)
    if then:
        ray.files.begin(*tasks("a"))
    assert paint_on(ray, tasks("a"), options(ray_cpus=2), lines.append) == {"a": Outcome("finished")}
    assert len(lines) == 1 and re.search(line, lines[0]) and lines[0].isprintable()


def test_a_cluster_that_is_gone_ends_the_sweep_in_a_line(tasks, monkeypatch, paint_on):
    """Nothing listens at its address; Ray would end this process after a minute."""
    monkeypatch.setattr(ray_cluster, "HEAD_SECONDS", 0.0)
    monkeypatch.setattr(ray_cluster, "LOOK_UP_SECONDS", 0.01)
    with pytest.raises(
        RunError, match=r"cluster at 127\.0\.0\.1:1 does not answer any more \(.+\); what was"
    ):
        paint_on(FakeRay({"CPU": 2}), tasks("a"), options())


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", r"--ray=127\.0\.0\.1:1: no cluster there"),
        ("somewhere", "must be auto, local or HOST:PORT"),
        ("host:70000", "must be auto, local or HOST:PORT"),
    ],
)
def test_no_cluster_is_a_line(tasks, address, line):
    with pytest.raises(UserError, match=line):
        on_ray(tasks("a"), fake_painter(), options(address))
    assert list(on_ray([], fake_painter(), options(address))) == []


def test_other_versions_than_the_cluster_s_are_both_named(tasks, monkeypatch):
    text = "Version mismatch: The cluster with:\n    Ray: 2.60.0\nThis process with:\n    Ray: 2.59.0\n"

    def init(**options):
        raise RuntimeError(text)

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    with pytest.raises(
        UserError, match=r"with: Ray: 2\.60\.0 This process with: Ray: 2\.59\.0; install the same"
    ):
        on_ray(tasks("a"), fake_painter(), options())


@pytest.mark.slow
def test_a_cluster_of_this_machine(tasks):
    """One driver, real processes of Ray, a painter without TensorFlow."""
    pytest.importorskip("ray")
    runs = [*tasks("a", "dies", "bad"), *tasks("copied", output="out/copy.png")]
    found = outcomes(on_ray(runs, fake_painter(), options()))
    assert found == dict.fromkeys(("a", "dies", "copied"), Outcome("finished")) | {
        "bad": Outcome("failed", "no more paint")
    }
    assert Path("o/a/result.png").read_bytes() == b"content+style"
    assert Path("out/copy.png").read_bytes() == b"a copy"
    # Its process was killed once; the next attempt went on from the second step.
    rows = read_metrics("o/dies")
    assert [row["step"] for row in rows] == ALL_STEPS and len({row["pid"] for row in rows}) == 2


@pytest.fixture
def two_nodes(tasks):
    """Return a cluster of two machines on loopback."""
    utilities = pytest.importorskip("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_signal_saves_and_the_same_again_goes_on(two_nodes, tasks):
    sweep = options(two_nodes.address, shared_output=True)
    received, found = [], {}
    for event in on_ray(tasks(*"abcd"), fake_painter(0.5), sweep, received):
        if event.step >= 2 and not received:
            received.append(signal.SIGINT)
        if event.outcome:
            found[event.name] = event.outcome.status
    assert "interrupted" in found.values() and "finished" not in found.values()
    again = outcomes(on_ray(tasks(*"abcd"), fake_painter(), sweep))
    assert again == dict.fromkeys("abcd", Outcome("finished"))
    assert all(steps_of(name) == ALL_STEPS for name in "abcd")


@pytest.mark.slow
def test_a_sweep_on_two_machines_has_the_bits_of_one_process_and_survives_the_loss_of_one(two_nodes, tasks):
    write_picture(Path("c.png"))
    write_picture(Path("s.png"), (40, 50), seed=1)
    common = [
        *("run.py", "--content=c.png", "--style=s.png", *BUNDLED, "--content_layers=relu1_1"),
        *("--style_layers=relu1_1", "--iterations=400", "--log_every=20", "--save_every=20"),
        *("--sweep=tv_weight=0,5,9,20", "--threads=1"),
    ]
    assert main.run([*common, "--output_dir=ray", f"--ray={two_nodes.address}"]) == 0

    def is_going_on(folder):
        return list(folder.glob("checkpoints/ckpt-*")) and status_of(folder) == "running"

    def kill():
        # Both machines have saved something.
        while len([folder for folder in Path("lost").glob("*=*") if is_going_on(folder)]) < 2:
            time.sleep(0.1)
        [lost] = two_nodes.worker_nodes
        two_nodes.remove_node(lost, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main.run([*common, "--output_dir=lost", f"--ray={two_nodes.address}"]) == 0
    killer.join()
    # Beside each other, in a process each: the number of threads holds for a whole process.
    assert main.run([*common, "--output_dir=one", "--jobs=2"]) == 0

    for value in (0, 5, 9, 20):
        folders = [Path(root, f"tv_weight={value}") for root in ("ray", "lost", "one")]
        assert len({(folder / "result.png").read_bytes() for folder in folders}) == 1
        assert rows(folders[0]) == rows(folders[1]) == rows(folders[2])
    resumed = [json.loads(path.read_text()).get("resumed", []) for path in Path("lost").glob("*/run.json")]
    assert sum(map(len, resumed)) >= 1
