"""Declare settings as fields of a dataclass, check them, and flatten groups of them."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from neural_style_tf.errors import UserError
from neural_style_tf.utils.text import did_you_mean


def setting(
    default: Any,
    explanation: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    value: str = "",
    is_own: Callable[[str], bool] | None = None,
    read: Callable[[str, Any], tuple] | None = None,
) -> Any:
    """Declare a field with its help text and what it may be.

    Args:
        default: The value when nothing is said.
        explanation: One sentence for `--help`.
        choices: The words allowed, for a setting that is a word.
        low: The smallest number allowed.
        high: The largest.
        above: A number that the value must exceed.
        value: What `--help` calls a value where the default is empty, such as FILE.
        is_own: Whether a value that is none of `choices` names something of the user's own.
        read: Name of a list and what is given for it → its value.

    Returns:
        A dataclass field.
    """
    metadata = {"help": explanation, "choices": choices, "low": low, "high": high}
    metadata |= {"above": above, "value": value, "read": read, "is_own": is_own}
    return dataclasses.field(default=default, metadata=metadata)


def group(kind: type) -> Any:
    """Declare a field that is a dataclass of settings."""
    return dataclasses.field(default_factory=kind, metadata={"group": kind})


def leaves(kind: type) -> tuple[dataclasses.Field, ...]:
    """Return the settings of a dataclass, those of its groups in their place."""
    return tuple(
        leaf
        for field in dataclasses.fields(kind)
        for leaf in (leaves(field.metadata["group"]) if "group" in field.metadata else (field,))
    )


def flat(value: Any) -> dict[str, Any]:
    """Return name → value of every setting of a dataclass, those of its groups in their place."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        given = getattr(value, field.name)
        found |= flat(given) if "group" in field.metadata else {field.name: given}
    return found


def assign(value: Any, settings: Mapping[str, Any]) -> None:
    """Set the fields of a frozen dataclass with groups, from settings by their flat names and whole groups.

    Raises:
        TypeError: A name that is neither.
        UserError: A group that is not of its type.
    """
    left = dict(settings)
    for field in dataclasses.fields(value):
        if "group" in field.metadata:
            kind = field.metadata["group"]
            given = left.pop(field.name, None)
            names = {leaf.name for leaf in dataclasses.fields(kind)} & left.keys()
            changes = {name: left.pop(name) for name in names}
            if not isinstance(given, kind | None):
                raise UserError(f"{field.name} must be a {kind.__name__}, not {given!r}")
            replace = functools.partial(dataclasses.replace, given)
            given = kind(**changes) if given is None else getattr(given, "replace", replace)(**changes)
        else:
            given = left.pop(field.name, field.default)
        object.__setattr__(value, field.name, given)
    if left:
        raise TypeError(f"no such settings: {', '.join(left)}")


def check_fields(value: Any) -> None:
    """Check every field of a settings dataclass against its declaration; take 1 for 1.0, NumPy's as Python's.

    Raises:
        UserError: Naming the flag, what it may be and what it is.
    """
    for field in dataclasses.fields(value):
        if "group" in field.metadata:
            continue
        given = getattr(value, field.name)
        # NumPy's numbers, strings and arrays.
        given = given.tolist() if hasattr(given, "tolist") else given
        if read := field.metadata["read"]:
            given = read(field.name, given)
        elif type(field.default) is float and type(given) is int:
            given = float(given) if abs(given) <= sys.float_info.max else math.inf
        object.__setattr__(value, field.name, given)
        if type(given) is not type(field.default):
            expected = type(field.default).__name__
            raise UserError(
                f"--{field.name} must be of type {expected}, not {type(given).__name__} {given!r}"
            )
        check_setting(field.name, given, field.metadata)


def check_setting(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    """Check one value against the `metadata` that `setting` gave its field.

    Raises:
        UserError: Naming the flag, what it may be and what it is.
    """
    choices, low, high, above = (metadata.get(key) for key in ("choices", "low", "high", "above"))
    is_own = metadata.get("is_own")
    if choices and value not in choices and not (is_own and is_own(value)):
        nearest = did_you_mean(str(value), choices)
        raise UserError(f"--{name} must be one of {', '.join(choices)}, not {value!r}{nearest}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name} must be a finite number, not {value}")
    if low is not None and value < low:
        raise UserError(f"--{name} must be at least {low}, not {value}")
    if high is not None and value > high:
        raise UserError(f"--{name} must be at most {high}, not {value}")
    if above is not None and value <= above:
        raise UserError(f"--{name} must be more than {above}, not {value}")
