"""Find, download, read and convert the weights of VGG-19 and VGG-16."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from neural_style_tf.models.architecture import VGG19, Architecture

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Weights:
    """The convolutions of a network, and the file they were read from.

    Attributes:
        kernels: Kernel of each layer `conv1_1` … `conv5_4`: float32 [3 rows, 3 columns, N_in, N_out]. The
            kernel of conv1_1 takes RGB.
        biases: Bias of each layer: float32 [N_out].
        origin: Format of the original file: `matconvnet`, `keras`, `bundled` or `npz`.
        sha256: Hash of the original file.
        source: Name of the original file, without its folder.
        generation: Name under which that file was published, or `""` for an unpublished file.
        notes: Lines that the user should see, such as that the network is VGG-16 and not VGG-19.
        architecture: The network that these convolutions belong to.
    """

    kernels: Mapping[str, np.ndarray]
    biases: Mapping[str, np.ndarray]
    origin: str
    sha256: str
    source: str
    generation: str = ""
    notes: tuple[str, ...] = ()
    architecture: Architecture = VGG19

    @property
    def bytes(self) -> int:
        """Size in memory, in bytes."""
        return sum(array.nbytes for array in (*self.kernels.values(), *self.biases.values()))
