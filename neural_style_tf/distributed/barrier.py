"""Barrier at start-up: wait, with a time-out, until all workers have joined.

The chief listens at its own address until every other worker has called, and then tells all of them to go on.
"""

from __future__ import annotations

import contextlib
import socket
import time

from neural_style_tf.distributed.cluster_config import WorkerInfo
from neural_style_tf.errors import RunError

HELLO, GO = "neural-style-tf worker {} of {}\n", b"go\n"
PAUSE = 0.2
"""Seconds between two attempts to connect."""


def wait_for_all(worker: WorkerInfo, timeout: float) -> None:
    """Return when all workers have joined; after `timeout` seconds raise a RunError naming the others."""
    deadline = time.monotonic() + timeout
    missing = _receive(worker, deadline) if worker.rank == 0 else _call(worker, deadline)
    if missing:
        names = " and ".join(worker.name(rank) for rank in missing)
        raise RunError(f"{names} did not come within --worker_timeout={timeout:g} s")


def _receive(worker: WorkerInfo, deadline: float) -> list[int]:
    """As the chief, wait for a call from each worker; return the ranks of those that have not called."""
    missing, calls = set(range(1, worker.workers)), contextlib.ExitStack()
    host, _, port = worker.addresses[0].rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with calls, socket.create_server(("", int(port)), family=family, backlog=worker.workers) as server:
        server.settimeout(PAUSE)
        # If a worker is restarted, it calls again, and its last call counts.
        waiting: dict[int, socket.socket] = {}
        while missing and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                call, _ = server.accept()
                rank = _caller(call, worker.workers)
                if rank is None:
                    # This is another program, or a slow worker, which will call again.
                    call.close()
                    continue
                waiting[rank] = calls.enter_context(call)
                missing.discard(rank)
        for call in waiting.values() if not missing else ():
            # If the worker is already lost, the first collective operation will notice it.
            with contextlib.suppress(OSError):
                call.sendall(GO)
    return sorted(missing)


def _caller(call: socket.socket, workers: int) -> int | None:
    """Return the rank of the worker that calls; None if it is another program or too slow."""
    ranks = {HELLO.format(rank, workers).encode(): rank for rank in range(1, workers)}
    call.settimeout(PAUSE)
    try:
        with call.makefile("rb") as stream:
            return ranks.get(stream.readline(max(map(len, ranks)) + 1))
    except OSError:
        return None


def _call(worker: WorkerInfo, deadline: float) -> list[int]:
    """Call the chief until it answers; return [], or [0], the chief's rank, if it does not answer in time."""
    host, _, port = worker.addresses[0].rpartition(":")
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), 1) as call:
            call.settimeout(max(PAUSE, deadline - time.monotonic()))
            call.sendall(HELLO.format(worker.rank, worker.workers).encode())
            if call.recv(len(GO)) == GO:
                return []
        time.sleep(PAUSE)
    return [0]
