"""Neural style transfer after Gatys, Ecker and Bethge, in TensorFlow 2 and Keras.

A public name is imported on first use, so that importing the package does not import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from neural_style_tf.utils.runtime import use_tensorflow_backend

__version__ = "0.1.0"

_HOMES = {
    "Adam": "optim.adam",
    "Architecture": "models.architecture",
    "Config": "config",
    "Content": "losses.content",
    "Gram": "losses.gram",
    "GramAndMoments": "losses.gram",
    "Guidance": "losses.guides",
    "Inputs": "transfer.plan",
    "LBFGS": "optim.lbfgs",
    "Map": "losses.term",
    "Masks": "transfer.masks",
    "Minimum": "transfer.minimize",
    "Moments": "losses.term",
    "Nearest": "losses.nearest",
    "Objective": "losses.objective",
    "Optimizer": "optim",
    "PRESETS": "config",
    "Painting": "transfer.paint",
    "Region": "losses.guides",
    "RunError": "errors",
    "Session": "transfer.session",
    "StepRecord": "transfer.records",
    "Term": "losses.term",
    "TotalVariation": "losses.variation",
    "UserError": "errors",
    "VGG16": "models.architecture",
    "VGG19": "models.architecture",
    "VGG19_LAYERS": "models.architecture",
    "Wasserstein": "losses.wasserstein",
    "Weights": "weights",
    "build_network": "models.network",
    "evaluate": "evaluation.single",
    "extract_features": "losses.features",
    "gram_matrix": "losses.features",
    "load_image": "images",
    "load_mask": "images.masks",
    "load_weights": "weights.resolve",
    "minimize": "transfer.minimize",
    "paint": "transfer.paint",
    "save_image": "images",
    "stylize": "transfer.session",
    "to_picture": "images",
}

_ON_KERAS = ("losses", "models.network", "optim", "transfer.minimize", "transfer.paint", "transfer.session")
"""Prefixes of the modules that import Keras."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    if home.startswith(_ON_KERAS):
        use_tensorflow_backend()
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
