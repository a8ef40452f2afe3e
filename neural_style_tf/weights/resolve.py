"""Resolve --weights: find, download or read the weights of a run."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from neural_style_tf.errors import UserError, show
from neural_style_tf.utils.paths import exists, is_file
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights import Weights, detect_format
from neural_style_tf.weights.cache_format import SUFFIX, converted_path
from neural_style_tf.weights.download import DownloadError, Limits, Progress, download
from neural_style_tf.weights.provenance import to_weights
from neural_style_tf.weights.readers import read_file
from neural_style_tf.weights.registry import KERAS, MATCONVNET, PublishedFile
from neural_style_tf.weights.stand_in import CACHE, check_bundled, read_bundled
from neural_style_tf.weights.structure import WIDTHS

SPECS = ("auto", "mat", "keras", "bundled")
"""What `--weights` can be, apart from a file."""

Log = Callable[[str], None]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where downloads come from and how long they may take; the published addresses by default.

    Attributes:
        mat: The MatConvNet file.
        keras: The Keras file.
        limits: Time-outs.
    """

    mat: PublishedFile = MATCONVNET
    keras: PublishedFile = KERAS
    limits: Limits = dataclasses.field(default_factory=Limits)


def load_weights(
    spec: str | os.PathLike[str] = "auto",
    *,
    folder: Path = Path("weights"),
    progress: Progress | None = None,
    log: Log = _LOG.info,
    sources: Sources | None = None,
    widths: Sequence[int] = WIDTHS,
) -> Weights:
    """Get the weights of VGG-19's convolutions.

    `auto` takes the MatConvNet file of `folder` or its converted form, else another readable file there, else
    downloads Keras' 80 MB, else takes the bundled network. `mat` and `keras` take that file of `folder`, or
    download it. `bundled` takes the bundled network. Anything else is the path of a file.

    Args:
        spec: One of `SPECS`, or a file in any of the forms `readers.read_file` knows.
        folder: Where weights are kept and downloaded to; relative to the current directory by default.
        progress: Called during a download with the bytes that are there and the bytes expected.
        log: Called with one line for each thing a user should know, the notes of the result among them.
        sources: Where downloads come from.
        widths: Filters of each of the sixteen convolutions; others than VGG-19's own for small tests.

    Returns:
        The weights.

    Raises:
        UserError: The file is missing or wrong, or nothing can be had.
    """
    folder, sources = Path(folder), sources or Sources()
    check_spec(spec, folder)
    if spec == "auto":
        weights = _auto(folder, sources, progress, log, widths)
    elif spec == "bundled":
        weights = to_weights(*read_bundled(folder))
    elif spec in ("mat", "keras"):
        file = sources.mat if spec == "mat" else sources.keras
        try:
            path = _present(folder, file) or _download(file, folder, sources, progress, log)
        except DownloadError as error:
            other = f"put the file into {show(folder)} yourself, or use --weights=bundled"
            raise DownloadError(f"{error}; {other}") from None
        weights = read_file(path, widths=widths, log=log)
    else:
        weights = read_file(_path(spec), widths=widths, log=log)
    for note in weights.notes:
        log(note)
    return weights


def check_spec(spec: str | os.PathLike[str], folder: Path = Path("weights")) -> None:
    """Refuse a mistake in `--weights` within milliseconds, before anything slow is imported.

    Args:
        spec: As for `load_weights`.
        folder: As for `load_weights`.

    Raises:
        UserError: No such file, a file that is plainly no weight file, a mistyped word, a bundled network
            that is not installed.
    """
    folder = Path(folder)
    if spec in ("auto", "mat", "keras"):
        if exists(folder) and not folder.is_dir():
            raise UserError(f"{show(folder)}: the folder for weights is a file")
        if spec != "auto" and (path := _present(folder, MATCONVNET if spec == "mat" else KERAS)):
            detect_format.sniff(path)
    elif spec == "bundled":
        check_bundled(folder)
    else:
        text = os.fspath(spec)
        if _is_word(text) and not exists(_path(text)):
            words = [*SPECS, *(path.name for path in detect_format.weight_files(folder))]
            guess = did_you_mean(text, words)
            raise UserError(f"--weights={show(text)}: neither a file nor one of {', '.join(SPECS)}{guess}")
        if not exists(_path(text)) and is_file(folder / text):
            raise UserError(f"{show(text)}: there is no such file; did you mean {show(folder / text)}?")
        detect_format.sniff(_path(text))


def _auto(
    folder: Path, sources: Sources, progress: Progress | None, log: Log, widths: Sequence[int]
) -> Weights:
    for path in _candidates(folder, sources):
        try:
            return read_file(path, widths=widths, log=log)
        except UserError as error:
            log(f"Skipped {error}")
    try:
        path = _download(sources.keras, folder, sources, progress, log)
        return read_file(path, widths=widths, log=log)
    except DownloadError as error:
        log(str(error))
    return to_weights(*read_bundled(folder))


def _download(
    file: PublishedFile, folder: Path, sources: Sources, progress: Progress | None, log: Log
) -> Path:
    log(f"Downloading {file.url} ({file.size / 1e6:,.0f} MB) into {show(folder)}")
    return download(file, folder, progress=progress, log=log, limits=sources.limits)


def _candidates(folder: Path, sources: Sources) -> Iterator[Path]:
    """Yield the files of a folder that may be weights, the published ones first, none twice."""
    first = [path for file in (sources.mat, sources.keras) if (path := _present(folder, file))]
    yield from first
    for path in detect_format.weight_files(folder):
        original = path.with_name(path.name.removesuffix(SUFFIX))
        converted = path.name.endswith(SUFFIX) and original.is_file()
        # The bundled network is for those who cannot download VGG-19: it comes after the download.
        if path not in first and not converted and path.name != CACHE:
            yield path


def _present(folder: Path, file: PublishedFile) -> Path | None:
    path = folder / file.name
    return next((one for one in (path, converted_path(path)) if is_file(one)), None)


def _path(spec: str | os.PathLike[str]) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:
        return Path(spec)


def _is_word(text: str) -> bool:
    return bool(text) and not Path(text).suffix and Path(text).name == text
