"""Measure available memory: of the machine, the container, and the limits on this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from neural_style_tf.errors import RunError

# Address space that TensorFlow 2.21 takes to be imported and make its first step, or the latter alone;
# and what threads reserve beyond what they ever use. Measured with two cores.
START, START_IMPORTED, RESERVED = 1_800_000_000, 420_000_000, 300_000_000


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return how much more memory this process may take.

    The least of what the machine has to spare, what the container (cgroup v1 or v2, and all above it)
    leaves, and what `ulimit -v` leaves.

    Args:
        root: Where `proc` and `sys` are, other than in tests.

    Returns:
        Bytes, ≥ 0; None where it is unknown (Windows, macOS).
    """
    # TensorFlow reserves about twice the addresses that it then uses, and cannot go on without.
    found = [*_machine(root), *_containers(root), *(left // 2 for left in _address_space(root))]
    return max(0, min(found)) if found else None


def allowed_bytes(root: Path = Path("/")) -> int | None:
    """Return what limits (a container's, `ulimit -v`) leave to this process, whatever the machine has.

    A process that takes more is killed without a message. None where there is no limit.
    """
    found = [*_containers(root), *(left - RESERVED for left in _address_space(root))]
    return max(0, min(found)) if found else None


def check_start(root: Path = Path("/")) -> None:
    """Raise if a limit on the address space would keep TensorFlow from starting.

    Raises:
        RunError: Saying what is needed and what is there.
    """
    needed = START_IMPORTED if "tensorflow" in sys.modules else START
    left = min(_address_space(root), default=None)
    if left is not None and left < needed:
        raise RunError(
            f"out of memory: TensorFlow needs {needed / 1e6:.0f} MB of address space to start, and the limit "
            f"(ulimit -v) leaves {max(left, 0) / 1e6:.0f} MB: raise it; a smaller --image_size does not help"
        )


def _machine(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _containers(root: Path) -> Iterator[int]:
    """Yield what each control group above this process leaves of its limit."""
    for line in _read(root / "proc/self/cgroup").splitlines():
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
        # Seen from inside a container, the path may be that of the host: its own group is then at the top.
        place = Path(group.lstrip("/"))
        for folder in (root / base / part for part in (place, *place.parents)):
            allowed, taken = (_read(folder / name).strip() for name in (limit, used))
            if allowed.isdigit() and taken.isdigit():
                # Cached files count as used, but are given up when memory runs short.
                yield int(allowed) - int(taken) + _statistic(folder / "memory.stat", cache)


def _statistic(path: Path, name: str) -> int:
    values = dict(line.split(maxsplit=1) for line in _read(path).splitlines() if " " in line)
    return int(values.get(name, 0))


def _address_space(root: Path) -> Iterator[int]:
    try:
        import resource
    except ImportError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    sizes = _read(root / "proc/self/statm").split()
    if limit != resource.RLIM_INFINITY and sizes:
        yield limit - int(sizes[0]) * os.sysconf("SC_PAGE_SIZE")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
