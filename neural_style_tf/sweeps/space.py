"""Turn `--sweep=NAME=…` into runs: lists, ranges, random draws and globs, and their product.

A value is the text that a flag would take. Nothing here knows which values are allowed: each run is checked
as an ordinary command line.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from neural_style_tf.config.schema import REPEATED_FILES
from neural_style_tf.errors import UserError, show
from neural_style_tf.images.files import expand_files
from neural_style_tf.transfer import initial
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights import resolve

MOST_RUNS = 10_000
FILES = ("content", *REPEATED_FILES, "content_weight_mask", "init", "weights")
"""Flags whose values are files: globs and folders are expanded."""
WORDS = {"init": initial.WORDS, "weights": resolve.SPECS}
"""Of those, the ones that take words as well, and these."""
_RANGES = {"linspace": 3, "logspace": 3, "uniform": 2, "loguniform": 2}
_CALL = re.compile(r"([a-z]+)\((.*)\)")


@dataclasses.dataclass(frozen=True)
class Axis:
    """One swept setting.

    Attributes:
        name: Of the flag.
        values: Texts that the flag takes, without repetition.
        drawn: Whether they are random draws, which go together with those of other axes.
    """

    name: str
    values: tuple[str, ...]
    drawn: bool = False


def parse_axis(
    text: str,
    kinds: Mapping[str, type],
    *,
    samples: int = 0,
    seed: int = 0,
    frames: bool = False,
) -> Axis:
    """Parse `NAME=V1,V2,…`, `NAME=linspace(a,b,n)`, `logspace`, `uniform(a,b)`, `loguniform`, or files.

    Args:
        text: What `--sweep` was given. A `;` in a value stands for the comma of a list.
        kinds: Name of a flag that may be swept → type of its value.
        samples: Number of draws for each random axis.
        seed: Of the draws, with the name of the setting.
        frames: Whether a folder, as content, is one clip.

    Returns:
        The axis.

    Raises:
        UserError: No such setting, no values, a range that cannot be, or a glob without a match.
    """
    name, equals, values = text.partition("=")
    if name not in kinds:
        raise UserError(f"--sweep={text}: no setting {name!r}{did_you_mean(name, kinds)}")
    if not equals or not values.strip(","):
        raise UserError(f"--sweep={text}: values are missing, as in --sweep={name}=1,2")
    call = _CALL.fullmatch(values)
    drawn = bool(call) and call[1] in ("uniform", "loguniform")
    if call and call[1] in _RANGES:
        numbers = _numbers(text, call[1], call[2], samples=samples, seed=f"{seed} {name}")
        found = [_number(value, kinds[name]) for value in numbers]
    elif name in FILES and not (frames and name == "content"):
        found = [path for item in values.split(",") for path in _files(name, item)]
    else:
        found = [item.strip().replace(";", ",") for item in values.split(",")]
    if "" in found:
        raise UserError(f"--sweep={text}: a value is empty")
    return Axis(name, tuple(found), drawn)


def combine(axes: Sequence[Axis], zipped: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the runs: the product of the axes, the first the slowest.

    Args:
        axes: All of them. Random ones advance together.
        zipped: Names of those that advance together, too; they must be equally long.

    Returns:
        For each run, name of a setting → its value.

    Raises:
        UserError: A setting swept twice, an unknown or unequal zipped one, a value, or a row of zipped ones,
            that occurs twice, more than `MOST_RUNS` runs.
    """
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--sweep={name}=… is given twice: name all values in one")
    for name in zipped:
        if name not in names:
            raise UserError(f"--sweep_zip: {name!r} is not swept{did_you_mean(name, names)}")
    groups: dict[str, list[Axis]] = {}
    for axis in axes:
        key = "zipped" if axis.name in zipped else "drawn" if axis.drawn else f"={axis.name}"
        groups.setdefault(key, []).append(axis)
    rows_of_groups = []
    for group in groups.values():
        if len({len(axis.values) for axis in group}) > 1:
            counts = ", ".join(f"{axis.name} has {len(axis.values)}" for axis in group)
            raise UserError(f"--sweep_zip: as many values are needed of each, but {counts}")
        rows = list(zip(*(axis.values for axis in group), strict=True))
        if group[0].drawn:
            # Whole numbers and few digits come twice by chance.
            rows = list(dict.fromkeys(rows))
        if len(set(rows)) < len(rows):
            [(twice, _)] = Counter(rows).most_common(1)
            given = " ".join(f"--sweep={axis.name}=…" for axis in group)
            raise UserError(f"{given}: {', '.join(map(show, twice))} occurs twice")
        rows_of_groups.append(rows)
    number = math.prod(map(len, rows_of_groups))
    if number > MOST_RUNS:
        raise UserError(f"--sweep: {number:,} runs are more than {MOST_RUNS:,}: name fewer values")
    steps = [
        [{axis.name: value for axis, value in zip(group, values, strict=True)} for values in rows]
        for group, rows in zip(groups.values(), rows_of_groups, strict=True)
    ]
    runs = []
    for parts in itertools.product(*steps):
        found = {name: value for part in parts for name, value in part.items()}
        runs.append({name: found[name] for name in names})
    return runs


def _files(name: str, pattern: str) -> list[str]:
    if pattern in WORDS.get(name, ()):
        # Also where a folder is called so.
        return [pattern]
    found = expand_files(pattern)
    if not found:
        what = "no picture in that folder" if Path(pattern).is_dir() else "no file has such a name"
        raise UserError(f"--sweep={name}={show(pattern)}: {what}")
    return found


def _numbers(text: str, kind: str, arguments: str, *, samples: int, seed: str) -> list[float]:
    """Return the numbers of a range; those of `logspace` go from a to b themselves, not to powers of ten."""
    try:
        given = [float(part) for part in arguments.split(",")]
    except ValueError:
        given = []
    if len(given) != _RANGES[kind] or not all(map(math.isfinite, given)):
        shape = ",".join("abn"[: _RANGES[kind]])
        raise UserError(f"--sweep={text}: {kind}({shape}) takes {_RANGES[kind]} numbers")
    low, high = given[:2]
    if kind in ("logspace", "loguniform") and min(low, high) <= 0:
        raise UserError(f"--sweep={text}: {kind} needs numbers above 0")
    if kind in ("uniform", "loguniform"):
        if samples < 1:
            raise UserError(f"--sweep={text}: say how many draws with --sweep_samples=N")
        if samples > MOST_RUNS:
            raise UserError(f"--sweep_samples: {samples:,} draws are more than {MOST_RUNS:,}")
        source = random.Random(seed)
        shares = [source.random() for _ in range(samples)]
    else:
        number = given[2]
        if number != int(number) or not 1 <= number <= MOST_RUNS:
            raise UserError(f"--sweep={text}: the third number is how many, 1 to {MOST_RUNS:,}")
        shares = [index / max(number - 1, 1) for index in range(int(number))]
    if kind in ("logspace", "loguniform"):
        return [low * (high / low) ** share for share in shares]
    return [low + (high - low) * share for share in shares]


def _number(value: float, kind: type) -> str:
    """Return a number as a flag of its type takes it, in six digits."""
    return str(round(value)) if kind is int else f"{value:.6g}"
