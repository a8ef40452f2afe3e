"""Read this worker's rank and all addresses from TF_CONFIG or Slurm. Does not import TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from neural_style_tf.errors import UserError

JOBS = ("chief", "worker")
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class WorkerInfo:
    """The rank of this process among the workers, and the addresses of all workers."""

    rank: int = 0  # 0 is the chief, which alone writes files and prints
    # host:port of each worker, by rank. Under Slurm this is empty until TensorFlow reads Slurm's variables.
    addresses: tuple[str, ...] = ()
    workers: int = 1  # the number of workers
    chief_job: bool = False  # whether TF_CONFIG has a job `chief` beside the workers

    def name(self, rank: int) -> str:
        """Return the name of the worker `rank` in messages."""
        address = f" ({self.addresses[rank]})" if self.addresses else ""
        return f"worker {rank}{address}"

    def rank_of(self, job: str, index: int) -> int:
        """Return the rank of the worker that TF_CONFIG calls task `index` of `job`."""
        return index + (self.chief_job and job == "worker")


def find_worker(distribute: str, environment: Mapping[str, str]) -> WorkerInfo:
    """Return which worker this process is; without a cluster, it is the only worker.

    `--distribute=auto` reads only TF_CONFIG; `multiworker` also reads Slurm's variables.
    """
    if distribute in ("none", "mirrored"):
        return WorkerInfo()
    if environment.get("TF_CONFIG", "").strip():
        return _from_tf_config(environment["TF_CONFIG"])
    if distribute == "auto":
        return WorkerInfo()
    try:
        rank, workers = (int(environment[f"SLURM_{name}"]) for name in ("PROCID", "STEP_NUM_TASKS"))
    except (KeyError, ValueError):
        raise UserError(
            f"--distribute=multiworker finds no cluster: set TF_CONFIG to {EXAMPLE}, or start it by srun"
        ) from None
    return WorkerInfo(rank, workers=workers)


def _from_tf_config(text: str) -> WorkerInfo:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _malformed(f"is not JSON ({error})") from None
    cluster, task = (_part(config, name) for name in ("cluster", "task"))
    if not cluster:
        return WorkerInfo()
    unknown = sorted(set(cluster) - set(JOBS))
    if unknown:
        raise _malformed(f"names the job {unknown[0]!r}; there are only chief and worker")
    addresses = [_addresses(job, cluster.get(job, [])) for job in JOBS]
    job, index = task.get("type"), task.get("index")
    if job not in cluster:
        raise _malformed(f"has the task type {job!r}, which its cluster lacks")
    if str(index) not in map(str, range(len(cluster[job]))):
        raise _malformed(f"has the task index {index!r}; {job} goes from 0 to {len(cluster[job]) - 1}")
    all_addresses = sum(addresses, ())
    if len(addresses[0]) > 1 or len(set(all_addresses)) < len(all_addresses):
        raise _malformed("names more than one chief, or an address twice")
    chief = WorkerInfo(0, all_addresses, len(all_addresses), bool(addresses[0]))
    return dataclasses.replace(chief, rank=chief.rank_of(job, int(index)))


def _part(config: Any, name: str) -> dict[str, Any]:
    if not isinstance(config, dict):
        raise _malformed("is no JSON object")
    part = config.get(name, {})
    if not isinstance(part, dict):
        raise _malformed(f"has no object {name!r}")
    return part


def _addresses(job: str, addresses: Any) -> tuple[str, ...]:
    if not isinstance(addresses, list):
        raise _malformed(f"must list the addresses of {job!r}")
    for address in addresses:
        if not (isinstance(address, str) and re.fullmatch(r"\S+:\d{1,5}", address)):
            raise _malformed(f"has the address {address!r}, which is not host:port")
    return tuple(addresses)


def _malformed(what: str) -> UserError:
    return UserError(f"TF_CONFIG {what}; it looks like {EXAMPLE}. --distribute=none ignores it")
