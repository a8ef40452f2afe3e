"""Carry out the runs of a sweep on a Ray cluster.

The driver, which is the command line, hands each run to the cluster as a task. A keeper, an actor on the
driver's machine, owns the folders of the runs. It gives a task what an earlier attempt has left, and takes
what the task writes each time it has saved a checkpoint. So a run whose machine is lost goes on elsewhere.
With a shared folder the tasks read and write there themselves, and the keeper only counts the attempts.

Pictures and weights travel through Ray's object store, once to each machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neural_style_tf
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import RunError, UserError, reason, show
from neural_style_tf.jobs.task import Outcome, Supplies, Task
from neural_style_tf.runs.manifest import from_the_root
from neural_style_tf.runs.output_dir import LOCK, FolderInUse, OutputFolder
from neural_style_tf.runs.outputs import clear_the_way
from neural_style_tf.runs.resume import continued, is_finished
from neural_style_tf.sweeps.executors import Event, Painter
from neural_style_tf.transfer.initial import WORDS
from neural_style_tf.utils.atomic import PARTIAL, write_piece
from neural_style_tf.weights import Weights

if TYPE_CHECKING:
    import ray

RETRIES = 5
"""Of a run whose machine or process was lost."""
SECONDS_TO_LOOK_UP, SECONDS_TO_CONNECT = 1.0, 10.0
SECONDS_TO_START = 10.0
"""After which it is said that no run begins. A free machine needs some to start a process."""
SECONDS_TO_MISS = 20.0
"""That the cluster's head may be silent; Ray ends this process after 60."""
AHEAD = 2
"""Tasks handed to the cluster, as a multiple of those that it can run: it sees what is wanted."""
MEMORY_SHARE = 0.9
"""Of a machine's memory, the most that a run asks for; a larger one is painted in tiles."""

PIECE = 64 * 2**20
"""Bytes that are sent at once: all that is held of a file, however large a checkpoint is."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What to use of which cluster.

    Attributes:
        address: `auto`, `local`, or host and port.
        cpus: Cores of each run.
        shared: Whether all machines see the output folder.
    """

    address: str
    cpus: int
    shared: bool

    def check(self) -> None:
        """Raise if Ray is not installed.

        Raises:
            UserError: Saying how to install it.
        """
        if importlib.util.find_spec("ray") is None:
            raise UserError('--ray needs Ray: pip install "neural-style-tf[cluster]"')


def on_ray(
    tasks: Sequence[Task],
    make_painter: Callable[[], Painter],
    cluster: Cluster,
    load_weights: Callable[[Job], Weights | None],
    received: Sequence[int],
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Event]:
    """Join a Ray cluster, and paint on it.

    Args:
        tasks: The runs, in order.
        make_painter: Called once in each process of the cluster; must be picklable.
        cluster: Where.
        load_weights: A run's files → its network, which is sent to the machines; None: they find it
            themselves.
        received: Signals, as they arrive: at the first, the runs save and end.
        say: Gets a line when no run can begin.

    Returns:
        The events of the runs, as they arrive.

    Raises:
        UserError: There is no such cluster; found before the first event is asked for.
        RunError: The cluster is gone.
    """
    if not tasks:
        return iter(())
    ray = _join(cluster.address)

    def paint() -> Iterator[Event]:
        try:
            yield from _Driver(ray, make_painter, cluster, load_weights, received, say).paint(tasks)
        finally:
            ray.shutdown()

    return paint()


def _join(address: str) -> Any:
    """Import Ray and become a driver of a cluster; return the module."""
    # Nothing is sent to anyone.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray announces that it will leave hidden GPUs hidden for tasks that take none; it may do so now.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    where = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if where not in ("", "auto", "local"):
        # Ray itself would try for minutes.
        _check_address(where)
    package = str(Path(neural_style_tf.__file__).parent)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            # The cluster runs the program that this machine runs.
            runtime_env={"py_modules": [package]},
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if "ersion mismatch" in str(error):
            raise UserError(f"--ray={show(address)}: {reason(error)}; install the same on both") from None
        raise _no_cluster(address, reason(error)) from None
    finally:
        # Ray's own would end this process at once, and no run would be saved.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    return ray


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--ray must be auto, local or HOST:PORT, not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(address: str, why: str) -> UserError:
    return UserError(
        f"--ray={show(address)}: no cluster there ({why}). `ray start --head` starts one, "
        "`ray start --address=HOST:PORT` adds a machine; --ray=local needs none"
    )


class _Driver:
    """Hands out tasks, and watches over them."""

    def __init__(
        self,
        ray: Any,
        make_painter: Callable[[], Painter],
        cluster: Cluster,
        load_weights: Callable[[Job], Weights | None],
        received: Sequence[int],
        say: Callable[[str], None],
    ) -> None:
        self._ray, self._make_painter, self._cluster = ray, make_painter, cluster
        self._load_weights, self._received, self._say = load_weights, received, say
        here = ray.get_runtime_context().get_node_id()
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=strategy)(Keeper)
        self._keeper = actor.remote(shared=cluster.shared)
        # By hash: two runs with one picture send it once.
        self._stored: dict[str, ray.ObjectRef] = {}
        self._demands: dict[str, dict[str, int]] = {}
        self._network: tuple[tuple[str, str], Any] = (("", ""), None)

    def paint(self, tasks: Sequence[Task]) -> Iterator[Event]:
        ray = self._ray
        waiting, running = list(reversed(tasks)), {}
        seen: dict[str, tuple[int, int]] = {}
        stopping = said = False
        quiet_since = time.monotonic()
        while waiting or running:
            self._check_head()
            while waiting and not stopping and len(running) < AHEAD * self._slots():
                task = waiting.pop()
                try:
                    running[self._submit(task)] = task
                except (OSError, UserError) as error:
                    # A file of this run that is gone by now; the others go on.
                    yield Event(task.name)
                    yield Event(task.name, outcome=Outcome("failed", _line(error)))
            done, _ = ray.wait(list(running), timeout=SECONDS_TO_LOOK_UP) if running else ([], [])
            self._check_head()
            for name, steps in ray.get(self._keeper.progress.remote()).items():
                if name not in seen:
                    yield Event(name)
                elif seen[name] != steps:
                    yield Event(name, *steps)
                seen[name] = steps
            for reference in done:
                task = running.pop(reference)
                outcome = self._outcome(reference)
                ray.get(self._keeper.end.remote(task.name))
                if outcome is None:
                    continue
                if task.name not in seen:
                    yield Event(task.name)
                yield Event(task.name, outcome=outcome)
            first = next(iter(running.values()), None)
            if first is None or (
                any(task.name in seen for task in running.values()) and self._has_room(first)
            ):
                quiet_since, said = time.monotonic(), False
            elif not said and time.monotonic() - quiet_since > SECONDS_TO_START:
                said = True
                self._say(self._shortage(first))
            # Pictures that a task waits for are kept by the task.
            if len(self._stored) > 4 * max(1, len(running)):
                self._stored.clear()
            if self._received and not stopping:
                stopping = True
                waiting.clear()
                ray.get(self._keeper.stop.remote())
                for reference, task in running.items():
                    if task.name not in seen:
                        ray.cancel(reference)

    def _nodes(self) -> list[Mapping[str, float]]:
        """Return what each machine of the cluster has: CPU, GPU, memory."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _slots(self) -> int:
        """Return how many runs the cluster can paint at a time; machines come and go."""
        nodes = self._nodes()
        return max(1, sum(int(node.get("CPU", 0)) // self._cpus(nodes) for node in nodes))

    def _cpus(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return the cores of a run: no more than the largest machine has."""
        return max(1, min(self._cluster.cpus, int(max((node.get("CPU", 1) for node in nodes), default=1))))

    def _check_head(self) -> None:
        """Wait for the head of the cluster if it does not answer: what asks Ray would wait for it, too.

        Raises:
            RunError: It is gone.
        """
        address = self._ray.get_runtime_context().gcs_address
        host, _, port = address.rpartition(":")
        since = time.monotonic()
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_CONNECT).close()
                return
            except OSError as error:
                if self._received or time.monotonic() - since > SECONDS_TO_MISS:
                    raise RunError(
                        f"the Ray cluster at {address} does not answer any more ({error.strerror or error}); "
                        "what was saved is kept: the same command goes on with the runs when it is back"
                    ) from None
            time.sleep(SECONDS_TO_LOOK_UP)

    def _demand(self, task: Task) -> dict[str, int]:
        """Return what a run takes of a machine, in Ray's words."""
        nodes = self._nodes()
        most = MEMORY_SHARE * max((node.get("memory", 0) for node in nodes), default=0)
        return {
            "CPU": self._cpus(nodes),
            "GPU": int(any(node.get("GPU") for node in nodes)),
            "memory": int(min(task.memory, most)),
        }

    def _submit(self, task: Task) -> Any:
        ray = self._ray
        demand = self._demands[task.name] = self._demand(task)
        cpus = demand["CPU"]
        options = {
            "num_cpus": cpus,
            "num_gpus": demand["GPU"],
            "memory": demand["memory"],
            "max_retries": RETRIES,
            "name": task.name,
        }
        job = task.job.replace(
            threads=task.job.threads or cpus,
            output_dir=os.path.abspath(task.job.output_dir),  # noqa: PTH100
            # As it is recorded.
            output=task.job.output and from_the_root(task.job.output),
        )
        remote = ray.remote(**options)(paint_on_node)
        return remote.remote(
            self._make_painter,
            self._keeper,
            dataclasses.replace(task, job=job),
            # In lists they are references: a task fetches what it needs when it needs it.
            {name: [self._store(name)] for name in files_of(task.config, task.job)},
            [self._weights(job)],
            shared=self._cluster.shared,
        )

    def _has_room(self, task: Task) -> bool:
        """Return whether a machine of the cluster could paint a run, were it free."""
        demand = self._demands[task.name].items()
        return any(all(node.get(name, 0) >= amount for name, amount in demand) for node in self._nodes())

    def _shortage(self, task: Task) -> str:
        """Return a line about what a run waits for."""
        nodes, free = self._nodes(), self._ray.available_resources()
        taken, left = [], []
        for name, amount in self._demands[task.name].items():
            if amount:
                total = sum(node.get(name, 0) for node in nodes)
                unit, size = ("GB of memory", 1e9) if name == "memory" else (name, 1)
                taken.append(f"{amount / size:.3g} {unit}")
                left.append(f"{free.get(name, 0) / size:.3g} of {total / size:.3g} {unit}")
        never = "no machine has that much: add one, or stop; the same command then asks for what there is"
        return (
            f"waiting, since no run begins: {task.name} takes {', '.join(taken)}; free in the cluster: "
            f"{', '.join(left)}" + ("" if self._has_room(task) else f"; {never}")
        )

    def _store(self, name: str) -> Any:
        data = Path(name).read_bytes()
        key = hashlib.sha256(data).hexdigest()
        if key not in self._stored:
            self._stored[key] = self._ray.put(data)
        return self._stored[key]

    def _weights(self, job: Job) -> Any:
        asked = job.weights, job.weights_dir, job.network
        if self._network[0] != asked:
            weights = self._load_weights(job)
            self._network = asked, None if weights is None else self._ray.put(weights)
        return self._network[1]

    def _outcome(self, reference: Any) -> Outcome | None:
        """Return how a task ended; None if it never began."""
        ray = self._ray
        try:
            return ray.get(reference)
        except ray.exceptions.TaskCancelledError:
            return None
        except ray.exceptions.RayTaskError as error:
            return Outcome("failed", f"{type(error.cause).__name__}: {reason(error.cause)}", str(error))
        except ray.exceptions.RayError as error:
            line = f"{type(error).__name__}: {reason(error)}"
            return Outcome("failed", f"{line}; the same command goes on with the run")


def _line(error: OSError | UserError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{show(str(error.filename))} cannot be read: {error.strerror}"
    return str(error)


def files_of(config: Config, job: Job) -> list[str]:
    """Return the names of the files that a run reads, but for its weights."""
    init = [] if config.init in WORDS else [config.init]
    return [*dict.fromkeys(filter(None, [*job.pictures.values(), job.from_run, *init]))]


_painters: dict[str, Painter] = {}
"""Of this process of the cluster: what the runs share."""


def paint_on_node(
    make_painter: Callable[[], Painter],
    keeper: Any,
    task: Task,
    files: Mapping[str, list[Any]],
    weights: list[Any],
    *,
    shared: bool,
) -> Outcome:
    """Paint a run on a machine of the cluster; called there by Ray.

    Args:
        make_painter: Makes what paints, once for each process.
        keeper: The actor that owns the run's folder.
        task: The run; its paths are those of the driver's machine.
        files: Name of a file → a list with the reference of its content.
        weights: A list with the reference of the network, or None.
        shared: Whether the run's folder is seen from here.

    Returns:
        How the run ended.
    """
    import ray

    painter = _painters.get("painter") or _painters.setdefault("painter", make_painter())
    try:
        attempt, written, found = ray.get(keeper.begin.remote(task))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FolderInUse):
            return Outcome("in use")
        return Outcome("failed", str(error.cause))
    if written:
        # This is not what --overwrite meant.
        task = dataclasses.replace(task, job=task.job.replace(overwrite=False))
    with tempfile.TemporaryDirectory(prefix="neural-style-tf-") as name:
        here = Path(name)
        copies = {}
        for number, (given, [reference]) in enumerate(files.items()):
            copy = here / f"{number}{Path(given).suffix}"
            copy.write_bytes(ray.get(reference))
            copies[given] = str(copy)
        network = ray.get(weights[0]) if weights[0] is not None else None
        supplies = Supplies(copies, network)
        if shared:

            def report(step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
                return ray.get(keeper.tick.remote(task.name, attempt, step, planned))

            return painter(task, report, supplies)
        folder = here / "run"
        for file, (size, _) in found.items():
            for start in range(0, max(1, size), PIECE):
                data = ray.get(keeper.read.remote(task.name, file, start))
                _write(folder, file, data, first=start == 0, last=start + PIECE >= size)
        mirror = _Mirror(ray, keeper, task, attempt, folder)
        output = str(here / f"output{Path(task.job.output).suffix}") if task.job.output else ""
        supplies = dataclasses.replace(supplies, output_dir=str(folder), output=output)
        outcome = painter(task, mirror.report, supplies)
        try:
            mirror.send()
            if output and Path(output).exists():
                whose = task.name, attempt, task.job.output
                for data, first, last in pieces(Path(output)):
                    ray.get(keeper.write.remote(*whose, data, first=first, last=last))
        except ray.exceptions.RayError as error:
            kept = shutil.move(here, tempfile.mkdtemp(prefix="neural-style-tf-rescued-"))
            where = f"what is painted is in {kept} on {socket.gethostname()}"
            return Outcome("failed", f"{reason(error)}; {where}")
        return outcome


class _Mirror:
    """Sends what a run has written to the keeper."""

    def __init__(self, ray: Any, keeper: Any, task: Task, attempt: int, folder: Path) -> None:
        self._ray, self._keeper, self._task, self._attempt = ray, keeper, task, attempt
        self._folder = folder
        self._sent = stamps(folder)

    def report(self, step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
        if saved:
            self.send()
        return self._ray.get(self._keeper.tick.remote(self._task.name, self._attempt, step, planned))

    def send(self) -> None:
        now = stamps(self._folder)
        changed = [name for name, stamp in now.items() if self._sent.get(name) != stamp]
        removed = [name for name in self._sent if name not in now]
        whose = self._task.name, self._attempt
        # What a checkpoint vouches for is written before it.
        for name in sorted(changed, key=lambda name: name.startswith("checkpoints/")):
            for data, first, last in pieces(self._folder / name):
                self._ray.get(self._keeper.store.remote(*whose, name, data, first=first, last=last))
        self._ray.get(self._keeper.remove.remote(*whose, removed))
        self._sent = now


class Keeper:
    """Owns the folders of the runs; an actor on the driver's machine.

    Args:
        shared: Whether the tasks write the folders themselves.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._attempts: dict[str, int] = {}
        self._folders: dict[str, OutputFolder] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._written: set[str] = set()
        self._stopping = False

    def begin(self, task: Task) -> tuple[int, bool, dict[str, tuple[int, int]]]:
        """Begin an attempt of a run.

        Returns:
            Its number, from 1; whether what lies in the folder may be of an attempt that was lost; and the
            `stamps` of that, unless the folder is shared.

        Raises:
            UserError: The folder is in use, or not ours.
        """
        name = task.name
        attempt = self._attempts[name] = self._attempts.get(name, 0) + 1
        self._progress.setdefault(name, (0, 0))
        if self._shared:
            return attempt, name in self._written, {}
        if name not in self._folders:
            job = continued(task.job)
            folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
            self._folders[name] = folder
            if job.overwrite and not is_finished(task.job):
                clear_the_way(folder, None)
        return attempt, attempt > 1, stamps(self._folders[name].path)

    def read(self, name: str, file: str, start: int) -> bytes:
        """Return a piece of a file of a run."""
        with _inside(self._folders[name].path, file).open("rb") as opened:
            opened.seek(start)
            return opened.read(PIECE)

    def tick(self, name: str, attempt: int, step: int, planned: int) -> bool:
        """Take the progress of a run; return whether it shall stop."""
        if attempt == self._attempts.get(name):
            self._progress[name] = (step, planned)
            # Who tells of a step has replaced what was there.
            self._written.add(name)
        return self._stopping or attempt != self._attempts.get(name)

    def store(self, name: str, attempt: int, file: str, data: bytes, *, first: bool, last: bool) -> None:
        """Write a piece of what a run has written; one that was given up, and is not dead, is not heard."""
        if self._heard(name, attempt):
            _write(self._folders[name].path, file, data, first=first, last=last)

    def remove(self, name: str, attempt: int, files: Sequence[str]) -> None:
        """Remove what a run has removed."""
        if self._heard(name, attempt):
            for file in files:
                _inside(self._folders[name].path, file).unlink(missing_ok=True)

    def _heard(self, name: str, attempt: int) -> bool:
        return attempt == self._attempts.get(name) and name in self._folders

    def write(self, name: str, attempt: int, path: str, data: bytes, *, first: bool, last: bool) -> None:
        """Write a piece of the user's own copy of a result; see `store`."""
        if not self._heard(name, attempt):
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_piece(path, data, first=first, last=last)

    def end(self, name: str) -> None:
        """Give up the folder of a run."""
        self._progress.pop(name, None)
        folder = self._folders.pop(name, None)
        if folder is not None:
            folder.release()

    def progress(self) -> dict[str, tuple[int, int]]:
        """Return name → step and planned steps of the runs that have begun and not ended."""
        return dict(self._progress)

    def stop(self) -> None:
        """Let each run save and end."""
        self._stopping = True


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ValueError(f"{name!r} is not in the folder of the run")
    return path


def pieces(path: Path) -> Iterator[tuple[bytes, bool, bool]]:
    """Yield a file in pieces, with whether each is the first, and the last."""
    with path.open("rb") as file:
        data, first = file.read(PIECE), True
        while True:
            following = file.read(PIECE) if len(data) == PIECE else b""
            yield data, first, not following
            if not following:
                return
            data, first = following, False


def _write(folder: Path, name: str, data: bytes, *, first: bool, last: bool) -> None:
    path = _inside(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_piece(path, data, first=first, last=last)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return name → size and time of each file of a run's folder, without locks and half-written ones."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path.is_file() and not path.name.startswith((PARTIAL, LOCK)):
                found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found
