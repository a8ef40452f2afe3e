"""Replicas of a run (tf.distribute): all-reduce, broadcast from the chief, lost workers.

Every worker holds the image and the optimiser, and moves them alike; only the work of evaluating is shared.
So that all of them take the same turns, also on machines that round differently, each number on which a
decision rests is the chief's, made everyone's by a sum to which the others add 0.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context

from neural_style_tf.distributed.barrier import wait_for_all
from neural_style_tf.distributed.cluster_config import WorkerInfo
from neural_style_tf.errors import RunError, UserError

GRACE = 10.0
"""Seconds that a worker gets to end in order when it has lost the others."""
KEPT = "what was saved is kept: --resume goes on with the same or another number of workers"


class Cluster:
    """The replicas of a run: the GPUs of this process, and those of other workers.

    Args:
        strategy: None for one replica.
        worker: What this process is among the workers; default: the only one.

    Attributes:
        worker: What this process is among the workers.
        replicas: How many there are, over all workers.
        waiting_since: When this one of several workers began to wait for the others, or 0; seconds since
            1970.
        overdue: What to say when it waited too long.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy | None = None, worker: WorkerInfo | None = None
    ) -> None:
        self.worker = worker or WorkerInfo()
        self._strategy = strategy
        self.overdue = ""
        self.replicas = strategy.num_replicas_in_sync if strategy else 1
        if self.worker.workers > 1:
            with tf.device("CPU:0"):
                self.waiting_since = tf.Variable(0.0, dtype=tf.float64)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.worker.rank == 0

    @property
    def workers(self) -> int:
        """How many processes there are."""
        return self.worker.workers

    @property
    def rank(self) -> int:
        """The number of this process; 0 is the chief."""
        return self.worker.rank

    def least(self, value: int | None) -> int | None:
        """Return the least number that a worker has; None where none has one."""
        return min((one for one in self.all_gather(value) if one), default=None)

    def scope(self) -> contextlib.AbstractContextManager:
        """Return the scope in which what every replica reads, the network, is made."""
        # Of a single replica each worker has its own copy: no need to send it.
        several = self.replicas > self.worker.workers
        return self._strategy.scope() if several else contextlib.nullcontext()

    def run(self, function: Callable[..., Any], *arguments: tf.Tensor) -> Any:
        """Call `function(replica's number, *arguments)` on every replica; return what a local one does."""

        def numbered(*given: tf.Tensor) -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return function(int(tf.get_static_value(number)), *given)

        results = self._strategy.run(numbered, args=arguments)
        return tf.nest.map_structure(lambda one: self._strategy.experimental_local_results(one)[0], results)

    def sum(self, tensors: Any) -> Any:
        """Inside `run`, return the sums over all replicas of a structure of tensors, in one message."""
        replica = tf.distribute.get_replica_context()
        flat = tf.nest.flatten(tensors)
        # A new tensor, for those from outside have no device.
        packed = (
            tf.concat([tf.reshape(one, [-1]) for one in flat], 0) if len(flat) > 1 else tf.identity(flat[0])
        )
        total = self._waiting_for(lambda: replica.all_reduce("sum", packed), packed)
        parts = tf.split(total, [one.shape.num_elements() for one in flat]) if len(flat) > 1 else [total]
        shaped = [tf.reshape(part, one.shape) for part, one in zip(parts, flat, strict=True)]
        return tf.nest.pack_sequence_as(tensors, shaped)

    def broadcast_from_chief(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the chief's value, in a graph."""
        if self.worker.workers == 1:
            return tensor
        return self.run(lambda number, here: self.sum(here if number == 0 else tf.zeros_like(here)), tensor)

    def all_reduce_sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the sum over all workers, eagerly."""
        if self.worker.workers == 1:
            return tensor
        return self._waiting_for(lambda: self._strategy.reduce("sum", tf.identity(tensor), axis=None))

    def broadcast_variables(self, variables: Iterable[tf.Variable]) -> None:
        """Give the chief's values to the variables of all workers."""
        if self.worker.workers == 1:
            return
        variables = list(variables)
        # A variable may have another shape with those who have not begun.
        shapes = self.all_gather([tf.shape(variable).numpy().tolist() for variable in variables])[0]
        for variable, shape in zip(variables, shapes, strict=True):
            here = tf.convert_to_tensor(variable) if self.is_chief else tf.zeros(shape, variable.dtype)
            variable.assign(self.all_reduce_sum(here))

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each worker says, by rank: something that JSON can hold."""
        if self.worker.workers == 1:
            return [value]
        line = tf.cast(tf.io.decode_raw(json.dumps(value) + "\n", tf.uint8), tf.int32)
        lines = self._waiting_for(lambda: self._strategy.gather(line, axis=0))
        return [json.loads(said) for said in bytes(lines.numpy().astype("uint8")).splitlines()]

    def check_same(self, facts: dict[str, Any]) -> None:
        """Refuse a cluster whose workers were not started alike.

        Raises:
            UserError: Naming each worker and what differs.
        """
        first, *others = self.all_gather(facts)
        differences = [
            f"{self.worker.name(rank)} has {name} {theirs.get(name)!r}, the chief {first.get(name)!r}"
            for rank, theirs in enumerate(others, 1)
            for name in sorted(first.keys() | theirs.keys())
            if theirs.get(name) != first.get(name)
        ]
        if differences:
            raise UserError(f"start all workers alike: {'; '.join(differences)}")

    def explain(self, error: Exception) -> None:
        """Say what an error means if it came of losing another worker.

        Raises:
            RunError: It did.
        """
        lost = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError)
        lost += (tf.errors.CancelledError, tf.errors.InternalError, tf.errors.FailedPreconditionError)
        if self.worker.workers == 1 or not isinstance(error, lost):
            return
        tasks = re.findall(r"/job:(\w+)/replica:0/task:(\d+)", str(error))
        ranks = {self.worker.rank_of(job, int(task)) for job, task in tasks} - {self.worker.rank}
        if not ranks and self.worker.rank > 0 and isinstance(error, tf.errors.DeadlineExceededError):
            # The heartbeat, which the chief does not answer.
            ranks = {0}
        names = " or ".join(self.worker.name(rank) for rank in sorted(ranks))
        what = self.overdue or f"{names or 'another worker'} does not answer any more"
        raise RunError(f"{what}; {KEPT}") from error

    def _waiting_for(self, collect: Callable[[], Any], tensors: Any = ()) -> Any:
        """Return what a collective operation of `tensors` does; note since when this worker waits in it."""
        if self.worker.workers == 1:
            return collect()
        with tf.control_dependencies(tf.nest.flatten(tensors)):
            begun = self.waiting_since.assign(tf.timestamp(), read_value=False)
        with tf.control_dependencies([begun]):
            found = collect()
        with tf.control_dependencies(tf.nest.flatten(found)):
            self.waiting_since.assign(0.0, read_value=False)
        return found


def join(distribute: str, worker: WorkerInfo, *, timeout: float, say: Callable[[str], None]) -> Cluster:
    """Become one of the workers; wait for the others.

    To be called before TensorFlow's first operation.

    Args:
        distribute: `--distribute`.
        worker: From `find_worker`.
        timeout: Seconds to wait for another worker before giving up, now and later.
        say: Told why, when waiting has to end and TensorFlow does not let it: the process then ends.

    Returns:
        The replicas; a single one where there are no others.

    Raises:
        UserError: `mirrored`, without two GPUs.
        RunError: Not everyone came.
    """
    gpus = len(tf.config.get_visible_devices("GPU"))
    if worker.workers == 1:
        if distribute == "mirrored" and gpus < 2:
            raise UserError(f"--distribute=mirrored needs two GPUs or more; TensorFlow sees {gpus}")
        return Cluster(tf.distribute.MirroredStrategy() if gpus > 1 and distribute != "none" else None)
    worker = _under_slurm(worker) if not worker.addresses else worker
    handler = signal.getsignal(signal.SIGTERM)
    wait_for_all(worker, timeout)
    # They were all there; should one be lost just now, TensorFlow would wait without end.
    faulthandler.dump_traceback_later(timeout, exit=True)
    cluster = Cluster(tf.distribute.MultiWorkerMirroredStrategy(), worker)
    cluster.all_gather(worker.rank)
    faulthandler.cancel_dump_traceback_later()
    # TensorFlow took the signal for a notice of preemption.
    signal.signal(signal.SIGTERM, handler)
    threading.Thread(target=_watch, args=[cluster, timeout, say], daemon=True).start()
    return cluster


def _under_slurm(worker: WorkerInfo) -> WorkerInfo:
    """Complete a worker with the addresses that TensorFlow makes of Slurm's variables."""
    # As if there were GPUs enough, for it divides by their number; Slurm itself hands them out.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=2**20, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = resolver.cluster_spec().as_dict()
    task = {"type": "worker", "index": worker.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    return WorkerInfo(worker.rank, tuple(cluster["worker"]), worker.workers)


def _watch(cluster: Cluster, timeout: float, say: Callable[[str], None]) -> None:
    """End the waiting for workers that hang; TensorFlow itself notices those that are gone."""
    since = 0.0
    while not since or time.time() - since <= timeout:
        time.sleep(min(1.0, timeout / 4))
        since = float(cluster.waiting_since.numpy())
    cluster.overdue = f"another worker keeps this one waiting for more than --worker_timeout={timeout:g} s"
    context.context().abort_collective_ops(tf.errors.DEADLINE_EXCEEDED, cluster.overdue)
    time.sleep(GRACE)
    say(f"{cluster.overdue}; {KEPT}")
    # Python cannot end a thread that waits inside TensorFlow.
    os._exit(1)
