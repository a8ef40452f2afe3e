"""A Ray cluster: what keeps the folders, and, with Ray installed, real clusters on loopback."""

import dataclasses
import json
import os
import re
import signal
import socket
import threading
import time
import types
from pathlib import Path

import pytest
from command_line import BUNDLED, read_metrics, write_picture
from painters import STEPS, FakePainter, fake_painter
from paths import ROOT

from neural_style_tf.cli import main
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.jobs.task import Outcome, Supplies, Task
from neural_style_tf.runs.output_dir import FolderInUse, OutputFolder
from neural_style_tf.sweeps import ray_cluster
from neural_style_tf.sweeps.ray_cluster import Cluster, Keeper, files_of, on_ray, pieces, stamps


def pack(folder):
    return {name: (folder / name).read_bytes() for name in stamps(folder)}


def send(keeper, name, attempt, files, removed=()):
    for file, data in files.items():
        keeper.store(name, attempt, file, data, first=True, last=True)
    keeper.remove(name, attempt, removed)


def received(keeper, name, found):
    return {file: keeper.read(name, file, 0) for file in found}


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Where processes of the cluster find `painters`.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")]))
    Path("c").write_bytes(b"content")
    Path("s").write_bytes(b"style")

    def make(*names, **files):
        return [
            Task(name, Config(), Job(content="c", style="s", output_dir=f"o/{name}", **files))
            for name in names
        ]

    return make


def test_a_keeper_gives_the_next_attempt_what_was_saved(tasks, tmp_path):
    [task] = tasks("a")
    keeper = Keeper()
    assert keeper.begin(task) == (1, False, {})
    painted = tmp_path / "elsewhere"
    painter, stop = FakePainter(), lambda step, planned, saved: step == 3
    assert painter(task, stop, Supplies(output_dir=str(painted))) == Outcome("interrupted")
    send(keeper, "a", 1, pack(painted))
    assert pack(Path("o/a")) == pack(painted) and "checkpoints/ckpt-3.3" in pack(painted)
    with pytest.raises(FolderInUse):
        OutputFolder("o/a", overwrite=False, resume=True)
    # The machine is lost, and another one goes on.
    attempt, written, found = keeper.begin(task)
    assert attempt == 2 and written and received(keeper, "a", found) == pack(painted)
    # The first one is not dead after all: it is not heard, and told to stop.
    send(keeper, "a", 1, {"result.png": b"late"}, ["run.json"])
    assert not Path("o/a/result.png").exists() and Path("o/a/run.json").exists()
    assert keeper.tick("a", 1, 5, 8) and not keeper.tick("a", 2, 4, 8)
    assert keeper.progress() == {"a": (4, 8)}
    send(keeper, "a", 2, {"checkpoints/ckpt-4.4": b"new"}, ["checkpoints/ckpt-3.3"])
    assert [path.name for path in Path("o/a/checkpoints").iterdir()] == ["ckpt-4.4"]
    keeper.stop()
    assert keeper.tick("a", 2, 5, 8)
    keeper.end("a")
    OutputFolder("o/a", overwrite=False, resume=True).release()
    keeper.end("a")


def test_a_keeper_writes_only_where_the_run_is(tasks):
    keeper = Keeper()
    keeper.begin(*tasks("a"))
    for name in ("../other", "/tmp/other", "x/../../other"):
        with pytest.raises(ValueError, match="not in the folder"):
            keeper.store("a", 1, name, b"", first=True, last=True)
        with pytest.raises(ValueError, match="not in the folder"):
            keeper.remove("a", 1, [name])
        with pytest.raises(ValueError, match="not in the folder"):
            keeper.read("a", name, 0)


def test_a_keeper_lets_an_earlier_run_be_replaced_once(tasks):
    [task] = tasks("a", overwrite=True)
    FakePainter()(task)
    assert Path("o/a/result.png").exists()
    keeper = Keeper()
    assert keeper.begin(task) == (1, False, {})
    send(keeper, "a", 1, {"checkpoints/ckpt-1.1": b""})
    attempt, written, found = keeper.begin(task)
    assert attempt == 2 and written and list(found) == ["checkpoints/ckpt-1.1"]


def test_a_keeper_of_a_shared_folder_only_counts(tasks):
    keeper = Keeper(shared=True)
    assert keeper.begin(*tasks("a")) == (1, False, {})
    assert keeper.begin(*tasks("a")) == (2, False, {})
    send(keeper, "a", 2, {"result.png": b""})
    assert not Path("o").exists()


@pytest.mark.parametrize("size", [0, 3, 4, 5, 8, 9])
def test_a_large_file_is_sent_in_pieces_and_appears_whole(tasks, tmp_path, monkeypatch, size):
    monkeypatch.setattr(ray_cluster, "PIECE", 4)
    (tmp_path / "large").write_bytes(bytes(range(size)))
    keeper = Keeper()
    keeper.begin(*tasks("a"))
    sent = list(pieces(tmp_path / "large"))
    assert all(len(data) <= 4 for data, _, _ in sent)
    for data, first, last in [sent[0], *sent]:
        # The first piece comes twice: a machine is lost, and another one begins anew.
        assert not Path("o/a/x").exists()
        keeper.store("a", 1, "x", data, first=first, last=last and len(sent) > 1)
    if len(sent) == 1:
        keeper.store("a", 1, "x", sent[0][0], first=True, last=True)
    assert Path("o/a/x").read_bytes() == bytes(range(size))
    assert b"".join(keeper.read("a", "x", start) for start in range(0, size, 4)) == bytes(range(size))
    assert list(stamps(Path("o/a"))) == ["x"]


def test_half_written_files_and_locks_are_not_sent(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "step-1.png").write_bytes(b"1")
    (tmp_path / "run.json").write_bytes(b"2")
    for name in (".neural-style-tf.lock", ".partial-run.json-x", "images/.partial-step-2.png-x"):
        (tmp_path / name).write_bytes(b"")
    assert pack(tmp_path) == {"images/step-1.png": b"1", "run.json": b"2"}
    assert set(stamps(tmp_path / "none")) == set()


def test_what_a_run_reads():
    assert files_of(Config(), Job(content="c", style="s")) == ["c", "s"]
    assert files_of(Config(init="start.png"), Job(content="c", style="c", from_run="r")) == [
        *("c", "r", "start.png")
    ]


def test_ray_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[cluster\]"'):
        Cluster("auto", 1, shared=False).check()


class _Local:
    """Ray, in this thread."""

    class exceptions:
        RayTaskError = RuntimeError

    @staticmethod
    def get(value):
        return value

    class Actor:
        def __init__(self, actor):
            self._actor = actor

        def __getattr__(self, name):
            method = getattr(self._actor, name)

            class Method:
                @staticmethod
                def remote(*given, **named):
                    return method(*given, **named)

            return Method


def test_a_task_paints_from_copies_and_sends_what_it_wrote(tasks, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", _Local)
    monkeypatch.setattr(ray_cluster, "_painters", {})
    [task] = tasks("a", output="copy.jpg")
    keeper = Keeper()
    files = {"c": [b"other content"], "s": [b"other style"]}
    done = ray_cluster.paint_on_node(fake_painter(), _Local.Actor(keeper), task, files, [None], shared=False)
    assert done == Outcome("finished")
    assert Path("o/a/result.png").read_bytes() == b"other content+other style"
    assert Path("copy.jpg").read_bytes() == b"a copy"
    assert [path.name for path in Path("o/a/checkpoints").iterdir()] == [f"ckpt-{STEPS}.{STEPS}"]
    [task] = tasks("b")
    keeper = Keeper(shared=True)
    files = {"c": [b"c"], "s": [b"s"]}
    done = ray_cluster.paint_on_node(fake_painter(), _Local.Actor(keeper), task, files, [None], shared=True)
    assert done == Outcome("finished") and Path("o/b/result.png").read_bytes() == b"c+s"


@pytest.mark.parametrize(("reached", "told"), [(0, False), (2, True), (2, False)])
def test_an_earlier_result_in_a_shared_folder_is_replaced_after_a_machine_was_lost(
    tasks, monkeypatch, reached, told
):
    """Whether it was lost before its first step or after: --overwrite is meant once, and not forgotten."""
    monkeypatch.setitem(__import__("sys").modules, "ray", _Local)
    monkeypatch.setattr(ray_cluster, "_painters", {})
    [task] = tasks("a", overwrite=True)
    FakePainter()(task)
    before = [row["step"] for row in read_metrics("o/a")]
    keeper = Keeper(shared=True)
    keeper.begin(task)

    def report(step, planned, saved):
        keeper.tick("a", 1, *((step, planned) if told else (0, 0)))
        return step == reached

    if reached:
        FakePainter()(task, report)
    files = {"c": [b"new"], "s": [b"s"]}
    done = ray_cluster.paint_on_node(fake_painter(), _Local.Actor(keeper), task, files, [None], shared=True)
    assert done == Outcome("finished") and Path("o/a/result.png").read_bytes() == b"new+s"
    assert [row["step"] for row in read_metrics("o/a")] == before * 2


class _Waiting(_Local):
    """Ray, on a cluster whose resources are `free` of `had`; they become `then`."""

    def __init__(self, had, free, then=None):
        self.had, self.free, self.then, self.looks, self.asked = had, free, then, 0, []
        self.util = types.SimpleNamespace(scheduling_strategies=types.SimpleNamespace())
        self.util.scheduling_strategies.NodeAffinitySchedulingStrategy = lambda *_, **__: None

    def get_runtime_context(self):
        return types.SimpleNamespace(get_node_id=lambda: "here", gcs_address="127.0.0.1:1")

    def remote(self, **options):
        def make(target):
            if target is Keeper:
                keeper = self.keeper = Keeper()
                return types.SimpleNamespace(remote=lambda **_: _Local.Actor(keeper))
            self.asked.append(options)
            return types.SimpleNamespace(remote=lambda *_, **__: Outcome("finished"))

        return make

    def put(self, value):
        return value

    def nodes(self):
        return [{"Alive": True, "Resources": self.had}]

    def available_resources(self):
        return self.free

    def wait(self, running, timeout):
        self.looks += 1
        if self.looks == 2:
            self.had = self.then or self.had
        return (running, []) if self.looks > 4 else ([], running)


@pytest.mark.parametrize(
    ("had", "free", "then", "said"),
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
def test_what_is_waited_for_is_said_once(tasks, monkeypatch, had, free, then, said):
    """A head without cores, a busy cluster, a machine with a GPU that leaves."""
    monkeypatch.setattr(ray_cluster, "SECONDS_TO_START", 0.0)
    monkeypatch.setattr(ray_cluster.socket, "create_connection", lambda *_, **__: socket.socket())
    ray, lines = _Waiting(had, free, then), []
    driver = ray_cluster._Driver(
        *(ray, fake_painter(), Cluster("auto", 2, shared=False), lambda job: None, [], lines.append)
    )
    if then:
        # Begun before the machine left.
        ray.keeper.begin(*tasks("a"))
    found = [event.outcome for event in driver.paint(tasks("a")) if event.outcome]
    assert found == [Outcome("finished")]
    [line] = lines
    assert re.search(said, line) and line.isprintable()


def test_a_cluster_that_is_gone_ends_the_sweep_in_a_line(tasks, monkeypatch):
    """Nothing listens at its address; Ray would end this process after a minute."""
    monkeypatch.setattr(ray_cluster, "SECONDS_TO_MISS", 0.0)
    monkeypatch.setattr(ray_cluster, "SECONDS_TO_LOOK_UP", 0.01)
    driver = ray_cluster._Driver(
        _Waiting({"CPU": 2}, {}), *(fake_painter(), Cluster("auto", 2, shared=False), None, [], print)
    )
    with pytest.raises(
        RunError, match=r"cluster at 127\.0\.0\.1:1 does not answer any more \(.+\); what was"
    ):
        list(driver.paint(tasks("a")))


def test_a_cluster_of_this_machine(tasks):
    """One driver, real processes of Ray, a painter without TensorFlow."""
    pytest.importorskip("ray")
    cluster = Cluster("local", 1, shared=False)
    todo = [*tasks("a", "dies", "bad"), *tasks("copied", output="out/copy.png")]
    # A file that is no longer there ends its run, and no other.
    todo.insert(1, dataclasses.replace(todo[0], name="lost", job=todo[0].job.replace(content="gone.png")))
    found = {
        e.name: e.outcome for e in on_ray(todo, fake_painter(), cluster, lambda job: None, []) if e.outcome
    }
    assert found == dict.fromkeys(("a", "dies", "copied"), Outcome("finished")) | {
        "bad": Outcome("failed", "no more paint"),
        "lost": Outcome("failed", "gone.png cannot be read: No such file or directory"),
    }
    assert Path("o/a/result.png").read_bytes() == b"content+style"
    assert Path("out/copy.png").read_bytes() == b"a copy"
    # Its process was killed once; the next attempt went on from the second step.
    rows = read_metrics("o/dies")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert len({row["pid"] for row in rows}) == 2
    assert list(on_ray([], fake_painter(), cluster, lambda job: None, [])) == []


@pytest.fixture
def two_nodes(tasks):
    """Return a cluster of two machines on loopback, and the drivers' address; ended by their processes."""
    utilities = pytest.importorskip("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.slow
def test_a_lost_machine_loses_nothing(two_nodes, tasks):
    cluster = Cluster(two_nodes.address, 1, shared=False)
    events = on_ray(tasks(*"abcdef"), fake_painter(0.5), cluster, lambda job: None, [])
    found, killed = {}, False
    for event in events:
        if event.outcome:
            found[event.name] = event.outcome
        elif event.step >= 3 and not killed:
            killed = True
            [lost] = two_nodes.worker_nodes
            two_nodes.remove_node(lost, allow_graceful=False)
    assert killed and found == dict.fromkeys("abcdef", Outcome("finished"))
    attempts = {name: read_metrics(f"o/{name}") for name in "abcdef"}
    for rows in attempts.values():
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    # Only the one that the lost machine painted was begun twice, and not from the beginning.
    twice = [rows for rows in attempts.values() if len({row["pid"] for row in rows}) > 1]
    assert len(twice) == 1


@pytest.mark.slow
def test_a_signal_saves_and_the_same_again_goes_on(two_nodes, tasks):
    cluster = Cluster(two_nodes.address, 1, shared=True)
    received, found = [], {}
    for event in on_ray(tasks(*"abcd"), fake_painter(0.5), cluster, lambda job: None, received):
        if event.step >= 2 and not received:
            received.append(signal.SIGINT)
        if event.outcome:
            found[event.name] = event.outcome.status
    assert "interrupted" in found.values() and "finished" not in found.values()
    again = on_ray(tasks(*"abcd"), fake_painter(), cluster, lambda job: None, [])
    assert {e.name: e.outcome.status for e in again if e.outcome} == dict.fromkeys("abcd", "finished")
    for name in "abcd":
        assert [row["step"] for row in read_metrics(f"o/{name}")] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", r"--ray=127\.0\.0\.1:1: no cluster there"),
        ("somewhere", "must be auto, local or HOST:PORT"),
        ("host:70000", "must be auto, local or HOST:PORT"),
    ],
)
def test_no_cluster_is_a_line(tasks, address, said):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=said):
        list(on_ray(tasks("a"), fake_painter(), Cluster(address, 1, shared=False), lambda job: None, []))


def test_other_versions_than_the_cluster_s_are_both_named(tasks, monkeypatch):
    ray = pytest.importorskip("ray")
    said = "Version mismatch: The cluster with:\n    Ray: 2.60.0\nThis process with:\n    Ray: 2.59.0\n"

    def init(**options):
        raise RuntimeError(said)

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(
        UserError, match=r"with: Ray: 2\.60\.0 This process with: Ray: 2\.59\.0; install the same"
    ):
        on_ray(tasks("a"), fake_painter(), Cluster("local", 1, shared=False), lambda job: None, [])


@pytest.mark.slow
def test_a_sweep_on_two_machines_has_the_bits_of_one_process_and_survives_the_loss_of_one(
    two_nodes, tasks, monkeypatch
):
    write_picture(Path("c.png"))
    write_picture(Path("s.png"), (40, 50), seed=1)
    common = [
        *("run.py", "--content=c.png", "--style=s.png", *BUNDLED, "--content_layers=relu1_1"),
        *("--style_layers=relu1_1", "--iterations=600", "--log_every=20", "--save_every=20"),
        "--sweep=tv_weight=0,5,9,20",
    ]
    assert main.run([*common, "--output_dir=ray", f"--ray={two_nodes.address}", "--threads=1"]) == 0

    def kill():
        while not list(Path("lost").glob("*/checkpoints/ckpt-*")):
            time.sleep(0.1)
        [lost] = two_nodes.worker_nodes
        two_nodes.remove_node(lost, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main.run([*common, "--output_dir=lost", f"--ray={two_nodes.address}", "--threads=1"]) == 0
    killer.join()
    # A process of its own, since the number of threads holds for a whole process.
    import subprocess
    import sys

    alone = [sys.executable, str(ROOT / "run.py"), *common[1:], "--output_dir=one", "--threads=1"]
    subprocess.run(alone, check=True, stdout=subprocess.DEVNULL)
    for value in (0, 5, 9, 20):
        results = {
            (Path(root) / f"tv_weight={value}" / "result.png").read_bytes() for root in ("ray", "lost", "one")
        }
        assert len(results) == 1
        rows = [
            [
                {k: v for k, v in row.items() if k != "seconds"}
                for row in read_metrics(f"{root}/tv_weight={value}")
            ]
            for root in ("ray", "lost", "one")
        ]
        assert rows[0] == rows[1] == rows[2]
    resumed = [json.loads(path.read_text()).get("resumed", []) for path in Path("lost").glob("*/run.json")]
    assert sum(map(len, resumed)) >= 1
