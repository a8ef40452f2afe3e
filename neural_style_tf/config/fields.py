"""Declare settings as fields of dataclasses, and convert their values from and to flags.

A group is a dataclass of settings inside another one, such as `LossConfig` in `Config`. Flags have no groups.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from neural_style_tf.config import parsing
from neural_style_tf.errors import UserError, did_you_mean

TAGS = {
    "reads": "names a file or folder that the run reads; recorded as an absolute path",
    "picture": "names a picture; its hash is recorded",
    "repeated": "its flag may be repeated",
    "swept": "a setting of `Job` that may be swept; those of `Config` all may",
    "argument": "runs that differ only in it share their compiled steps",
    "auto": "its value `auto` is replaced when a run begins, and stays so on every machine",
    "resume": "may change when a run is resumed",
    "anew": "belongs to one run: left out of --from_run, flags.txt and TensorBoard's comparison",
    "clip": "is about clips; refused for a picture",
    "shares": "distributes the runs of a sweep; refused for a single run",
    "page": "the page has a control for it, or sets it itself",
    "request": "a setting of `Job` that a request to the page's server may have; of `Config` most may",
}
"""Name of each tag → what it says about a setting."""
LIMITS = {
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("more than", operator.gt),
    "below": ("below", operator.lt),
}
"""Name of each limit → its words in messages, and its test. It holds for each number of a list."""


def setting(
    default: Any,
    explanation: str,
    *,
    tags: str = "",
    kind: parsing.Kind | None = None,
    choices: tuple[str, ...] = (),
    is_own: Callable[[str], bool] | None = None,
    value: str = "",
    **limits: float,
) -> Any:
    """Declare a setting as a field of a dataclass.

    Args:
        default: Its default value.
        explanation: Its help text.
        tags: Keys of `TAGS`, separated by spaces.
        kind: The type of the values; default: the one that `default` has.
        choices: The valid words; empty for any value.
        is_own: Returns whether a word that is not in `choices` is valid too, for example as a file name.
        value: Placeholder that `--help` shows for an empty default: FILE, FOLDER or N,N,….
        **limits: Keys of `LIMITS` with their numbers.
    """
    if unknown := (set(tags.split()) - TAGS.keys()) | (limits.keys() - LIMITS.keys()):
        raise TypeError(f"no such tags or limits: {unknown}")
    kind = kind or parsing.OF_DEFAULT[type(default)]
    metadata = {"help": explanation, "tags": tags.split(), "kind": kind, "choices": choices, "is_own": is_own}
    return dataclasses.field(default=default, metadata=metadata | {"value": value, "limits": limits})


def group(kind: type) -> Any:
    """Declare a group: a field whose value is a dataclass `kind` of settings."""
    return dataclasses.field(default_factory=kind, metadata={"group": kind})


def leaves(kind: type) -> tuple[dataclasses.Field, ...]:
    """Return the fields of all settings of the dataclass `kind`, in order, also of those inside groups."""
    return tuple(
        leaf
        for field in dataclasses.fields(kind)
        for leaf in (leaves(field.metadata["group"]) if "group" in field.metadata else (field,))
    )


def tagged(tag: str, *kinds: type) -> tuple[str, ...]:
    """Return the names of the settings of the dataclasses `kinds` that have `tag`, in order."""
    return tuple(leaf.name for kind in kinds for leaf in leaves(kind) if tag in leaf.metadata["tags"])


def flat(value: Any) -> dict[str, Any]:
    """Return a dict from name to value of all settings of `value`, in order, including those in groups."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        values |= flat(own) if "group" in field.metadata else {field.name: own}
    return values


class Settings:
    """Base class of frozen dataclasses of settings. Each value is checked and converted by `read_value`."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if "group" not in field.metadata:
                object.__setattr__(self, field.name, read_value(field, getattr(self, field.name)))

    def replace(self, **changes: Any) -> Any:
        """Return a copy with the settings in `changes` replaced, and check it."""
        return dataclasses.replace(self, **changes)


def assign(value: Settings, settings: Mapping[str, Any]) -> None:
    """Set all fields of the frozen dataclass `value`. Settings that are not in `settings` get their defaults.

    The keys of `settings` are names of single settings, also of those inside groups, or names of groups.
    """
    rest = dict(settings)
    for field in dataclasses.fields(value):
        own = rest.pop(field.name, None if "group" in field.metadata else field.default)
        if kind := field.metadata.get("group"):
            changes = {leaf.name: rest.pop(leaf.name) for leaf in leaves(kind) if leaf.name in rest}
            if not isinstance(own, kind | None):
                raise UserError(f"{field.name} must be a {kind.__name__}, not {own!r}")
            own = kind(**changes) if own is None else own.replace(**changes)
        object.__setattr__(value, field.name, own)
    if rest:
        raise TypeError(f"no such settings: {', '.join(rest)}")


def read_value(field: dataclasses.Field, value: Any) -> Any:
    """Convert `value`, a string or a Python or NumPy value, to the type of `field`, and check it."""
    kind = field.metadata["kind"]
    try:
        checked = kind.read(value.tolist() if hasattr(value, "tolist") else value)
    except UserError:
        raise
    except parsing.MISTAKES:
        raise UserError(f"--{field.name} must be {kind.expected}, not {value!r:.300}") from None
    _check(field, checked)
    return checked


def _check(field: dataclasses.Field, value: Any) -> None:
    name, choices, is_own = f"--{field.name}", field.metadata["choices"], field.metadata["is_own"]
    if choices and value not in choices and not (is_own and _is_own(name, value, is_own)):
        nearest = did_you_mean(value, choices)
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {value!r}{nearest}")
    if value == "" != field.default:
        raise UserError(f"{name} is empty: leave it out for {field.default!r}")
    if "\0" in parsing.to_text(value):
        raise UserError(f"{name}: a name cannot hold a zero byte")
    if isinstance(value, tuple):
        name = f"each number of {name}"
    for item in value if isinstance(value, tuple) else (value,):
        # Items of LAYERS are pairs (layer, weight).
        number = item[1] if isinstance(item, tuple) else item
        if isinstance(number, float) and not math.isfinite(number):
            raise UserError(f"{name} must be a finite number, not {number}")
        for key, limit in field.metadata["limits"].items():
            words, holds = LIMITS[key]
            if not holds(number, limit):
                raise UserError(f"{name} must be {words} {limit}, not {parsing.to_text(number)}")


def _is_own(name: str, value: str, is_own: Callable[[str], bool]) -> bool:
    try:
        return is_own(value)
    except UserError as error:
        raise UserError(f"{name}={value}: {error}") from None


def from_text(field: dataclasses.Field, *texts: str) -> Any:
    """Return the value of a setting from `texts`, one for each time that its flag is given.

    The last one counts, except for a setting that is a list of strings: it keeps all.
    """
    return read_value(field, texts if field.metadata["kind"] is parsing.TEXTS else texts[-1])


def to_texts(field: dataclasses.Field, value: Any) -> tuple[str, ...]:
    """Return the strings from which `from_text` reads `value`: several for a list of strings, else one."""
    return value if field.metadata["kind"] is parsing.TEXTS else (parsing.to_text(value),)


def to_flags(field: dataclasses.Field, value: Any) -> list[str]:
    """Return the flags that set a setting to `value`: `--name=text`; for a bool `--name` or `--noname`."""
    if isinstance(value, bool):
        return [f"--{'' if value else 'no'}{field.name}"]
    return [f"--{field.name}={text}" for text in to_texts(field, value)]
