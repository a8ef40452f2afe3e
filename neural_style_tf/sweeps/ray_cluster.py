"""Paint the runs of a sweep on a Ray cluster.

The driver, which is the process of the command line, submits each run to the cluster as a Ray task.
`RunFiles`, an actor on the driver's machine, reads and writes the folders of the runs. A task fetches the
files of an earlier attempt, if there was one, and paints in a local folder. Whenever a checkpoint is saved,
the task sends each changed file to `RunFiles`. So if a machine is lost, its run continues on another one.
With `--shared_output` the tasks write into the folders of the runs themselves.

Ray's own storage is not used: since Ray 2.7 it needs cloud storage or a shared file system
(https://github.com/ray-project/ray/issues/37177).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import logging
import math
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import neural_style_tf
from neural_style_tf.config.fields import flat, leaves
from neural_style_tf.config.parsing import names_a_class
from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.errors import RunError, UserError, reason, show
from neural_style_tf.jobs.error_messages import line_of
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.jobs.task import Outcome, Supplies, Task
from neural_style_tf.runs.manifest import from_the_root
from neural_style_tf.runs.output_dir import FolderInUse, OutputFolder
from neural_style_tf.runs.resume import continued, is_finished
from neural_style_tf.sweeps.executors import Event
from neural_style_tf.transfer.initial import WORDS
from neural_style_tf.utils.files import write_bytes
from neural_style_tf.weights import Weights

# How often a run is begun again after its machine or process was lost.
RETRIES = 5
LOOK_UP_SECONDS, CONNECT_SECONDS = 1.0, 10.0
# If no run begins for this long, a line says so. A free machine needs some seconds to start a process.
START_SECONDS = 10.0
# How long the head of the cluster may not answer. After 60 s Ray itself would end this process.
HEAD_SECONDS = 20.0
# Besides two tasks for each run that has begun, so many are submitted, so that an autoscaler sees the demand.
AHEAD = 4
# Largest share of a machine's memory that a run requests; a run that needs more is painted in tiles.
MEMORY_SHARE = 0.9
# How many pictures stay in Ray's object store for further runs, besides those of tasks that wait.
STORED_PICTURES = 16


def check_ray() -> None:
    """Raise `UserError` if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError('--ray needs Ray: pip install "neural-style-tf[cluster]"')


def own_modules(tasks: Sequence[Task]) -> list[str]:
    """Return the modules in the working directory that define the user's own classes, as paths."""
    settings = [leaf.name for leaf in leaves(Config) if leaf.metadata["is_own"] is names_a_class]
    values = {flat(task.config)[name] for task in tasks for name in settings}
    names = {value for value in values if ":" in value}
    packages = sorted({name.partition(":")[0].partition(".")[0] for name in names})
    paths = [path for package in packages for path in (Path(package), Path(f"{package}.py"))]
    return [str(path.resolve()) for path in paths if path.exists()]


def _join_cluster(address: str, modules: Sequence[str]) -> Any:
    """Import Ray, connect to the cluster at `address` as a driver, and send it `modules`; return Ray.

    Raise `UserError` if there is no cluster, or if it has another version of Ray or Python.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray warns unless this is set: tasks that take no GPU leave CUDA_VISIBLE_DEVICES as it is. This will be
    # Ray's default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    head = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if head not in ("", "auto", "local"):
        # Ray itself would try to connect for minutes.
        host, _, port = head.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UserError(f"--ray must be auto, local or HOST:PORT, not {head!r}")
        try:
            _connect(head)
        except OSError as error:
            raise _no_cluster(head, error.strerror or str(error)) from None
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            # The cluster runs this machine's version of the package.
            runtime_env={"py_modules": [str(Path(neural_style_tf.__file__).parent), *modules]},
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if "ersion mismatch" in str(error):
            raise UserError(f"--ray={show(address)}: {reason(error)}; install the same on both") from None
        raise _no_cluster(address, reason(error)) from None
    finally:
        # Ray's handler would end this process at once, without saving the runs.
        signal.signal(signal.SIGTERM, handler)
    return ray


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _no_cluster(address: str, why: str) -> UserError:
    return UserError(
        f"--ray={show(address)}: no cluster there ({why}). `ray start --head` starts one, "
        "`ray start --address=HOST:PORT` adds a machine; --ray=local needs none"
    )


@dataclasses.dataclass
class RayExecutor:
    """Connects to the cluster that `--ray` names, submits the runs as tasks, and reports their events."""

    make_painter: Callable[[], Painter]  # called once in each process of the cluster; must be picklable
    sweep: SweepConfig
    # Returns the weights of a run, which are sent to the cluster; None: its machines load them themselves.
    load_weights: Callable[[Job], Weights | None]
    received: Sequence[int]  # signals so far; after the first, the runs save and end
    say: Callable[[str], None] = print  # called with a line when no run can begin

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Connect to the cluster, and return an iterator over the events of the runs."""
        if not tasks:
            return iter(())
        self._ray = ray = _join_cluster(self.sweep.ray, own_modules(tasks))
        here = ray.get_runtime_context().get_node_id()
        on_this_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=on_this_node)(RunFiles)
        self._files = actor.remote(shared=self.sweep.shared_output)
        # The second argument is the modification time, so that a file that was replaced is sent again.
        self._picture = functools.lru_cache(STORED_PICTURES)(lambda name, _: ray.put(Path(name).read_bytes()))
        self._network: tuple[Weights | None, Any] = None, None
        # By the Ray reference of each task: the task and its demand.
        self._running: dict[Any, tuple[Task, dict[str, int]]] = {}
        # For each run that has begun and not ended: its step and the number of planned steps.
        self._begun: dict[str, tuple[int, int]] = {}
        self._mention_at = time.monotonic() + START_SECONDS
        return self._paint(tasks)

    def _paint(self, tasks: Sequence[Task]) -> Iterator[Event]:
        try:
            yield from self._watch(deque(tasks))
        finally:
            self._ray.shutdown()

    def _watch(self, waiting: deque[Task]) -> Iterator[Event]:
        stopping = False
        while waiting or self._running:
            while waiting and len(self._running) < AHEAD + 2 * len(self._begun):
                task = waiting.popleft()
                try:
                    self._submit(task)
                except (OSError, UserError) as error:
                    # A file of this run was removed after the check. The other runs continue.
                    yield from self._end(task, Outcome("failed", line_of(error)))
            running = list(self._running)
            done = self._ray.wait(running, timeout=LOOK_UP_SECONDS)[0] if running else []
            self._check_head()
            yield from self._progress()
            for reference in done:
                task, _ = self._running.pop(reference)
                outcome = self._outcome(reference)
                self._ray.get(self._files.end.remote(task.name))
                # None means that the task was cancelled before it began.
                if outcome is not None:
                    yield from self._end(task, outcome)
            self._mention_shortage()
            if self.received and not stopping:
                stopping = True
                waiting.clear()
                self._ray.get(self._files.stop.remote())
                for reference, (task, _) in self._running.items():
                    if task.name not in self._begun:
                        self._ray.cancel(reference)

    def _progress(self) -> Iterator[Event]:
        for name, steps in self._ray.get(self._files.progress.remote()).items():
            if name not in self._begun:
                yield Event(name)
            elif self._begun[name] != steps:
                yield Event(name, *steps)
            self._begun[name] = steps

    def _end(self, task: Task, outcome: Outcome) -> Iterator[Event]:
        if self._begun.pop(task.name, None) is None:
            yield Event(task.name)
        yield Event(task.name, outcome=outcome)

    def _outcome(self, reference: Any) -> Outcome | None:
        """Return the outcome of a task that has ended; None if it was cancelled before it began."""
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except exceptions.TaskCancelledError:
            return None
        except exceptions.RayError as error:
            cause = getattr(error, "cause", error)
            line = f"{type(cause).__name__}: {reason(cause)}"
            return Outcome("failed", f"{line}; the same command goes on with the run")

    def _submit(self, task: Task) -> None:
        demand = self._demand(task)
        job = task.job.replace(
            threads=task.job.threads or demand["CPU"],
            output_dir=os.path.abspath(task.job.output_dir),  # noqa: PTH100
            # The absolute path, as the manifest records it.
            output=task.job.output and from_the_root(task.job.output),
        )
        weights = self.load_weights(job)
        if weights is not self._network[0]:
            self._network = weights, self._ray.put(weights)
        pictures = {name: self._picture(name, Path(name).stat().st_mtime_ns) for name in files_of(task)}
        cpus, gpus, memory = demand.values()
        resources = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory}
        paint = self._ray.remote(**resources, max_retries=RETRIES, name=task.name)(paint_on_node)
        arguments = self.make_painter, self._files, dataclasses.replace(task, job=job), pictures
        reference = paint.remote(*arguments, self._network[1], shared=self.sweep.shared_output)
        self._running[reference] = task, demand

    def _nodes(self) -> list[Mapping[str, float]]:
        """Return the resources of each machine in the cluster now: amounts of `CPU`, `GPU` and `memory`."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _demand(self, task: Task) -> dict[str, int]:
        """Return the resources that a run requests: no more than the cluster's machines have at most."""
        cpus, gpus, memory = (
            max((node.get(name, 0) for node in self._nodes()), default=0) for name in ("CPU", "GPU", "memory")
        )
        return {
            "CPU": max(1, min(self.sweep.ray_cpus, int(cpus))),
            "GPU": min(1, int(gpus)),
            "memory": int(min(task.memory, MEMORY_SHARE * memory)),
        }

    def _mention_shortage(self) -> None:
        """Print once what the first task waits for, if no run begins or no machine could ever paint it."""
        task, demand = next(iter(self._running.values()), (None, {}))
        nodes = self._nodes()
        fits = any(all(node.get(name, 0) >= amount for name, amount in demand.items()) for node in nodes)
        if task is None or (fits and self._begun):
            self._mention_at = time.monotonic() + START_SECONDS
            return
        if time.monotonic() < self._mention_at:
            return
        self._mention_at = math.inf
        available = self._ray.available_resources()
        takes, free = [], []
        for name, amount in demand.items():
            if amount:
                total = sum(node.get(name, 0) for node in nodes)
                unit, size = ("GB of memory", 1e9) if name == "memory" else (name, 1)
                takes.append(f"{amount / size:.3g} {unit}")
                free.append(f"{available.get(name, 0) / size:.3g} of {total / size:.3g} {unit}")
        never = "; no machine has that much: add one, or stop; the same command then asks for what there is"
        self.say(
            f"waiting, since no run begins: {task.name} takes {', '.join(takes)}; free in the cluster: "
            f"{', '.join(free)}{'' if fits else never}"
        )

    def _check_head(self) -> None:
        """Wait until the head of the cluster answers; after `HEAD_SECONDS`, or a signal, raise `RunError`.

        Without this, each call of Ray would wait without a limit.
        """
        address = self._ray.get_runtime_context().gcs_address
        since = time.monotonic()
        while True:
            try:
                return _connect(address)
            except OSError as error:
                if self.received or time.monotonic() - since > HEAD_SECONDS:
                    raise RunError(
                        f"the Ray cluster at {address} does not answer any more ({error.strerror or error}); "
                        "what was saved is kept: the same command goes on with the runs when it is back"
                    ) from None
            time.sleep(LOOK_UP_SECONDS)


def files_of(task: Task) -> list[str]:
    """Return the paths of the files that a run reads, other than its weights."""
    names = [*task.job.pictures.values(), task.job.from_run]
    if task.config.init not in WORDS:
        names.append(task.config.init)
    return list(dict.fromkeys(filter(None, names)))


# The painter of this process of the cluster, which all runs in the process share; empty before the first run.
_painters: list[Painter] = []


def paint_on_node(
    make_painter: Callable[[], Painter],
    files: Any,
    task: Task,
    pictures: Mapping[str, Any],
    weights: Weights | None,
    *,
    shared: bool,
) -> Outcome:
    """Paint a run, which has the paths of the driver's machine, on one of the cluster; Ray calls this there.

    `files` is a handle of the actor `RunFiles`. `pictures` are Ray references to the contents of the run's
    files, by path. Without `weights` they are loaded here. With `shared` this machine can write into the
    run's folder itself.
    """
    import ray

    if not _painters:
        _painters.append(make_painter())
    [painter] = _painters
    begun = ray.get(files.begin.remote(task))
    if isinstance(begun, Outcome):
        return begun
    attempt, has_written, earlier = begun
    if has_written:
        # The folder has files of an earlier attempt, which --overwrite must not remove.
        task = dataclasses.replace(task, job=task.job.replace(overwrite=False))

    def call(method: str, *arguments: Any) -> Any:
        return ray.get(getattr(files, method).remote(task.name, attempt, *arguments))

    with tempfile.TemporaryDirectory(prefix="neural-style-tf-") as name:
        here = Path(name)
        copies = {}
        for number, (original, reference) in enumerate(pictures.items()):
            copy = here / f"{number}{Path(original).suffix}"
            copy.write_bytes(ray.get(reference))
            copies[original] = str(copy)
        supplies = Supplies(copies, weights)
        if shared:
            return painter(task, lambda step, planned, *_: call("tick", step, planned), supplies)
        run = _LocalRun(here / "run", call)
        run.fetch(earlier)
        output = here / f"output{Path(task.job.output).suffix}"
        supplies = dataclasses.replace(
            supplies, output_dir=str(run.folder), output=str(output) if task.job.output else ""
        )
        outcome = painter(task, run.report, supplies)
        try:
            run.send()
            if output.exists():
                call("write", {task.job.output: _content(output)})
        except ray.exceptions.RayError as error:
            kept = shutil.move(here, tempfile.mkdtemp(prefix="neural-style-tf-rescued-"))
            where = f"what is painted is in {kept} on {socket.gethostname()}"
            return Outcome("failed", f"{reason(error)}; {where}")
        return outcome


class _LocalRun:
    """A run in a local folder of a cluster machine; `call` calls a method of `RunFiles` by its name."""

    def __init__(self, folder: Path, call: Callable[..., Any]) -> None:
        self.folder, self._call = folder, call
        self._sent: dict[str, tuple[int, int]] = {}

    def fetch(self, files: Mapping[str, np.ndarray]) -> None:
        """Write the files of an earlier attempt."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._sent = stamps(self.folder)

    def report(self, step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
        """Send the step and, after a checkpoint (`saved`), the changed files; return whether to stop."""
        if saved:
            self.send()
        return self._call("tick", step, planned)

    def send(self) -> None:
        """Send the files that have changed, and have those removed that are gone here."""
        now = stamps(self.folder)
        changed = [name for name, stamp in now.items() if self._sent.get(name) != stamp]
        # Checkpoints are written last, since a run resumed from one relies on the other files.
        changed.sort(key=lambda name: name.startswith("checkpoints/"))
        gone = [name for name in self._sent if name not in now]
        self._call("write", {name: _content(self.folder / name) for name in changed}, gone)
        self._sent = now


def _content(path: Path) -> np.ndarray:
    """Return a file as a memory-mapped uint8 array, which Ray sends without another copy in memory."""
    return np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size in bytes and modification time in nanoseconds of each file of a run, by relative path.

    Hidden files, which are locks and half-written files, are left out.
    """
    files = {}
    for path in sorted(folder.rglob("[!.]*")):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return files


@dataclasses.dataclass
class _Attempts:
    """What `RunFiles` knows of a run: its attempts, locked folder, (step, planned steps), and if it wrote."""

    count: int = 0
    folder: OutputFolder | None = None
    steps: tuple[int, int] = 0, 0
    has_written: bool = False


class RunFiles:
    """Ray actor on the driver's machine that reads and writes the folders of the runs and tracks their steps.

    Ray may begin a run again while a lost machine still paints it. So each attempt has a number, and whatever
    an earlier attempt sends is dropped. With `shared`, the tasks write into the folders themselves.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared, self._stopping = shared, False
        self._runs: dict[str, _Attempts] = {}

    def begin(self, task: Task) -> tuple[int, bool, dict[str, np.ndarray]] | Outcome:
        """Begin an attempt to paint a run; return its number, whether an earlier one wrote files, and these.

        If the run's folder is in use or holds something else, return the `Outcome` of the run.
        """
        run = self._runs.setdefault(task.name, _Attempts())
        run.count += 1
        if self._shared:
            return run.count, run.has_written, {}
        if run.folder is None:
            job = continued(task.job)
            try:
                run.folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
            except FolderInUse:
                return Outcome("in use")
            except UserError as error:
                return Outcome("failed", str(error))
            if job.overwrite and not is_finished(task.job):
                run.folder.clear()
        folder = run.folder.path
        return run.count, run.has_written, {name: _content(folder / name) for name in stamps(folder)}

    def _current(self, name: str, attempt: int) -> _Attempts | None:
        run = self._runs.get(name)
        return run if run and run.count == attempt else None

    def tick(self, name: str, attempt: int, step: int, planned: int) -> bool:
        """Record the progress of a run; return whether the attempt must stop."""
        run = self._current(name, attempt)
        if run:
            # An attempt that reports a step has written its own files.
            run.steps, run.has_written = (step, planned), True
        return self._stopping or run is None

    def write(
        self, name: str, attempt: int, files: Mapping[str, np.ndarray], gone: Sequence[str] = ()
    ) -> None:
        """Write `files` into a run's folder, and remove those `gone`; an absolute path is the user's copy."""
        if run := self._current(name, attempt):
            for file, content in files.items():
                path = run.folder.path / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content)
                run.has_written = True
            for file in gone:
                (run.folder.path / file).unlink(missing_ok=True)

    def end(self, name: str) -> None:
        """Release the folder of a run that has ended."""
        run = self._runs.pop(name, None)
        if run and run.folder:
            run.folder.release()

    def progress(self) -> dict[str, tuple[int, int]]:
        """Return (step, planned steps) of each run that has begun and not ended, by its name."""
        return {name: run.steps for name, run in self._runs.items()}

    def stop(self) -> None:
        """Make each run save and end at its next step."""
        self._stopping = True
