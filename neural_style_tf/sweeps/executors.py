"""Executors paint the runs of a sweep: in this process, in processes side by side, or on a Ray cluster.

An executor takes tasks and yields events. `ray_cluster.py` holds the one for Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from neural_style_tf.config.schema import Job, SweepConfig
from neural_style_tf.errors import UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.jobs.signals import NAMES, Interrupts
from neural_style_tf.jobs.task import Outcome, Task
from neural_style_tf.sweeps.shards import part_of
from neural_style_tf.tiling.system_memory import available_bytes
from neural_style_tf.utils.runtime import cores, nvidia_devices

# How often an executor that waits for events looks for signals, in seconds.
MESSAGE_SECONDS = 0.5
# Message to a process: save the run and end it.
_STOP = "stop"
# Signals that may reach all processes of a terminal, a service or a job. The parent decides what they mean.
_SHARED_SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@dataclasses.dataclass(frozen=True)
class Event:
    """A run has begun, has made a step (of so many planned), or has ended."""

    name: str
    step: int = 0
    planned: int = 0
    seconds_left: float | None = None
    outcome: Outcome | None = None


Executor = Callable[[Sequence[Task]], Iterator[Event]]
"""Paints checked runs. The call itself raises what is wrong with it, before the first event."""


def choose_executor(sweep: SweepConfig, job: Job, machine: Machine, interrupts: Interrupts) -> Executor:
    """Return the executor that the flags ask for; UserError: they contradict each other."""
    received = interrupts.received
    if sweep.ray and sweep.jobs > 1:
        raise UserError("--jobs and --ray both share out the runs: give one of them")
    if sweep.shared_output and not sweep.ray:
        raise UserError("--shared_output says what the machines of a cluster see: it needs --ray")
    if not sweep.ray and sweep.jobs == 1:
        painter = Painter(machine, interrupts)
        return lambda tasks: one_after_another(tasks, painter, received)
    if sweep.ray:
        from neural_style_tf.sweeps.ray_cluster import RayExecutor, check_ray

        check_ray()
        _check_sendable(job)
        shared_out = RayExecutor(Painter, sweep, machine.load_weights, received, machine.console.say)
    else:
        memory = available_bytes()
        # Whole cores; each process has a GPU of its own.
        make_painter = functools.partial(
            Painter,
            memory=None if memory is None else memory // sweep.jobs,
            threads=job.threads or max(1, cores() // sweep.jobs),
        )
        environments = gpu_of_each(sweep.jobs, os.environ)
        shared_out = functools.partial(
            side_by_side, make_painter=make_painter, environments=environments, received=received
        )

    def execute(tasks: Sequence[Task]) -> Iterator[Event]:
        # The first signal does not end this process: the runs are asked to save and end.
        interrupts.graceful = True
        return shared_out(tasks)

    return execute


def _check_sendable(job: Job) -> None:
    masks = [mask for mask in (*job.content_mask, job.content_weight_mask) if mask]
    if job.frames or job.flow or any(expand_files(mask) != [mask] for mask in masks):
        raise UserError(
            "--ray sends files, and --frames, --flow or a mask names a folder: make a video of its frames"
        )


def gpu_of_each(jobs: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the variables that give each of `jobs` processes a GPU; empty ones without GPUs."""
    gpus = nvidia_devices(environment)
    if not gpus:
        return [{} for _ in range(jobs)]
    if jobs > len(gpus):
        raise UserError(
            f"--jobs={jobs}: there are {len(gpus)} GPUs, and each run takes one; if there are more, set the "
            "environment variable CUDA_VISIBLE_DEVICES to their numbers, as in 0,1"
        )
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:jobs]]


def one_after_another(tasks: Sequence[Task], painter: Painter, received: Sequence[int]) -> Iterator[Event]:
    """Paint in this process; the run that a signal in `received` ends is the last."""
    for task in tasks:
        if received:
            return
        yield Event(task.name)
        yield Event(task.name, outcome=painter(task))


def side_by_side(
    tasks: Sequence[Task],
    make_painter: Callable[[], Painter],
    environments: Sequence[Mapping[str, str]],
    received: Sequence[int],
) -> Iterator[Event]:
    """Paint in one process for each of `environments`.

    Each process takes neighbours in the order of the tasks, which share the most; one that has no more takes
    from the end of the longest queue. A process that dies fails its run, and another one takes its place.

    `make_painter` is called in each process, and must be picklable. At the first signal in `received` the
    processes save and end.
    """
    count = min(len(environments), len(tasks))
    queues = [deque(part_of(tasks, index, count)) for index in range(count)]
    workers = [Worker(make_painter, environment) for environment in environments[:count]]
    stopping = False
    try:
        for worker, own in zip(workers, queues, strict=True):
            yield worker.begin(own.popleft())
        while any(worker.task for worker in workers):
            busy = {worker.connection: worker for worker in workers if worker.task}
            for connection in wait(list(busy), MESSAGE_SECONDS):
                worker = busy[connection]
                event = worker.receive()
                yield event
                if event.outcome is None or received:
                    continue
                own, longest = queues[workers.index(worker)], max(queues, key=len)
                if own or longest:
                    yield worker.begin(own.popleft() if own else longest.pop())
            if received and not stopping:
                stopping = True
                for worker in workers:
                    worker.interrupt()
    finally:
        # Also if the caller stops taking events, or a second signal has ended the loop.
        for worker in workers:
            worker.close()


class Worker:
    """The parent's side of a process that paints one run after another.

    Attributes:
        task: The run that is painted; None between runs.
        connection: Ready to be read when `receive` would not wait.
    """

    def __init__(self, make_painter: Callable[[], Painter], environment: Mapping[str, str]) -> None:
        self._make_painter, self._environment = make_painter, environment
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, childs_end = context.Pipe()
        arguments = childs_end, self._make_painter, dict(self._environment)
        self._process = context.Process(target=_serve_runs, args=arguments, daemon=False)
        with _shared_signals_blocked():
            self._process.start()
        childs_end.close()

    def begin(self, task: Task) -> Event:
        """Hand over a run; return its first event."""
        if not self._process.is_alive():
            self.connection.close()
            self._start()
        self.task, self._has_stepped, self._interrupted = task, False, False
        # A process that has died meanwhile is noticed by `receive`.
        with contextlib.suppress(OSError):
            self.connection.send(task)
        return Event(task.name)

    def receive(self) -> Event:
        """Return the next event of the run: a step, its end, or the death of the process."""
        name = self.task.name
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            died = Outcome("failed", _cause_of_death(self._process.exitcode))
            message = Outcome("interrupted") if self._interrupted else died
        if isinstance(message, Outcome):
            self.task = None
            return Event(name, outcome=message)
        self._has_stepped = True
        return Event(name, *message)

    def interrupt(self) -> None:
        """Let the process save its run and wait for the next.

        Before the first step, when there is nothing to save, and the second time, the process is killed.
        """
        if self.task is None:
            return
        if self._interrupted or not self._has_stepped:
            self._process.kill()
        else:
            with contextlib.suppress(OSError):
                self.connection.send(_STOP)
        self._interrupted = True

    def close(self) -> None:
        """End the process, and wait for it; `interrupt` a run that is painted."""
        self.interrupt()
        self.connection.close()
        self._process.join()


@contextlib.contextmanager
def _shared_signals_blocked() -> Iterator[None]:
    """Block `_SHARED_SIGNALS` in this thread, so that a process that it starts begins with them blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing starts this process with the first one, and lets signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SHARED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cause_of_death(code: int | None) -> str:
    retry = "the same command goes on with the run"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = ", as the system does when memory is short: fewer --jobs need less" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{why}; {retry}"
    return f"its process ended with exit code {code}; {retry}"


def _serve_runs(
    connection: Connection, make_painter: Callable[[], Painter], environment: dict[str, str]
) -> None:
    """Paint what arrives, until the parent closes the pipe or is gone."""
    for number in _SHARED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SHARED_SIGNALS)
    os.environ.update(environment)

    def report(step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
        try:
            connection.send((step, planned, seconds_left))
            # During a run the parent sends only `_STOP`. A pipe that it has closed can be read, too.
            return connection.poll()
        except OSError:
            # The parent is gone: the run is saved.
            return True

    painter = make_painter()
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            # A `_STOP` that came too late is read here, and is not for the next run.
            if task != _STOP:
                connection.send(painter(task, report))
