"""Divide a sweep into parts (shards) for several commands, such as the tasks of a Slurm array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from neural_style_tf.errors import UserError

Item = TypeVar("Item")


def part_of(items: Sequence[Item], index: int, count: int) -> Sequence[Item]:
    """Return part `index`, from 0, of `count` consecutive parts whose lengths differ by at most 1."""
    low, high = (len(items) * edge // count for edge in (index, index + 1))
    return items[low:high]


def find_shard(flag: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return (i, n) for the value of `--shard`: paint part i, from 1, of n parts.

    `auto` reads Slurm's variables in `environment`. Raise `UserError` if the value cannot be parsed.
    """
    if flag == "none":
        return 1, 1
    if flag == "auto":
        return _slurm_shard(environment)
    index, slash, count = flag.partition("/")
    if not slash or not (index.isdecimal() and count.isdecimal()) or not 1 <= int(index) <= int(count):
        raise UserError(f"--shard must be I/N with I from 1 to N, such as 2/8, or auto or none, not {flag!r}")
    return int(index), int(count)


def _slurm_shard(environment: Mapping[str, str]) -> tuple[int, int]:
    try:
        count = int(environment.get("SLURM_ARRAY_TASK_COUNT", "1"))
        if count <= 1:
            return 1, 1
        first = int(environment.get("SLURM_ARRAY_TASK_MIN", "0"))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1"))
        index, rest = divmod(int(environment["SLURM_ARRAY_TASK_ID"]) - first, step)
    except (KeyError, ValueError, ZeroDivisionError):
        raise UserError("--shard: Slurm's variables of the array cannot be read: give --shard=I/N") from None
    if rest or not 0 <= index < count:
        raise UserError("--shard: the numbers of Slurm's array have gaps: give --shard=I/N, or none")
    return index + 1, count
