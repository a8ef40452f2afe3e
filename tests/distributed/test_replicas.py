"""Several workers paint the same picture as one, and end together when one of them is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf
from command_line import environment, read_metrics, with_usual, write_picture, write_pictures
from narrow import SHALLOW, make_narrow_weights
from paths import ROOT

from neural_style_tf.cli import main
from neural_style_tf.config.schema import Config
from neural_style_tf.distributed import replicas
from neural_style_tf.distributed.barrier import wait_for_all
from neural_style_tf.distributed.cluster_config import WorkerInfo, find_worker
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import load_image
from neural_style_tf.jobs import machine
from neural_style_tf.losses import evaluate
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.guides import EVERYWHERE, Guidance, Region
from neural_style_tf.losses.objective import plan_for
from neural_style_tf.losses.targets import gather_statistics, make_targets
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.models.network import build_network
from neural_style_tf.tiling import grid

FLAGS = ["--iterations=6", "--log_every=3", "--save_every=3", "--init=content"]
FILES = ["--content=c.png", "--style=s.png"]
PATHS = f"{ROOT}:{ROOT / 'tests/helpers'}"


def tf_config(index, addresses):
    parts = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(parts)}


# Which process is which


def test_place():
    two = ["a:1", "b:2"]
    assert find_worker("auto", {}) == find_worker("none", tf_config(1, two)) == WorkerInfo()
    assert find_worker("auto", tf_config(1, two)) == WorkerInfo(1, ("a:1", "b:2"), 2)
    chief = {"cluster": {"chief": ["c:3"], "worker": two}, "task": {"type": "worker", "index": "1"}}
    place = find_worker("multiworker", {"TF_CONFIG": json.dumps(chief)})
    assert place == WorkerInfo(2, ("c:3", "a:1", "b:2"), 3, chief_job=True)
    assert (
        place.name(0) == "worker 0 (c:3)"
        and place.rank_of("chief", 0) == 0
        and place.rank_of("worker", 0) == 1
    )
    slurm = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}
    assert find_worker("auto", slurm) == WorkerInfo() and find_worker("multiworker", slurm) == WorkerInfo(
        1, workers=4
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is no JSON object"),
        ('{"cluster": ["a:1"]}', "has no object 'cluster'"),
        ('{"cluster": {"worker": "a:1"}}', "must list the addresses of 'worker'"),
        ('{"cluster": {"worker": ["a"]}}', "'a', which is not host:port"),
        ('{"cluster": {"ps": ["a:1"]}}', "names the job 'ps'"),
        (
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
            "an address twice",
        ),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "the task type 'chief'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "the task index 1"),
        ('{"cluster": {"worker": ["a:1"]}}', "the task type None"),
    ],
)
def test_malformed_clusters_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        find_worker("auto", {"TF_CONFIG": given})


def test_no_cluster_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    content = str(write_picture(tmp_path / "c.png"))
    flags = ["run.py", f"--content={content}", f"--style={content}"]
    assert main.run([*flags, "--distribute=multiworker"]) == 2
    assert "finds no cluster: set TF_CONFIG" in capsys.readouterr().err
    monkeypatch.setenv("TF_CONFIG", "{")
    assert main.run(flags) == 2
    error = capsys.readouterr().err
    assert "TF_CONFIG is not JSON" in error and error.count("\n") == 1


def test_slurm_addresses(monkeypatch):
    from neural_style_tf.distributed.replicas import _under_slurm

    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in {
        "PROCID": 2,
        "STEP_NUM_TASKS": 3,
        "STEP_NODELIST": "n[1-2]",
        "STEP_TASKS_PER_NODE": "2,1",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    place = _under_slurm(find_worker("multiworker", os.environ))
    assert place == WorkerInfo(2, ("n1:8888", "n1:8889", "n2:8888"), 3)
    assert find_worker("auto", os.environ) == place


# Who does what


@pytest.mark.parametrize("tile", [None, 96, 256])
@pytest.mark.parametrize("size", [(2000, 2000), (400, 900), (33, 20)])
@pytest.mark.parametrize("replicas", [1, 3, 8])
def test_shares_cover_the_picture_and_are_nearly_equal(size, tile, replicas):
    parts = grid.plan_shares(*size, tile=tile, replicas=replicas, stride=16, halo=80)
    assert len(parts) == replicas and all(parts)
    covered = np.zeros(size, int)
    for part in parts:
        for one in part:
            top, bottom, left, right = one.core
            assert tile is None or max(bottom - top, right - left) <= tile
            covered[top:bottom, left:right] += 1
            for axis in (0, 2):
                first, last = one.window[axis : axis + 2]
                assert first == max(0, one.core[axis] - 80) or first < one.core[axis] - 80
                # With nothing else to do, a replica has a core of nothing.
                assert last >= min(size[axis // 2], one.core[axis + 1] + 80) or not any(one.core)
                assert first <= one.core[axis] <= one.core[axis + 1] <= last <= size[axis // 2]
    assert (covered == 1).all()
    work = [sum(map(grid.window_area, part)) for part in parts]
    if min(size) >= 2000 and tile != 256:
        assert max(work) <= 1.05 * np.mean(work)


@pytest.mark.parametrize(
    ("style_loss", "masks", "tile"),
    [
        ("moments", False, None),
        # What masks add is covered by tiles, which add up likewise (`test_guides`).
        pytest.param("wasserstein", True, 32, marks=pytest.mark.slow),
    ],
)
def test_parts_add_up(style_loss, masks, tile):
    """The arithmetic of three replicas, in this process; also of two styles, each in its region."""
    config = Config(content_loss="relative", style_loss=style_loss, **SHALLOW)
    weights = make_narrow_weights(divisor=32, dtype="float64")
    network = build_network(weights.kernels, weights.biases, outputs=config.loss.layers, dtype="float64")
    rng = np.random.default_rng(0)
    content, style, image = (
        # The style picture has two tiles, so that one of the three has nothing to do.
        tf.constant(50 * rng.standard_normal((1, *shape, 3)))
        for shape in [(75, 91), (40, 101), (75, 91)]
    )
    guidance, styles = EVERYWHERE, [style]
    if masks:
        ramp = np.tile(np.linspace(0, 1, 91, dtype=np.float32), (75, 1))
        regions = (Region(ramp, (0,)), Region(0.5 * (1 - ramp), (1,), 2.0))
        left = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (40, 1))
        guidance, styles = Guidance(regions, (None, left), 1 - ramp), [style, style[:, ::-1]]
    expected = by_hand.compute_targets(network, content, styles, config, guidance=guidance)
    terms, sources = make_terms(config.loss, guidance), by_hand.sources(content, styles, config, guidance)
    plans = [
        [grid.share_out(plan_for(network, terms, source.size, 64), 3)[rank] for source in sources]
        for rank in range(3)
    ]
    as_it_is = {"prepare": tf.convert_to_tensor}
    found = [gather_statistics(network, sources, plans=plan, **as_it_is) for plan in plans]
    added = tf.nest.map_structure(lambda *one: sum(one), *found)
    targets = make_targets(terms, sources, added, {}, VGG19)
    for value, other in zip(tf.nest.flatten(expected), tf.nest.flatten(targets), strict=True):
        np.testing.assert_allclose(other, value, atol=1e-12 * np.abs(value).max())
    stride, halo = VGG19.alignment(tuple(term.layer for term in terms if term.layer))
    parts = grid.plan_shares(75, 91, tile=tile, replicas=3, stride=stride, halo=halo)
    arguments = by_hand.arguments_of(expected, terms, guidance)
    # What each replica adds to a sum, in the order of the sums: the losses' first, then the gradient's.
    given = []

    def share(plan, known):
        asked = iter(known)

        def reduce(nest):
            given.append(nest)
            return next(asked, nest)

        return evaluate.evaluate(network, terms, image, arguments, plan, reduce)

    for plan in parts:
        share(plan, [])
    sums = tf.nest.map_structure(lambda *one: sum(one), *given[::2])
    gradient = sum(share(plan, [sums])[1] for plan in parts)
    whole = by_hand.make_objective(network, expected, config, image.shape, guidance=guidance)
    np.testing.assert_allclose(gradient, whole(image)[1], atol=1e-12 * np.abs(gradient).max())


# Several processes


@pytest.fixture
def start(tmp_path):
    """Return a function that starts workers on loopback; all are killed in the end."""
    write_pictures(tmp_path)
    processes = []

    def spawn(count, *flags, extra=()):
        """The last worker has flags of its own, `extra`."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        command = [sys.executable, ROOT / "tests/helpers/worker.py", *FILES, *with_usual(flags, FLAGS)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        for index in range(count):
            own = extra if index == count - 1 else ()
            variables = environment(PYTHONPATH=PATHS) | tf_config(index, addresses)
            processes.append(subprocess.Popen([*command, *own], cwd=tmp_path, env=variables, **pipes))
        return processes[-count:]

    yield spawn
    for process in processes:
        process.kill()
        process.communicate()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def end(processes, timeout=200):
    """Return exit codes and what was written to standard error."""
    texts = [process.communicate(timeout=timeout) for process in processes]
    return [process.returncode for process in processes], [error for _, error in texts]


def wait_for(process, start_of_line):
    for line in process.stdout:
        if line.startswith(start_of_line):
            return
    raise AssertionError(process.stderr.read())


def check_same_run(one, other):
    for row, twin in zip(read_metrics(one), read_metrics(other), strict=True):
        assert row.keys() == twin.keys()
        for name in row.keys() - {"seconds"}:
            assert twin[name] == pytest.approx(row[name], rel=1e-5), (row["step"], name)
    first, second = (load_image(str(folder / "result.png")).pixels for folder in (one, other))
    assert np.abs(first - second).max() <= 1


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Return a function that runs the same in this process."""
    monkeypatch.chdir(tmp_path)
    weights = make_narrow_weights()
    monkeypatch.setattr(machine, "load_weights", lambda *given, **named: weights)
    return lambda *flags: main.run(["run.py", *FILES, "--quiet", *with_usual(flags, FLAGS)])


# Two styles, each in its region.
REGIONS = ["--style=c.png", "--content_mask=m.png", "--content_mask=c.png", "--content_weight_mask=c.png"]


@pytest.mark.parametrize(
    "regions", [[], pytest.param(REGIONS, marks=pytest.mark.slow)], ids=["plain", "masks"]
)
def test_two_workers_are_one(start, alone, tmp_path, regions):
    """With the colours of the photo."""
    write_picture(tmp_path / "m.png", seed=3)
    # Few layers, for the time that they take to compile.
    flags = ["--content_layers=relu1_1", "--style_layers=relu1_1", "--colors=match", *regions]
    codes, errors = end(start(2, "--output_dir=two", *flags, extra=["--tile_for_memory=32"]))
    assert codes == [0, 0], errors
    # The tile that the one with less memory needs is used by all, and on record.
    assert json.loads((tmp_path / "two" / "run.json").read_text())["config"]["tile"] == "32"
    assert alone("--output_dir=one", "--tile=32", *flags) == 0
    check_same_run(tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--tile=16", "--optimizer=lbfgs"],
        ["--init=noise", "--scales=2"],
    ],
)
def test_three_workers_are_one(start, alone, tmp_path, flags):
    codes, errors = end(start(3, "--output_dir=three", *flags))
    assert codes == [0, 0, 0], errors
    assert alone("--output_dir=one", *flags) == 0
    check_same_run(tmp_path / "one", tmp_path / "three")


def test_facts_that_differ_are_refused_by_name(monkeypatch):
    cluster = Cluster(worker=WorkerInfo(0, ("a:1", "b:2"), 2))
    facts = {"--seed": 0, "the content picture": "abc"}
    monkeypatch.setattr(cluster, "all_gather", lambda value: [value, facts])
    cluster.check_same(dict(facts))
    message = r"^start all workers alike: worker 1 \(b:2\) has --seed 0, the chief 3$"
    with pytest.raises(UserError, match=message):
        cluster.check_same(facts | {"--seed": 3})


@pytest.mark.slow
def test_a_differing_worker_is_refused_by_name(start, tmp_path):
    codes, errors = end(start(2, "--output_dir=o", extra=["--seed=3", "--seed_of_weights=0"]))
    assert codes == [2, 2]
    for error in errors:
        assert "worker 1 (127.0.0.1:" in error and "has --seed 3, the chief 0" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("blow", ["SIGKILL", "SIGSTOP"])
def test_a_lost_worker_ends_the_others_and_the_run_goes_on(start, alone, tmp_path, victim, blow):
    flags = ["--output_dir=cut", "--iterations=4000", "--worker_timeout=20"]
    workers = start(2, *flags)
    wait_for(workers[0], "step 6/")
    workers[victim].send_signal(getattr(signal, blow))
    begun = time.monotonic()
    [code], [error] = end([workers[1 - victim]])
    assert time.monotonic() - begun < 45
    assert code == 1 and error.count("\n") == 1
    assert f"worker {victim} (127.0.0.1:" in error and "--resume" in error
    workers[victim].kill()
    workers[victim].communicate()
    # With another number of workers.
    last = max(row["step"] for row in read_metrics(tmp_path / "cut"))
    until = f"--iterations={last + 6}"
    assert alone("--output_dir=cut", until, "--resume") == 0
    assert end(start(2, "--output_dir=cut", f"--iterations={last + 12}", "--resume"))[0] == [0, 0]
    rows = [row["step"] for row in read_metrics(tmp_path / "cut")]
    assert rows == sorted(set(rows)) and rows[-1] == last + 12


def test_who_never_comes_is_named():
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(3))
    with ThreadPoolExecutor() as pool:
        third = pool.submit(wait_for_all, WorkerInfo(2, addresses, 3), 1.0)
        with pytest.raises(RunError, match=rf"^worker 1 \({addresses[1]}\) did not come within .*=1 s"):
            wait_for_all(WorkerInfo(0, addresses, 3), 1.0)
        with pytest.raises(RunError, match="^worker 0 "):
            third.result()
        strangers = pool.submit(call_first, int(addresses[0].rpartition(":")[2]))
        everyone = [pool.submit(wait_for_all, WorkerInfo(rank, addresses, 3), 20.0) for rank in (2, 0)]
        # The chief listens for as long as one is missing.
        assert strangers.result() == 3
        everyone.append(pool.submit(wait_for_all, WorkerInfo(1, addresses, 3), 20.0))
        assert [one.result() for one in everyone] == [None] * 3


def call_first(port):
    """Call a chief that has just begun to listen, as other programs do; return how many calls were taken."""
    taken, deadline = 0, time.monotonic() + 15
    for said in (b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 10_000):
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as call:
                    call.sendall(said)
                taken += 1
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
    return taken


@pytest.mark.slow
def test_interrupting_one_interrupts_all(start, tmp_path):
    workers = start(2, "--output_dir=o", "--iterations=4000")
    wait_for(workers[0], "step 3/")
    workers[1].send_signal(signal.SIGINT)
    assert end(workers)[0] == [130, 130]
    assert json.loads((tmp_path / "o/run.json").read_text())["status"] == "interrupted"


def test_a_lost_worker_is_named():
    cluster = Cluster(worker=WorkerInfo(0, ("a:1", "b:2"), 2))
    error = tf.errors.UnavailableError(None, None, "/job:worker/replica:0/task:1 is gone")
    with pytest.raises(RunError, match=r"worker 1 \(b:2\) does not answer any more"):
        cluster.explain(error)
    cluster.explain(ValueError())
    second = Cluster(worker=WorkerInfo(1, ("a:1", "b:2"), 2))
    with pytest.raises(RunError, match=r"worker 0 \(a:1\) does not answer any more"):
        second.explain(tf.errors.DeadlineExceededError(None, None, "Deadline Exceeded"))


def test_waiting_too_long_is_given_up(monkeypatch):
    aborted, said = [], []
    fake = SimpleNamespace(abort_collective_ops=lambda code, line: aborted.append(line))
    monkeypatch.setattr(replicas, "context", SimpleNamespace(context=lambda: fake))
    monkeypatch.setattr(replicas, "GRACE", 0)
    cluster = Cluster(worker=WorkerInfo(0, ("a:1", "b:2"), 2))
    cluster.waiting_since.assign(time.time() - 0.5)
    monkeypatch.setattr(os, "_exit", said.append)
    replicas._watch(cluster, 0.6, said.append)
    assert time.time() - float(cluster.waiting_since) >= 0.6
    assert aborted == ["another worker keeps this one waiting for more than --worker_timeout=0.6 s"]
    assert said == [f"{aborted[0]}; {replicas.SAVED}", 1]
    with pytest.raises(RunError, match="keeps this one waiting"):
        cluster.explain(tf.errors.DeadlineExceededError(None, None, ""))


MIRRORED = """
import numpy as np, tensorflow as tf
from narrow import make_narrow_weights
from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.transfer.session import stylize

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
pictures = [rng.uniform(0, 255, (side, 50, 3)).astype("float32") for side in (48, 40)]
cluster = Cluster(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for optimizer, tile in (("lbfgs", "none"), ("adam", "16")):
    config = Config(iterations=4, optimizer=optimizer, tile=tile)
    ends = [
        list(stylize(*pictures, config, weights=make_narrow_weights(), cluster=shared))[-1]
        for shared in (None, cluster)
    ]
    assert cluster.replicas == 2
    np.testing.assert_allclose(ends[1].total, ends[0].total, rtol=1e-5)
    np.testing.assert_allclose(ends[1].best, ends[0].best, atol=0.1)

from neural_style_tf.losses.objective import Evaluation
from neural_style_tf.tiling import memory_model

memory_model.TILES = (32, 16)
evaluate = Evaluation.__call__

def scarce(self, image, arguments):
    if self.replicas is not None and self.tile is None:
        raise MemoryError("injected")
    return evaluate(self, image, arguments)

Evaluation.__call__ = scarce
config = Config(iterations=4, optimizer="lbfgs", tile="none")
alone, shared = (
    list(stylize(*pictures, config, weights=make_narrow_weights(), cluster=one)) for one in (None, cluster)
)
notes = [note for record in shared for note in record.notes]
assert notes == ["out of memory: going on in pieces of 32 pixels"], notes
np.testing.assert_allclose(shared[-1].total, alone[-1].total, rtol=1e-4)
"""


@pytest.mark.slow
def test_two_devices_of_one_process_are_one_and_go_on_in_tiles_when_memory_runs_out():
    variables = os.environ | {"PYTHONPATH": PATHS, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", MIRRORED]
    result = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
