"""Settings as fields of dataclasses: declaration, groups, and the texts of values."""

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
}
"""Properties of settings beyond type and range."""
LIMITS = {
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("more than", operator.gt),
    "below": ("below", operator.lt),
}
"""Limits of a number, or of each number in a list."""


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
    """Declare a field, with its explanation for `--help`.

    `tags` are keys of `TAGS`, separated by spaces; limits are named by the keys of `LIMITS`. The kind follows
    from the type of the default. `choices` are the valid words; `is_own` tells whether another word names
    something of the user's, such as a file. `value` is shown for an empty default: FILE, FOLDER or N,N,….
    """
    if unknown := (set(tags.split()) - TAGS.keys()) | (limits.keys() - LIMITS.keys()):
        raise TypeError(f"no such tags or limits: {unknown}")
    kind = kind or parsing.OF_DEFAULT[type(default)]
    metadata = {"help": explanation, "tags": tags.split(), "kind": kind, "choices": choices, "is_own": is_own}
    return dataclasses.field(default=default, metadata=metadata | {"value": value, "limits": limits})


def group(kind: type) -> Any:
    """Declare a field that is a dataclass of settings."""
    return dataclasses.field(default_factory=kind, metadata={"group": kind})


def leaves(kind: type) -> tuple[dataclasses.Field, ...]:
    """Return the fields of all settings of a dataclass, in order, with those of its groups."""
    return tuple(
        leaf
        for field in dataclasses.fields(kind)
        for leaf in (leaves(field.metadata["group"]) if "group" in field.metadata else (field,))
    )


def tagged(tag: str, *kinds: type) -> tuple[str, ...]:
    """Return the names of the settings that have a tag, in order."""
    return tuple(leaf.name for kind in kinds for leaf in leaves(kind) if tag in leaf.metadata["tags"])


def flat(value: Any) -> dict[str, Any]:
    """Return name → value of every setting of a dataclass, in order, with those of its groups."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        values |= flat(own) if "group" in field.metadata else {field.name: own}
    return values


class Settings:
    """Base of frozen dataclasses of settings, whose values pass through `read_value`."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if "group" not in field.metadata:
                object.__setattr__(self, field.name, read_value(field, getattr(self, field.name)))

    def replace(self, **changes: Any) -> Any:
        """Return a copy with some settings changed, checked again."""
        return dataclasses.replace(self, **changes)


def assign(value: Settings, settings: Mapping[str, Any]) -> None:
    """Set the fields of a frozen dataclass with groups from settings by flat names, and from whole groups."""
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
    """Return the checked value of a setting from its text or from a value of Python or NumPy."""
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
    """Return the value of a setting from the texts of its flag; the last counts, unless all do."""
    return read_value(field, texts if field.metadata["kind"] is parsing.TEXTS else texts[-1])


def to_texts(field: dataclasses.Field, value: Any) -> tuple[str, ...]:
    """Return the texts that `from_text` reads back: one, or one for each item of a repeated flag."""
    return value if field.metadata["kind"] is parsing.TEXTS else (parsing.to_text(value),)


def to_flags(field: dataclasses.Field, value: Any) -> list[str]:
    """Return the flags `--name=text` of a value, or `--name` or `--noname` of a bool."""
    if isinstance(value, bool):
        return [f"--{'' if value else 'no'}{field.name}"]
    return [f"--{field.name}={text}" for text in to_texts(field, value)]
