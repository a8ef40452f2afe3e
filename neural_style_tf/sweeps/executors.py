"""Carry out the runs of a sweep: one after another, or in processes side by side.

An executor takes tasks and yields events. `ray_cluster.py` is a third one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Protocol, TypeVar

from neural_style_tf.errors import UserError
from neural_style_tf.jobs.task import Outcome, Report, Supplies, Task
from neural_style_tf.utils.runtime import nvidia_devices

Item = TypeVar("Item")

SECONDS_TO_LOOK_UP = 0.5
"""After which an executor that waits looks whether a signal has arrived."""
_INTERRUPT = "interrupt"
"""Message to a process: end the run, and wait for another."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A run has begun, made a step (of so many planned), or ended."""

    name: str
    step: int = 0
    planned: int = 0
    seconds_left: float | None = None
    outcome: Outcome | None = None


class Painter(Protocol):
    """Paints one run after another, and keeps what a further one can use."""

    def __call__(self, task: Task, report: Report | None = None, supplies: Supplies | None = None) -> Outcome:
        """Paint a run; go on with it if it was begun. Errors are outcomes."""


def one_after_another(tasks: Sequence[Task], painter: Painter, received: Sequence[int]) -> Iterator[Event]:
    """Paint in this process.

    Args:
        tasks: The runs, in order.
        painter: Paints them.
        received: Signals, as they arrive; the run that they end is the last.

    Yields:
        The beginning and the end of each run.
    """
    for task in tasks:
        if received:
            return
        yield Event(task.name)
        yield Event(task.name, outcome=painter(task))


def split(items: Sequence[Item], index: int, count: int) -> Sequence[Item]:
    """Return one of `count` parts of equal length, from 0: neighbours, which share the most."""
    low, high = (len(items) * edge // count for edge in (index, index + 1))
    return items[low:high]


def side_by_side(
    tasks: Sequence[Task],
    make_painter: Callable[[], Painter],
    environments: Sequence[Mapping[str, str]],
    received: Sequence[int],
) -> Iterator[Event]:
    """Paint in processes.

    Each takes neighbours in the order of the tasks, which share the most; one that has no more takes from the
    end of the longest queue. A process that dies fails its run, and another one takes its place.

    Args:
        tasks: The runs, in order.
        make_painter: Called in each process; must be picklable.
        environments: Variables that each process adds to its own; as many processes are started.
        received: Signals, as they arrive: at the first, the processes save and end.

    Yields:
        The events of the runs, as they arrive.
    """
    count = min(len(environments), len(tasks))
    queues = [deque(split(tasks, index, count)) for index in range(count)]
    workers = [Worker(make_painter, environments[index]) for index in range(count)]
    signals_passed_on = 0
    try:
        for worker, own in zip(workers, queues, strict=True):
            yield worker.begin(own.popleft())
        while any(worker.task for worker in workers):
            busy = {worker.connection: worker for worker in workers if worker.task}
            for connection in wait(list(busy), SECONDS_TO_LOOK_UP):
                worker = busy[connection]
                event = worker.receive()
                yield event
                if event.outcome is None:
                    continue
                own = queues[workers.index(worker)]
                rest = own or max(queues, key=len)
                if rest and not received:
                    yield worker.begin(rest.popleft() if rest is own else rest.pop())
            while signals_passed_on < len(received):
                signals_passed_on += 1
                for worker in workers:
                    worker.stop()
    finally:
        # Also if whoever takes the events goes away.
        for worker in workers:
            worker.close()


def share_out(jobs: int, environment: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what each of several processes adds to its environment: a GPU each, if there are any.

    Raises:
        UserError: There are GPUs, and fewer than processes.
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


def find_shard(asked: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return which part of a sweep this command paints, from 1, and how many there are.

    Args:
        asked: `--shard`.
        environment: Slurm's variables are read from it.

    Raises:
        UserError: It is not I/N with I from 1 to N.
    """
    if asked == "none":
        return 1, 1
    if asked == "auto":
        try:
            count = int(environment.get("SLURM_ARRAY_TASK_COUNT", "1"))
            if count <= 1:
                return 1, 1
            first, step = (
                int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
                for name, default in (("MIN", "0"), ("STEP", "1"))
            )
            index, rest = divmod(int(environment["SLURM_ARRAY_TASK_ID"]) - first, step)
        except (KeyError, ValueError, ZeroDivisionError):
            raise UserError(
                "--shard: Slurm's variables of the array cannot be read: give --shard=I/N"
            ) from None
        if rest or not 0 <= index < count:
            raise UserError("--shard: the numbers of Slurm's array have gaps: give --shard=I/N, or none")
        return index + 1, count
    index, slash, count = asked.partition("/")
    if not slash or not (index.isdecimal() and count.isdecimal()) or not 1 <= int(index) <= int(count):
        raise UserError(
            f"--shard must be I/N with I from 1 to N, such as 2/8, or auto or none, not {asked!r}"
        )
    return int(index), int(count)


class Worker:
    """The parent's side of a process that paints one run after another.

    Args:
        make_painter: Called in the process; must be picklable.
        environment: Variables that the process adds to its own.

    Attributes:
        task: What it paints, if anything.
        connection: Ready to be read when `receive` would not wait.
    """

    def __init__(self, make_painter: Callable[[], Painter], environment: Mapping[str, str]) -> None:
        self._make_painter, self._environment = make_painter, environment
        self.task: Task | None = None
        self._stopping = False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = theirs, self._make_painter, dict(self._environment)
        self._process = context.Process(target=_serve, args=arguments, daemon=False)
        with _shared_signals_held_back():
            self._process.start()
        theirs.close()

    def begin(self, task: Task) -> Event:
        """Hand over a run; return its first event."""
        if self._stopping or not self._process.is_alive():
            # One that was told to stop has left its pipe, even if it takes a while to end.
            self.connection.close()
            self._start()
        self._stopping, self.task = False, task
        self._send(task)
        return Event(task.name)

    def receive(self) -> Event:
        """Return what the process says next, or how it died."""
        name = self.task.name
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            self.connection.close()
            dead = Outcome("failed", _death(self._process.exitcode))
            said = Outcome("interrupted") if self._stopping else dead
        if isinstance(said, Outcome):
            self.task = None
            return Event(name, outcome=said)
        return Event(name, *said)

    def interrupt(self) -> None:
        """Let the process save its run and wait for the next; a second time, end the run at once."""
        self._send(_INTERRUPT)

    def stop(self) -> None:
        """Let the process save and end; a second time, end at once."""
        self._stopping = True
        self._send(None)

    def close(self) -> None:
        """Wait for the process, which ends when its pipe is closed."""
        self.connection.close()
        self._process.join()

    def _send(self, message: Task | str | None) -> None:
        # It may have died, which `receive` will find.
        with contextlib.suppress(OSError):
            self.connection.send(message)


RELAYED = getattr(signal, "SIGUSR2", signal.SIGTERM)
"""By which a process is told what its parent wants: one that does not come from elsewhere, too."""

_named = (getattr(signal, name, RELAYED) for name in ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1"))
_SHARED = [number for number in _named if number != RELAYED]
"""What may reach all processes of a terminal, a service or a job; the parent decides what they mean."""


@contextlib.contextmanager
def _shared_signals_held_back() -> Iterator[None]:
    """Hold back `_SHARED` in this thread; a process that it starts inherits that, until it is prepared."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Where this is not running yet, its start would let signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SHARED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(code: int | None) -> str:
    again = "the same command goes on with the run"
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = ", as the system does when memory is short: fewer --jobs need less" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{why}; {again}"
    return f"its process ended with exit code {code}; {again}"


def _serve(connection: Connection, make_painter: Callable[[], Painter], environment: dict[str, str]) -> None:
    """Paint what arrives, until the parent says stop or is gone."""
    for number in _SHARED:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SHARED)
    painting, telling = threading.Event(), threading.Lock()
    outcome: Outcome | None = None

    def end(number: int, frame: FrameType | None) -> None:
        # One that comes late is for a run that has ended; while one is painted, it decides itself.
        if painting.is_set() and outcome is None:
            raise KeyboardInterrupt

    signal.signal(RELAYED, end)
    os.environ.update(environment)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    def report(step: int, planned: int, saved: bool, seconds_left: float | None = None) -> bool:
        # A parent that is gone does not keep the run from being saved.
        with contextlib.suppress(OSError):
            connection.send((step, planned, seconds_left))
        return False

    # The parent may be gone; what it asked for is saved then.
    with contextlib.suppress(OSError, KeyboardInterrupt), contextlib.ExitStack() as at_the_end:
        # Nothing that the parent still says disturbs how this process ends.
        at_the_end.callback(signal.signal, RELAYED, signal.SIG_IGN)
        # It may be told to end as soon as there is who listens.
        threading.Thread(target=_listen, args=(connection, tasks, painting, telling), daemon=True).start()
        painter = make_painter()
        for task in iter(tasks.get, None):
            outcome = painter(task, report)
            # What is meant for this run is heard by now, or never: not by the next one.
            with telling:
                painting.clear()
                said, outcome = outcome, None
            connection.send(said)


def _listen(
    connection: Connection,
    tasks: queue.SimpleQueue[Task | None],
    painting: threading.Event,
    telling: threading.Lock,
) -> None:
    """Pass on what the parent sends; all but a task is a signal to a run that is being painted.

    Args:
        connection: To the parent.
        tasks: Gets the tasks, and None for the end.
        painting: Set while there is a run for signals.
        telling: Held while one is sent.
    """
    ended = False
    while not ended:
        try:
            message: Task | str | None = connection.recv()
        except Exception as error:
            # The parent is gone, or what it sent cannot be read.
            if not isinstance(error, (EOFError, OSError)):
                traceback.print_exc()
            message, ended = None, True
        if isinstance(message, Task):
            # Here, and not where it is taken up: what ends it may arrive before that.
            painting.set()
        if message != _INTERRUPT:
            tasks.put(message)
        with telling:
            if not isinstance(message, Task) and painting.is_set():
                # To the process, not to this thread: it is the main thread that may have to wake up.
                if os.name == "posix":
                    os.kill(os.getpid(), RELAYED)
                else:
                    signal.raise_signal(RELAYED)
