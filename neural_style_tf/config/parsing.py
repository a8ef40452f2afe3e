"""The types of settings: each converts strings and Python values to checked values."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neural_style_tf.errors import UserError, reason
from neural_style_tf.utils.files import exists

LayerWeights = tuple[tuple[str, float], ...]
MISTAKES = (TypeError, ValueError, OverflowError)
"""Exceptions that `Kind.read` raises for a value of another type."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type of settings."""

    read: Callable[[Any], Any]  # converts a string or a Python value
    expected: str  # describes valid values in messages
    type: Any = str  # of the values in JSON, for programs that ask for a painting


def _bool(value: Any) -> bool:
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    return _of_type(bool, value)


def _int(value: Any) -> int:
    number = int(value if isinstance(value, str) else _of_type(numbers.Integral, value))
    # Larger ones are no floats, with which sizes and times are computed.
    float(number)
    return number


def _float(value: Any) -> float:
    return float(value if isinstance(value, str) else _of_type(numbers.Real, value))


def _text(value: Any) -> str:
    return _of_type(str, value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _items(value)))


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple(map(read, _split_list(value) if isinstance(value, str) else _items(value)))


def _layers(value: Any) -> LayerWeights:
    pairs: list[tuple[str, float]] = []
    for item in value.items() if isinstance(value, Mapping) else _items(value):
        if isinstance(item, str):
            parts = (part.partition(":") for part in _split_list(item))
            pairs += [(layer.strip(), float(weight) if colon else 1.0) for layer, colon, weight in parts]
        else:
            layer, weight = item
            pairs.append((_text(layer), _float(weight)))
    return tuple(pairs)


def _of_type(kind: type, value: Any) -> Any:
    """Return `value` if it is of type `kind`, else raise TypeError. A bool does not count as a number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _split_list(text: str) -> list[str]:
    """Split `text` at its commas. A comma after the last item is allowed."""
    text = text.strip().removesuffix(",")
    return [item.strip() for item in text.split(",")] if text else []


BOOL = Kind(_bool, "true or false", bool)
INT = Kind(_int, "a whole number such as 3", int)
FLOAT = Kind(_float, "a number such as 0.5", float)
TEXT = Kind(_text, "a text")
TEXTS = Kind(_texts, "a text or a list of texts", list[str])
INTS = Kind(_list_of(_int), "whole numbers such as 120,100", list[int])
FLOATS = Kind(_list_of(_float), "numbers such as 3,7", list[float])
LAYERS = Kind(_layers, "layers such as relu1_1,relu2_1:0.5 or [('relu1_1', 1.0), ('relu2_1', 0.5)]")
OF_DEFAULT = {bool: BOOL, int: INT, float: FLOAT, str: TEXT, tuple: TEXTS}
"""Type of a setting's default → the setting's kind, unless it is declared with another one."""


def to_text(value: Any) -> str:
    """Return `value` as a string from which its `Kind` reads the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(_pair(*item) if isinstance(item, tuple) else to_text(item) for item in value)
    return str(value)


def _pair(layer: str, weight: float) -> str:
    return layer if weight == 1 else f"{layer}:{to_text(weight)}"


def any_file(text: str) -> bool:
    """Return True: every word is accepted as a file name. Whether the file exists is checked later."""
    return True


def names_a_class(text: str) -> bool:
    """Return whether `text` has the form `package.module:Class`. Nothing is imported."""
    module, colon, name = text.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        return False
    package = module.partition(".")[0]
    here = [Path(package), Path(f"{package}.py")]
    if package not in sys.modules and not any(map(exists, here)) and find_spec(package) is None:
        raise UserError(f"there is no module {package!r}, neither installed nor in the working directory")
    return True


def factory_of(setting: str, path: str, kind: type) -> Callable[..., Any]:
    """Import the subclass of `kind` that the flag `setting` names; return a function that calls it.

    `path` is `package.module:Class`; the module may lie in the working directory. The function drops keywords
    that the class does not accept.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        own_class = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise UserError(
            f"--{setting}={path}: cannot be imported ({type(error).__name__}: {reason(error)}); give "
            "package.module:Class, where the module can be imported or lies in the working directory"
        ) from error
    finally:
        sys.path.remove(here)
    if not (isinstance(own_class, type) and issubclass(own_class, kind)):
        raise UserError(
            f"--{setting}={path}: must be a subclass of neural_style_tf.{kind.__name__}, not {own_class!r}"
        )

    def make(*arguments: Any, **keywords: Any) -> Any:
        takes = inspect.signature(own_class).parameters
        try:
            return own_class(*arguments, **{name: keywords[name] for name in takes if name in keywords})
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"--{setting}={path}: the class cannot be called ({type(error).__name__}: {reason(error)})"
            ) from error

    return make
