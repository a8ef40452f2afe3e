"""Read and format lists of settings, from flags or from Python: layers with weights, counts, and numbers."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neural_style_tf.errors import UserError
from neural_style_tf.utils.paths import exists

LayerWeights = tuple[tuple[str, float], ...]


def parse_layer_weights(text: str) -> LayerWeights:
    """Parse `relu1_1,relu2_1:0.5` into ((`relu1_1`, 1.0), (`relu2_1`, 0.5)).

    Raises:
        UserError: A weight that is not a number.
    """
    pairs = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        layer, colon, weight = item.partition(":")
        try:
            pairs.append((layer.strip(), float(weight) if colon else 1.0))
        except ValueError:
            raise UserError(f"the weight of layer {layer!r} must be a number, not {weight!r}") from None
    return tuple(pairs)


def read_layer_weights(name: str, value: Any) -> LayerWeights:
    """Return layers with their weights.

    Args:
        name: Of the flag, for the message.
        value: Text as of `parse_layer_weights`, a list of such texts and of (layer, weight), or a dictionary.

    Raises:
        UserError: Something else.
    """
    given = (value,) if isinstance(value, str) else value
    pairs: list[tuple[str, float]] = []
    try:
        for item in given.items() if isinstance(given, Mapping) else given:
            if isinstance(item, str):
                pairs += parse_layer_weights(item)
            else:
                layer, weight = item
                pairs.append((str(_of_type(str, layer)), float(_of_type(numbers.Real, weight))))
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError):
        example = "relu1_1,relu2_1:0.5 or [('relu1_1', 1.0), ('relu2_1', 0.5)]"
        raise UserError(f"--{name} must be a list of layers such as {example}, not {value!r}") from None
    return tuple(pairs)


def read_counts(name: str, value: Any) -> tuple[int, ...]:
    """Return `120,100`, or a list of whole numbers, as (120, 100).

    Raises:
        UserError: Something that is not a whole number.
    """
    try:
        if isinstance(value, str):
            return tuple(int(item) for item in value.split(",") if item.strip())
        return tuple(int(_of_type(numbers.Integral, one)) for one in _several(value))
    except (TypeError, ValueError):
        raise UserError(f"--{name} must be whole numbers such as 120,100, not {value!r}") from None


def read_numbers(name: str, value: Any) -> tuple[float, ...]:
    """Return `3,7`, or a list of numbers, as (3.0, 7.0).

    Raises:
        UserError: Something that is not a number.
    """
    try:
        if isinstance(value, str):
            return tuple(map(float, value.split(","))) if value.strip() else ()
        return tuple(float(_of_type(numbers.Real, one)) for one in _several(value))
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"--{name} must be numbers such as 3,7, not {value!r}") from None


def _several(value: Any) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _of_type(kind: type, value: Any) -> Any:
    """Return a value of a kind; True is not a number."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError
    return value


def format_list(value: tuple) -> str:
    """Return the text that a parser of this module reads back; file names are only joined."""
    if all(isinstance(item, int | float | str) for item in value):
        return ",".join(repr(item) if isinstance(item, float) else str(item) for item in value)
    return format_layer_weights(value)


def format_layer_weights(pairs: LayerWeights) -> str:
    """Return the text that `parse_layer_weights` reads back."""
    return ",".join(layer if weight == 1 else f"{layer}:{weight!r}" for layer, weight in pairs)


def names_a_class(text: str) -> bool:
    """Return whether a text is `package.module:Class`.

    Raises:
        UserError: It is, and no such package is to be found; nothing is imported.
    """
    module, colon, name = text.partition(":")
    if not (colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        return False
    package = module.partition(".")[0]
    here = [Path(package), Path(f"{package}.py")]
    if package not in sys.modules and not any(map(exists, here)) and find_spec(package) is None:
        raise UserError(
            f"{text}: there is no module {package!r}, neither installed nor in the working directory"
        )
    return True
