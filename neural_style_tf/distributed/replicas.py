"""Replicas of a run (tf.distribute): all-reduce, broadcast from the chief, lost workers.

A worker is a process. A replica is a GPU of a worker, or its processor. Every worker holds the image and the
optimiser and updates them in the same way; the replicas share the work of evaluations only. Scalars that
decide control flow are broadcast from the chief, so that workers that round differently take the same
branches. A broadcast is a sum to which all others add 0.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
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
"""Seconds that a worker has to end properly after it has lost the others."""
SAVED = "what was saved is kept: --resume goes on with the same or another number of workers"


class Cluster:
    """The replicas of a run: the GPUs of this process, and those of other workers.

    Attributes:
        worker: Rank of this process, and the addresses of all.
        rank: Index of this process. 0 is the chief, which alone writes files and prints.
        workers: Number of processes.
        replicas: Number of replicas of all workers together.
        waiting_since: Time at which this worker began to wait for the others, in seconds since 1970; 0 while
            it does not wait.
        overdue: The error message after this worker has waited too long; `""` before.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy | None = None, worker: WorkerInfo | None = None
    ) -> None:
        self.worker = worker or WorkerInfo()
        self.rank, self.workers = self.worker.rank, self.worker.workers
        self._strategy = strategy
        self.overdue = ""
        self.replicas = strategy.num_replicas_in_sync if strategy else 1
        if self.workers > 1:
            with tf.device("CPU:0"):
                self.waiting_since = tf.Variable(0.0, dtype=tf.float64)

    def least(self, value: int | None) -> int | None:
        """Return the least value of all workers, without those that have None; None if all have."""
        return min((other for other in self.all_gather(value) if other), default=None)

    def scope(self) -> contextlib.AbstractContextManager:
        """Return the scope in which to create variables that every replica reads, such as the network's."""
        # With one replica in each worker, no scope is needed; it would broadcast the values.
        several = self.replicas > self.workers
        return self._strategy.scope() if several else contextlib.nullcontext()

    def run(self, function: Callable[..., Any], *arguments: tf.Tensor) -> Any:
        """Call `function(index, *arguments)` on every replica; return the result of one local replica."""

        def numbered(*arguments: tf.Tensor) -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return function(int(tf.get_static_value(number)), *arguments)

        results = self._strategy.run(numbered, args=arguments)
        local = self._strategy.experimental_local_results
        return tf.nest.map_structure(lambda result: local(result)[0], results)

    def sum(self, tensors: Any) -> Any:
        """Return the sums of `tensors`, a nested structure, over all replicas. Call it inside `run`.

        All tensors are sent in one message.
        """
        replica = tf.distribute.get_replica_context()
        flat = tf.nest.flatten(tensors)
        # `tf.identity` makes a new tensor, because tensors from outside of `run` have no device.
        packed = (
            tf.concat([tf.reshape(leaf, [-1]) for leaf in flat], 0) if len(flat) > 1 else tf.identity(flat[0])
        )
        total = self._waiting_for(lambda: replica.all_reduce("sum", packed), packed)
        parts = tf.split(total, [leaf.shape.num_elements() for leaf in flat]) if len(flat) > 1 else [total]
        shaped = [tf.reshape(part, leaf.shape) for part, leaf in zip(parts, flat, strict=True)]
        return tf.nest.pack_sequence_as(tensors, shaped)

    def broadcast_from_chief(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the chief's value of `tensor`. Call it in a graph."""
        if self.workers == 1:
            return tensor
        return self.run(lambda number, here: self.sum(here if number == 0 else tf.zeros_like(here)), tensor)

    def all_reduce_sum(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the sum of `tensor` over all workers. Call it eagerly."""
        if self.workers == 1:
            return tensor
        return self._waiting_for(lambda: self._strategy.reduce("sum", tf.identity(tensor), axis=None))

    def broadcast_variables(self, variables: Iterable[tf.Variable]) -> None:
        """Assign the chief's values to the variables of all workers."""
        if self.workers == 1:
            return
        variables = list(variables)
        # A worker that has not started yet may have a variable of another shape.
        shapes = self.all_gather([tf.shape(variable).numpy().tolist() for variable in variables])[0]
        for variable, shape in zip(variables, shapes, strict=True):
            here = tf.convert_to_tensor(variable) if self.rank == 0 else tf.zeros(shape, variable.dtype)
            variable.assign(self.all_reduce_sum(here))

    def all_gather(self, value: Any) -> list[Any]:
        """Return a list of the values of all workers, by rank. JSON must be able to hold a value."""
        if self.workers == 1:
            return [value]
        line = tf.cast(tf.io.decode_raw(json.dumps(value) + "\n", tf.uint8), tf.int32)
        lines = self._waiting_for(lambda: self._gather(line))
        return [json.loads(line) for line in bytes(lines.numpy().astype("uint8")).splitlines()]

    @functools.cached_property
    def _gather(self) -> Callable[[tf.Tensor], tf.Tensor]:
        # Called eagerly, `gather` would trace a function each time.
        signature = [tf.TensorSpec([None], tf.int32)]
        return tf.function(
            lambda line: self._strategy.gather(line, axis=0), autograph=False, input_signature=signature
        )

    def check_same(self, facts: dict[str, Any]) -> None:
        """Raise a UserError that names worker and facts if those of a worker differ from the chief's."""
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
        """If `error` comes from losing a worker, raise a `RunError` that names it; otherwise do nothing."""
        lost = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError)
        lost += (tf.errors.CancelledError, tf.errors.InternalError, tf.errors.FailedPreconditionError)
        if self.workers == 1 or not isinstance(error, lost):
            return
        tasks = re.findall(r"/job:(\w+)/replica:0/task:(\d+)", str(error))
        ranks = {self.worker.rank_of(job, int(task)) for job, task in tasks} - {self.rank}
        if not ranks and self.rank > 0 and isinstance(error, tf.errors.DeadlineExceededError):
            # Without a name in the error, it is the chief that does not answer the heartbeat.
            ranks = {0}
        names = " or ".join(self.worker.name(rank) for rank in sorted(ranks))
        message = self.overdue or f"{names or 'another worker'} does not answer any more"
        raise RunError(f"{message}; {SAVED}") from error

    def _waiting_for(self, collect: Callable[[], Any], tensors: Any = ()) -> Any:
        """Run `collect`, a collective operation on `tensors`, and return its result.

        While it runs, `waiting_since` is set.
        """
        if self.workers == 1:
            return collect()
        with tf.control_dependencies(tf.nest.flatten(tensors)):
            started = self.waiting_since.assign(tf.timestamp(), read_value=False)
        with tf.control_dependencies([started]):
            result = collect()
        with tf.control_dependencies(tf.nest.flatten(result)):
            self.waiting_since.assign(0.0, read_value=False)
        return result


def join(distribute: str, worker: WorkerInfo, *, timeout: float, say: Callable[[str], None]) -> Cluster:
    """Join the other workers and return the cluster. Call it before TensorFlow's first operation.

    Wait at most `timeout` seconds for another worker, now or later. If TensorFlow does not stop waiting for a
    lost worker, the process is killed: while joining with a stack trace, later after `say` was called with
    the reason.
    """
    gpus = len(tf.config.get_visible_devices("GPU"))
    if worker.workers == 1:
        if distribute == "mirrored" and gpus < 2:
            raise UserError(f"--distribute=mirrored needs two GPUs or more; TensorFlow sees {gpus}")
        return Cluster(tf.distribute.MirroredStrategy() if gpus > 1 and distribute != "none" else None)
    worker = _under_slurm(worker) if not worker.addresses else worker
    handler = signal.getsignal(signal.SIGTERM)
    wait_for_all(worker, timeout)
    # If a worker is lost from here on, TensorFlow waits for it without end: then kill this process.
    faulthandler.dump_traceback_later(timeout, exit=True)
    cluster = Cluster(tf.distribute.MultiWorkerMirroredStrategy(), worker)
    cluster.all_gather(worker.rank)
    faulthandler.cancel_dump_traceback_later()
    # TensorFlow has replaced the handler, since it takes this signal for a notice of preemption.
    signal.signal(signal.SIGTERM, handler)
    threading.Thread(target=_watch, args=[cluster, timeout, say], daemon=True).start()
    return cluster


def _under_slurm(worker: WorkerInfo) -> WorkerInfo:
    """Return `worker` with the addresses that TensorFlow derives from Slurm's variables."""
    # The resolver refuses more tasks than GPUs on a node, so give it a large number of GPUs. Slurm itself
    # assigns the GPUs.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=2**20, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = resolver.cluster_spec().as_dict()
    task = {"type": "worker", "index": worker.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    return WorkerInfo(worker.rank, tuple(cluster["worker"]), worker.workers)


def _watch(cluster: Cluster, timeout: float, say: Callable[[str], None]) -> None:
    """Stop waiting when workers hang: abort collective operations, then kill this process.

    TensorFlow itself notices only workers whose process has ended.
    """
    since = 0.0
    while not since or time.time() - since <= timeout:
        time.sleep(min(1.0, timeout / 4))
        since = float(cluster.waiting_since.numpy())
    cluster.overdue = f"another worker keeps this one waiting for more than --worker_timeout={timeout:g} s"
    context.context().abort_collective_ops(tf.errors.DEADLINE_EXCEEDED, cluster.overdue)
    time.sleep(GRACE)
    say(f"{cluster.overdue}; {SAVED}")
    # Python cannot end a thread that waits inside TensorFlow.
    os._exit(1)
