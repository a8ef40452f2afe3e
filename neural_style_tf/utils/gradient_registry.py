"""Free what TensorFlow's registry of `tf.custom_gradient` keeps alive.

Each use of a custom gradient in a graph is entered in a list that lives as long as the process, and the
entry holds the graph, with every variable and constant that the graph refers to. Of a run from coarse to
fine this would be the image, the optimiser's state and the targets of every coarser scale: 1.6 GB by the
time that a picture of 64 megapixels is painted.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow.python.framework import ops

_PREFIX = "CustomGradient-"


def known() -> frozenset[str]:
    """Return the names of all custom gradients used in graphs so far."""
    return frozenset(name for name in _entries() if name.startswith(_PREFIX))


def forget(names: Iterable[str]) -> None:
    """Remove entries, of graphs that no gradient will be taken of any more."""
    for name in names:
        _entries().pop(name, None)


def _entries() -> dict:
    # TensorFlow has no public way; where this one ends, memory is all that is lost.
    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})
