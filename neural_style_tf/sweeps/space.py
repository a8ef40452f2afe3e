"""Turn the flags `--sweep=NAME=…` into runs: parse lists, ranges, random draws and globs, and combine them.

A value is the text that a flag would take. Values are not checked here: each run is checked later like an
ordinary command line.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from neural_style_tf.config.fields import leaves, tagged
from neural_style_tf.config.parsing import to_text
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.errors import UserError, did_you_mean, show
from neural_style_tf.images.files import expand_files

MOST_RUNS = 10_000
_RANGES = {"linspace": 3, "logspace": 3, "uniform": 2, "loguniform": 2}
_CALL = re.compile(r"([a-z]+)\((.*)\)")


@dataclasses.dataclass(frozen=True)
class Axis:
    """One swept setting, with its values."""

    name: str  # of the flag
    values: tuple[str, ...]  # as text that the flag takes
    drawn: bool = False  # whether they are random; all random axes advance together


def parse_axis(text: str, *, samples: int = 0, seed: int = 0, frames: bool = False) -> Axis:
    """Parse `NAME=V1,V2,…`, `NAME=linspace(a,b,n)`, `logspace`, `uniform(a,b)`, `loguniform`, or files.

    A `;` stands for a comma inside one value, such as a list. A random axis has `samples` draws, seeded by
    `seed` and its name. With `frames` a folder as `content` is one clip, not a list of photos.
    """
    name, equals, values = text.partition("=")
    swept = [*(leaf.name for leaf in leaves(Config)), *tagged("swept", Job)]
    if name not in swept:
        raise UserError(f"--sweep={text}: no setting {name!r}{did_you_mean(name, swept)}")
    if not equals or not values.strip(","):
        raise UserError(f"--sweep={text}: values are missing, as in --sweep={name}=1,2")
    call = _CALL.fullmatch(values)
    drawn = bool(call) and call[1] in ("uniform", "loguniform")
    if call and call[1] in _RANGES:
        numbers = _numbers(text, call[1], call[2], samples=samples, seed=f"{seed} {name}")
        whole = isinstance(SETTINGS[name].default, int)
        texts = [to_text(round(number) if whole else float(f"{number:.6g}")) for number in numbers]
    elif name in tagged("reads", Config, Job) and not (frames and name == "content"):
        texts = [path for item in values.split(",") for path in _files(name, item)]
    else:
        texts = [item.strip().replace(";", ",") for item in values.split(",")]
    if "" in texts:
        raise UserError(f"--sweep={text}: a value is empty")
    return Axis(name, tuple(texts), drawn)


def combine(axes: Sequence[Axis], zipped: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the values of each run by name: the product of the axes, of which the first varies slowest.

    Random axes advance together, and so do the axes named in `zipped`.
    """
    swept = [axis.name for axis in axes]
    for name in swept:
        if swept.count(name) > 1:
            raise UserError(f"--sweep={name}=… is given twice: name all values in one")
    for name in zipped:
        if name not in swept:
            raise UserError(f"--sweep_zip: {name!r} is not swept{did_you_mean(name, swept)}")
    groups: dict[str, list[Axis]] = {}
    for axis in axes:
        key = "zipped" if axis.name in zipped else "drawn" if axis.drawn else f"={axis.name}"
        groups.setdefault(key, []).append(axis)
    steps = [_advance_together(group) for group in groups.values()]
    number = math.prod(map(len, steps))
    if number > MOST_RUNS:
        raise UserError(f"--sweep: {number:,} runs are more than {MOST_RUNS:,}: name fewer values")
    runs = (dict(itertools.chain.from_iterable(parts)) for parts in itertools.product(*steps))
    return [{name: run[name] for name in swept} for run in runs]


def _advance_together(axes: Sequence[Axis]) -> list[tuple[tuple[str, str], ...]]:
    """Return the steps of axes that advance together; each step has a pair (name, value) for each axis."""
    if len({len(axis.values) for axis in axes}) > 1:
        counts = ", ".join(f"{axis.name} has {len(axis.values)}" for axis in axes)
        raise UserError(f"--sweep_zip: as many values are needed of each, but {counts}")
    rows = list(zip(*(axis.values for axis in axes), strict=True))
    if axes[0].drawn:
        # After rounding, draws may be equal by chance.
        rows = list(dict.fromkeys(rows))
    [(row, count)] = Counter(rows).most_common(1)
    if count > 1:
        flags = " ".join(f"--sweep={axis.name}=…" for axis in axes)
        raise UserError(f"{flags}: {', '.join(map(show, row))} occurs twice")
    return [tuple(zip([axis.name for axis in axes], row, strict=True)) for row in rows]


def _files(name: str, pattern: str) -> list[str]:
    if pattern in SETTINGS[name].metadata["choices"]:
        # A word such as `noise` counts even if a folder has this name.
        return [pattern]
    files = expand_files(pattern)
    if not files:
        what = "no picture in that folder" if Path(pattern).is_dir() else "no file has such a name"
        raise UserError(f"--sweep={name}={show(pattern)}: {what}")
    return files


def _numbers(text: str, kind: str, arguments: str, *, samples: int, seed: str) -> list[float]:
    """Return the numbers of a range. NumPy's `logspace` takes exponents of the ends, this one the ends."""
    try:
        numbers = [float(part) for part in arguments.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != _RANGES[kind] or not all(map(math.isfinite, numbers)):
        shape = ",".join("abn"[: _RANGES[kind]])
        raise UserError(f"--sweep={text}: {kind}({shape}) takes {_RANGES[kind]} numbers")
    low, high = numbers[:2]
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
        number = numbers[2]
        if number != int(number) or not 1 <= number <= MOST_RUNS:
            raise UserError(f"--sweep={text}: the third number is how many, 1 to {MOST_RUNS:,}")
        shares = [index / max(number - 1, 1) for index in range(int(number))]
    if kind in ("logspace", "loguniform"):
        return [low * (high / low) ** share for share in shares]
    return [low + (high - low) * share for share in shares]
