"""Neural style transfer after Gatys, Ecker and Bethge, in TensorFlow 2 and Keras.

The public names are found on first use, so that importing the package does not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from neural_style_tf.utils.runtime import use_tensorflow_backend

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "Inputs": "transfer.inputs",
    "Masks": "transfer.masks",
    "PRESETS": "config",
    "RunError": "errors",
    "Session": "transfer.session",
    "StepRecord": "transfer.records",
    "UserError": "errors",
    "VGG19_LAYERS": "models.architecture",
    "Weights": "weights",
    "extract_features": "losses.features",
    "gram_matrix": "losses.features",
    "load_image": "images",
    "load_mask": "images.masks",
    "load_weights": "weights.resolve",
    "save_image": "images",
    "stylize": "transfer.session",
    "to_picture": "images",
    "build_network": "models.network",
}

_ON_KERAS = ("losses.features", "models.vgg19", "transfer.session")
"""Of those, the modules that import Keras."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home in _ON_KERAS:
        use_tensorflow_backend()
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
