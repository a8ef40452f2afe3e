"""Measure the available memory: of the machine, of the container, and within limits of this process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from neural_style_tf.errors import RunError

ROOT = Path("/")
"""Where the system's files `proc` and `sys` lie; tests have their own."""
START, START_IMPORTED, RESERVED = 1_800_000_000, 420_000_000, 300_000_000
"""Bytes of address space, measured with two cores. TensorFlow 2.21 takes `START` to be imported and make its
first step, and `START_IMPORTED` for the step alone. Its threads reserve `RESERVED` without using them."""


def available_bytes() -> int | None:
    """Return how many bytes this process may still take; None if this is unknown (Windows, macOS).

    The result is the least of three: what is free on the machine, what is left in the container (cgroup v1 or
    v2, with the groups above it), and what `ulimit -v` leaves.
    """
    # TensorFlow reserves about twice as many addresses as it uses, and fails without them.
    limits = [*_machine(), *_containers(), *(left // 2 for left in _address_space())]
    return max(0, min(limits)) if limits else None


def allowed_bytes() -> int | None:
    """Return how many bytes the hard limits (container, `ulimit -v`) leave; None if there is no limit.

    A process that takes more is killed without a message.
    """
    limits = [*_containers(), *(left - RESERVED for left in _address_space())]
    return max(0, min(limits)) if limits else None


def check_start() -> None:
    """Raise a `RunError` if a limit on the address space would keep TensorFlow from starting."""
    needed = START_IMPORTED if "tensorflow" in sys.modules else START
    left = min(_address_space(), default=None)
    if left is not None and left < needed:
        raise RunError(
            f"out of memory: TensorFlow needs {needed / 1e6:.0f} MB of address space to start, and the limit "
            f"(ulimit -v) leaves {max(left, 0) / 1e6:.0f} MB: raise it; a smaller --image_size does not help"
        )


def _machine() -> Iterator[int]:
    for line in _text_of(ROOT / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _containers() -> Iterator[int]:
    """Yield, for each control group of this process that has a limit, the bytes that are left."""
    for line in _text_of(ROOT / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            base, limit, used, cache = "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit, used, cache = (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
        else:
            continue
        # Inside a container, the path may be that of the host. The container's own group is then the topmost.
        path = Path(group.lstrip("/"))
        for folder in (ROOT / base / parent for parent in (path, *path.parents)):
            allowed, taken = (_text_of(folder / name).strip() for name in (limit, used))
            if allowed.isdigit() and taken.isdigit():
                statistics = dict(re.findall(r"(\S+) (\d+)", _text_of(folder / "memory.stat")))
                # Cached files count as used, but the kernel frees them when memory runs short.
                yield int(allowed) - int(taken) + int(statistics.get(cache, 0))


def _address_space() -> Iterator[int]:
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    sizes = _text_of(ROOT / "proc/self/statm").split()
    if limit != resource.RLIM_INFINITY and sizes:
        yield limit - int(sizes[0]) * os.sysconf("SC_PAGE_SIZE")


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
