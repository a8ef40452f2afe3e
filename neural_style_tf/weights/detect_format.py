"""Detect the format of a weight file from its first bytes, before any library reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from neural_style_tf.errors import UserError, show
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights.registry import refusal

MAT, HDF5, NPZ, ONNX = "mat", "hdf5", "npz", "onnx"

SUFFIXES = (".mat", ".h5", ".hdf5", ".npz")
"""Endings of the files that are looked for in a folder; what a file is, its content decides."""

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# MAT-file format, version 5: bytes 124-127 hold the version and the byte order.
_MAT5 = {b"\x00\x01IM": "little", b"\x01\x00MI": "big"}
_MAT73 = (b"\x00\x02IM", b"\x02\x00MI")
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
_ZIP = b"PK\x03\x04"
_PYTORCH = "a PyTorch file, which is never opened, since that can run any program"
_PICKLE = "a Python pickle, which is never opened, since that can run any program"
# Of a zip archive, by what its first members are called.
_ARCHIVES = (
    (b"/data.pkl", _PYTORCH),
    (b"/.data/serialization_id", _PYTORCH),
    (
        b"metadata.json",
        "a Keras model archive; save its weights alone, model.save_weights('NAME.weights.h5')",
    ),
    (b".weights.h5", "a Keras model archive; save its weights alone, model.save_weights('NAME.weights.h5')"),
)
# Offset, first bytes, and what such a file is.
_OTHERS = (
    (2, b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", _PYTORCH),
    *((0, b"\x80%c" % protocol, _PICKLE) for protocol in range(2, 6)),
    (8, b'{"', "a safetensors file, which carries no VGG-19 of a known form"),
    (0, b"\x93NUMPY", "a single NumPy array, not a network"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (0, b"BZh", "compressed by bzip2; unpack it first"),
    (0, b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
)
_MAT_HEADER, _MAT_TAG = 128, 8
_MI_MATRIX, _MI_COMPRESSED = 14, 15


def sniff(path: str | os.PathLike[str]) -> str:
    """Tell the form of a weight file.

    Args:
        path: The file.

    Returns:
        `MAT`, `HDF5`, `NPZ` or `ONNX`.

    Raises:
        UserError: There is no such file, it cannot be read, or it is plainly not a weight file: empty, a
            folder, a web page, truncated, of another format.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{show(path)}: this is a folder; give a file{_inside(path)}")
        if path.exists() and not path.is_file():
            # Opening a pipe would wait for its writer.
            raise UserError(f"{show(path)}: not an ordinary file")
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(1024)
            return _kind(path, head, file, size)
    except FileNotFoundError:
        raise UserError(f"{show(path)}: there is no such file{_near(path)}") from None
    except OSError as error:
        raise UserError(f"{show(path)}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{str(path)!r}: not a file name: {error}") from None


def weight_files(folder: Path) -> list[Path]:
    """Return a folder's files with one of `SUFFIXES`, sorted; none if it cannot be read."""
    try:
        return sorted(
            entry
            for entry in folder.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        )
    except OSError:
        return []


def _kind(path: Path, head: bytes, file: BinaryIO, size: int) -> str:
    if not head:
        raise refusal(path, "the file is empty")
    if head[124:128] in _MAT73 or (head.startswith(b"MATLAB 7.3") and head[512:520] == _HDF5_MAGIC):
        raise refusal(path, "a MATLAB 7.3 file, which the published one is not; save it with '-v7'")
    if order := _MAT5.get(head[124:128]):
        _check_mat_length(path, file, size, order)
        return MAT
    if head.startswith(_HDF5_MAGIC):
        return HDF5
    if head.startswith(_ZIP):
        _check_archive(path, head)
        return NPZ
    if _is_protobuf(head, b"\x08", name_at=3):
        return ONNX
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML):
        raise refusal(path, "a web page, not weights: the download went wrong")
    if not head.strip(b"\x00"):
        raise refusal(path, "begins with zeros: an unfinished download")
    if size < _MAT_HEADER and head.startswith(b"MATLAB"):
        raise refusal(path, f"truncated: only {size:,} bytes")
    if _is_protobuf(head, b"\x0a", name_at=1):
        raise refusal(path, "a Caffe model")
    for at, magic, what in _OTHERS:
        if head[at : at + len(magic)] == magic:
            raise refusal(path, what)
    raise refusal(path, "neither a MATLAB, nor an HDF5, nor an .npz file")


def _check_archive(path: Path, head: bytes) -> None:
    for name, what in _ARCHIVES:
        if name in head:
            raise refusal(path, what)


def _is_protobuf(head: bytes, tag: bytes, *, name_at: int) -> bool:
    """Tell whether a protocol buffer begins as an ONNX or a Caffe model: `tag`, then a name."""
    # The name's length stands in one byte, after the byte that says that it is a text.
    if len(head) <= name_at or not head.startswith(tag) or head[name_at - 1] not in (0x0A, 0x12):
        return False
    name = head[name_at + 1 : name_at + 1 + head[name_at]]
    return len(name) > 1 and all(32 <= letter < 127 for letter in name)


def _check_mat_length(path: Path, file: BinaryIO, size: int, order: str) -> None:
    # Each variable says its length, so a truncated file is found without reading half a gigabyte.
    position = _MAT_HEADER
    while position < size:
        file.seek(position)
        tag = file.read(_MAT_TAG)
        kind, length = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
        position += _MAT_TAG + length
        if len(tag) < _MAT_TAG or position > size:
            raise refusal(path, f"truncated: {size:,} bytes, and its content needs more")
        if kind not in (_MI_MATRIX, _MI_COMPRESSED):
            raise refusal(path, "a damaged MATLAB file")
    if size == _MAT_HEADER:
        raise refusal(path, "a MATLAB file without content")


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {show(path.parent)})"
    return did_you_mean(path.name, (entry.name for entry in weight_files(path.parent)))


def _inside(folder: Path) -> str:
    files = weight_files(folder)
    return f", for example {show(files[0])}" if files else ""
