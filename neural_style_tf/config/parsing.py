"""Parse and format lists in flags: layers with weights, counts, and numbers."""

from __future__ import annotations

from neural_style_tf.errors import UserError

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


def parse_counts(name: str, text: str) -> tuple[int, ...]:
    """Parse `120,100` into (120, 100).

    Raises:
        UserError: Something that is not a whole number.
    """
    try:
        return tuple(int(item) for item in text.split(",") if item.strip())
    except ValueError:
        raise UserError(f"--{name} must be whole numbers such as 120,100, not {text!r}") from None


def parse_numbers(name: str, text: str) -> tuple[float, ...]:
    """Parse `3,7` into (3.0, 7.0).

    Args:
        name: Of the flag, for the message.
        text: Numbers, comma-separated.

    Raises:
        UserError: Something that is not a number.
    """
    try:
        return tuple(map(float, text.split(","))) if text.strip() else ()
    except ValueError:
        raise UserError(f"--{name} must be numbers such as 3,7, not {text!r}") from None


def format_list(value: tuple) -> str:
    """Return the text that a parser of this module reads back; file names are only joined."""
    if all(isinstance(item, int | float | str) for item in value):
        return ",".join(repr(item) if isinstance(item, float) else str(item) for item in value)
    return format_layer_weights(value)


def format_layer_weights(pairs: LayerWeights) -> str:
    """Return the text that `parse_layer_weights` reads back."""
    return ",".join(layer if weight == 1 else f"{layer}:{weight!r}" for layer, weight in pairs)
