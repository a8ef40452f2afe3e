"""The structure of VGG-19's sixteen convolutions, and the check that a file has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

CONVOLUTIONS_PER_BLOCK = (2, 2, 4, 4, 4)

CONVOLUTIONS = tuple(
    f"conv{block}_{index}"
    for block, count in enumerate(CONVOLUTIONS_PER_BLOCK, 1)
    for index in range(1, count + 1)
)
"""VGG-19's convolutions, input first (Simonyan and Zisserman, arXiv 1409.1556, table 1, column E)."""

WIDTHS = (64,) * 2 + (128,) * 2 + (256,) * 4 + (512,) * 8
"""Number of filters of each of `CONVOLUTIONS`."""

ABSENT_FROM_VGG16 = ("conv3_4", "conv4_4", "conv5_4")


class WrongStructure(ValueError):
    """A file that is not a VGG-19; the message says what was found, without the file's name."""


def kernel_shapes(widths: Sequence[int] = WIDTHS) -> dict[str, tuple[int, int, int, int]]:
    """Return the shape of each kernel.

    Args:
        widths: Number of filters of each of the sixteen convolutions.

    Returns:
        `conv1_1` … `conv5_4` → (3, 3, N_in, N_out).
    """
    inputs = (3, *widths[:-1])
    return {name: (3, 3, n, m) for name, n, m in zip(CONVOLUTIONS, inputs, widths, strict=True)}


def check_names(found: Iterable[str]) -> None:
    """Refuse a file in which a convolution is missing.

    Args:
        found: Names of the layers with weights that the file has.

    Raises:
        WrongStructure: One of the sixteen is missing; names the network where it is recognised.
    """
    found = list(found)
    missing = [name for name in CONVOLUTIONS if name not in found]
    if not missing:
        return
    if not found:
        raise WrongStructure("no layers with weights")
    if tuple(missing) == ABSENT_FROM_VGG16:
        raise WrongStructure(f"VGG-16 (it has no {', '.join(missing)})")
    if len(missing) == len(CONVOLUTIONS):
        raise WrongStructure(f"another network, with the layers {listing(found)}")
    raise WrongStructure(f"a network without {listing(missing)}")


def check_shapes(
    name: str, kernel: tuple[int, ...], bias: tuple[int, ...], *, widths: Sequence[int] = WIDTHS
) -> None:
    """Refuse a layer of the wrong shape, before its numbers are read.

    Args:
        name: One of `CONVOLUTIONS`.
        kernel: Shape of its kernel, [3, 3, N_in, N_out] expected.
        bias: Shape of its bias, [N_out] expected.
        widths: Number of filters of each of the sixteen convolutions.

    Raises:
        WrongStructure: A shape differs.
    """
    expected = kernel_shapes(widths)[name]
    if tuple(kernel) != expected:
        raise WrongStructure(f"{name} has a kernel of shape {_shape(kernel)}, expected {_shape(expected)}")
    if tuple(bias) != expected[3:]:
        raise WrongStructure(f"{name} has a bias of shape {_shape(bias)}, expected {_shape(expected[3:])}")


def check_structure(
    kernels: Mapping[str, np.ndarray], biases: Mapping[str, np.ndarray], *, widths: Sequence[int] = WIDTHS
) -> None:
    """Refuse anything but a complete VGG-19 with finite numbers.

    Args:
        kernels: Layer name → [3, 3, N_in, N_out].
        biases: Layer name → [N_out].
        widths: Number of filters of each of the sixteen convolutions.

    Raises:
        WrongStructure: A layer is missing, has another shape or type, or holds NaN or infinity.
    """
    check_names(name for name in kernels if name in biases)
    for name in CONVOLUTIONS:
        check_shapes(name, kernels[name].shape, biases[name].shape, widths=widths)
        for what, array in (("kernel", kernels[name]), ("bias", biases[name])):
            if array.dtype != np.float32:
                raise WrongStructure(f"{name} has a {what} of {array.dtype}, expected float32")
            if not np.isfinite(array).all():
                raise WrongStructure(f"NaN or infinity in the {what} of {name}")


def to_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Return `array` as contiguous float32.

    Args:
        array: The numbers of a kernel or a bias, of any shape.
        name: Layer they belong to, for the message.

    Returns:
        The same numbers, rows first in memory; `array` itself if nothing had to change.

    Raises:
        WrongStructure: `array` is not of a floating-point type.
    """
    if not np.issubdtype(array.dtype, np.floating):
        raise WrongStructure(f"{name} holds {array.dtype}, expected floating-point numbers")
    # A float64 beyond float32's range becomes infinity, which check_structure then names.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def listing(names: Iterable[str], most: int = 8) -> str:
    """Return names in one short line, fit for a terminal."""
    names = list(names)
    shown = ", ".join(printable(name, 40) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def printable(text: str, longest: int = 400) -> str:
    """Return `text` without control characters, which a file may have smuggled in, cut to a length."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _shape(shape: Iterable[int]) -> str:
    return "×".join(str(n) for n in shape) or "()"
