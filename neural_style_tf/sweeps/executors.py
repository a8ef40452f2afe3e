"""Executors paint the runs of a sweep: in this process, in several processes, or on a Ray cluster.

An executor is a function that takes tasks and yields events. The executor for Ray is in `ray_cluster.py`.
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
# Message that tells a process to save its run and end it.
_STOP = "stop"
# Signals that a terminal, a service or a Slurm job may send to all of its processes. The child processes
# ignore them: the parent decides what to do.
_SHARED_SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


@dataclasses.dataclass(frozen=True)
class Event:
    """Something happened to run `name`: it began, made step `step` of `planned`, or ended with `outcome`."""

    name: str
    step: int = 0
    planned: int = 0
    seconds_left: float | None = None
    outcome: Outcome | None = None


Executor = Callable[[Sequence[Task]], Iterator[Event]]
"""Function that paints checked runs. An error of the executor itself is raised before the first event."""


def choose_executor(sweep: SweepConfig, job: Job, machine: Machine, interrupts: Interrupts) -> Executor:
    """Return the executor that the flags ask for; raise `UserError` if they contradict each other."""
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
        # Each process gets an equal share of the memory and of the cores, and a GPU of its own.
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
        # The first signal does not end this process: it asks the runs to save and end.
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
    """Return environment variables that give each of `jobs` processes its own GPU; empty dicts without GPUs.

    Raise `UserError` if there are fewer GPUs than processes.
    """
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
    """Paint in this process; once `received` holds a signal, begin no further run."""
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
    """Paint in several processes, one for each of `environments`.

    Each process has a queue of tasks that follow one another, since such tasks share the most compiled steps.
    A process whose queue is empty takes from the end of the longest queue. If a process dies, its run has
    failed, and a new process takes its place. `make_painter`, which must be picklable, is called once in each
    process. Once `received` holds a signal, the processes save their runs and end.
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
        # This also runs if the caller takes no more events, or if a second signal ended the loop.
        for worker in workers:
            worker.close()


class Worker:
    """The parent's handle of a child process that paints one run after another.

    `task` is the run that is being painted; None between runs. When the pipe `connection` is ready for
    `multiprocessing.connection.wait`, `receive` does not block.
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
        """Send a run to the process; return the event that it begins."""
        if not self._process.is_alive():
            self.connection.close()
            self._start()
        self.task, self._has_stepped, self._interrupted = task, False, False
        # If the process has died meanwhile, `receive` reports it.
        with contextlib.suppress(OSError):
            self.connection.send(task)
        return Event(task.name)

    def receive(self) -> Event:
        """Wait for the run's next event and return it: a step or the end. A process that died has ended."""
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
        """Tell the process to save and end its run; it then waits for the next one.

        Before the first step there is nothing to save: the process is killed, as it is by the second call.
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
        """End the process and wait for its end; a run that is being painted is interrupted first."""
        self.interrupt()
        self.connection.close()
        self._process.join()


@contextlib.contextmanager
def _shared_signals_blocked() -> Iterator[None]:
    """Context in which `_SHARED_SIGNALS` are blocked in this thread, and in each process that it starts."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing starts its resource tracker with the first process, and then unblocks signals. So the
    # tracker is started before.
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
    """Main function of a child process: paint each task that arrives, until the parent closes the pipe."""
    for number in _SHARED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SHARED_SIGNALS)
    os.environ.update(environment)

    def report(step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
        try:
            connection.send((step, planned, seconds_left))
            # During a run the parent sends only `_STOP`. `poll` is also true if the parent closed the pipe.
            return connection.poll()
        except OSError:
            # The parent has ended: save the run and end it.
            return True

    painter = make_painter()
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = connection.recv()
            # A `_STOP` that is read here came after its run had ended: ignore it.
            if task != _STOP:
                connection.send(painter(task, report))
