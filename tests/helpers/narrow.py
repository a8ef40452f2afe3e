"""A narrow VGG-19, so that tests run fast."""

import numpy as np

from neural_style_tf.models.architecture import VGG19
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.weights import Weights

SHALLOW = {
    "content_layers": (("relu2_2", 1.0),),
    "style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0)),
}
"""Settings of tests that any objective serves: half of the network takes half the time to compile."""

_SESSIONS = {}


def make_narrow_weights(seed=0, divisor=8, dtype="float32"):
    """Return a VGG-19 with the same names and 1/divisor of the width, whose activations stay O(10)."""
    rng = np.random.default_rng(seed)
    kernels, biases, depth = {}, {}, 3
    for name in VGG19.layers:
        if name.startswith("conv"):
            width = VGG19.depth(name) // divisor
            scale = np.sqrt(2 / (9 * depth))
            kernels[name] = (rng.standard_normal((3, 3, depth, width)) * scale).astype(dtype)
            biases[name] = rng.standard_normal(width).astype(dtype)
            depth = width
    return Weights(kernels, biases, origin="test", sha256="0" * 64, source="narrow")


def warm_session(weights):
    """Return a session that all tests of a process share, so that each kind compiles once."""
    from neural_style_tf import Session

    # The session keeps the weights, and so their id.
    return _SESSIONS.setdefault(id(weights), Session(weights, keep_bytes=2**29))


def warm_stylize(content, style, config=None, *, weights, initial=None, **options):
    """Do as `stylize`, in a warm session."""
    return warm_session(weights).run(Inputs(content, style, initial), config, **options)
