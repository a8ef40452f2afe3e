"""Find, download, read and convert the weights of VGG-19, or of the bundled VGG-16."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from neural_style_tf.models.architecture import VGG16, VGG19, Architecture


@dataclasses.dataclass(frozen=True)
class Weights:
    """The convolutions of a network, and where they come from.

    Attributes:
        kernels: `conv1_1` … `conv5_4` → float32 [3, 3, N_in, N_out], rows first; conv1_1 takes RGB.
        biases: The same names → float32 [N_out].
        origin: The form they were read from: `matconvnet`, `keras` or `bundled`.
        sha256: Hash of the file they were first read from (of the original, also after conversion).
        source: Name of that file, without its folder.
        generation: Published name of a file with a known hash, or `""` for an unknown one.
        notes: Lines a run must show its user: an unknown hash, VGG-16 for VGG-19.
    """

    kernels: Mapping[str, np.ndarray]
    biases: Mapping[str, np.ndarray]
    origin: str
    sha256: str
    source: str
    generation: str = ""
    notes: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture:
        """The network that is painted with.

        The bundled file has VGG-19's shape, in which the convolutions that VGG-16 lacks are identities; the
        network leaves these out, which changes no feature.
        """
        return VGG16 if self.origin == "bundled" else VGG19

    @property
    def bytes(self) -> int:
        """The memory that they take."""
        return sum(array.nbytes for array in (*self.kernels.values(), *self.biases.values()))
