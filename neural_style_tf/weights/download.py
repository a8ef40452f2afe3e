"""Download a published weight file, checked by its hash and moved into place when it is complete."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from neural_style_tf.errors import UserError, one_line, reason, show
from neural_style_tf.utils.files import Lock
from neural_style_tf.weights.registry import PublishedFile

Progress = Callable[[int, int], None]
Log = Callable[[str], None]

CHUNK = 1 << 16
CONNECT, STALL = 5.0, 20.0
"""Seconds to wait for a connection to the server, and for its next byte."""
WAIT = 3600.0
"""Most seconds to wait while another process downloads the same file."""


class DownloadError(UserError):
    """A download failed; the message says why and what to do."""


class _StoppedError(ValueError):
    """This program gave up the download; the message says why."""


def download(
    file: PublishedFile, folder: Path, *, progress: Progress | None = None, log: Log = lambda line: None
) -> Path:
    """Download `file` into `folder`, unless it is there already; return its path.

    The proxies of environment variables are used. The file gets its name only after its hash is checked; a
    failed download leaves nothing behind. `progress` is called with the numbers of bytes received and
    expected, `log` with a line before a download, and if another process is downloading the same file.

    Raises:
        DownloadError: The download failed, or the folder cannot be written to.
    """
    import pooch
    import requests

    # Pooch would log the download, too.
    pooch.get_logger().setLevel("WARNING")
    target = folder / file.name
    known_hash = f"sha256:{file.sha256}" if file.sha256 else f"md5:{file.md5}"
    fetch = functools.partial(_fetch, size=file.size, progress=progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(target, log):
            if not target.exists():
                size = f" ({file.size / 1e6:,.0f} MB)" if file.size else ""
                log(f"Downloading {file.url}{size} into {show(folder)}")
                pooch.retrieve(file.url, known_hash, fname=file.name, path=folder, downloader=fetch)
    except (requests.RequestException, ValueError) as error:
        certificate = isinstance(error, requests.exceptions.SSLError)
        hint = f"; {file.advice}" if certificate and file.advice else ""
        # The message may quote headers, which can hold any bytes.
        raise DownloadError(f"Cannot download {file.url}: {one_line(_explain(error, file))}{hint}") from None
    except OSError as error:
        raise DownloadError(f"Cannot download into {show(folder)}: {error.strerror or error}") from None
    return target


def _fetch(url: str, path: str, _: object, *, size: int, progress: Progress | None) -> None:
    """Download `url` to `path`; unlike `pooch`, stop as soon as the size turns out not to be `size` bytes."""
    import requests

    out = Path(path)
    # `pooch` created the file without permissions for others; a new file has the usual ones.
    out.unlink()
    # A compressed response would have another length than the file.
    headers = {"User-Agent": "neural-style-tf", "Accept-Encoding": "identity"}
    with (
        requests.get(url, stream=True, timeout=(CONNECT, STALL), headers=headers) as answer,
        out.open("wb") as file,
    ):
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")[:20]
        if size and length and length != str(size):
            raise _StoppedError(
                f"the server has a file of {length} bytes, expected {size}"
                ": does this network ask for a login?"
            )
        done = 0
        for chunk in answer.iter_content(CHUNK):
            done += len(chunk)
            if size and done > size:
                raise _StoppedError(f"the server sends more than the {size} bytes of the file")
            file.write(chunk)
            if progress and size:
                progress(done, size)


def _explain(error: Exception, file: PublishedFile) -> str:
    """Return, for a message, why the download of `file` failed."""
    from requests import exceptions
    from urllib3.exceptions import MaxRetryError

    host = urlsplit(file.url).hostname
    # `pooch` raises a plain ValueError for a wrong hash.
    if not isinstance(error, exceptions.RequestException | _StoppedError) and "hash" in str(error):
        expected = f"SHA-256 {file.sha256}" if file.sha256 else f"MD5 {file.md5}"
        return f"a wrong or damaged file came, not the one of {expected}; it was deleted"
    no_proxy = (
        "the proxy in the environment cannot be used ({}): set HTTPS_PROXY and ALL_PROXY to "
        "http://HOST:PORT, or unset them"
    )
    no_network = f"no connection to {host}: no network?"
    if isinstance(error, exceptions.ConnectionError) and isinstance(error.args[0], MaxRetryError):
        no_connection = no_network
    else:
        no_connection = "the connection broke off; run again"
    # The first match counts: most classes are subclasses of later ones.
    reasons = (
        (_StoppedError, reason(error)),
        (exceptions.HTTPError, "the server answered " + str(error).partition(" for url:")[0]),
        (exceptions.SSLError, f"its certificate is refused ({reason(error)})"),
        (exceptions.ProxyError, no_proxy.format("it does not answer")),
        (exceptions.ConnectTimeout, no_network),
        (exceptions.Timeout, f"{host} does not answer"),
        ((exceptions.ConnectionError, exceptions.ChunkedEncodingError), no_connection),
        # An invalid URL: that of the proxy, since the URL of the file is valid.
        (ValueError, no_proxy.format(reason(error).rstrip("."))),
        (Exception, reason(error)),
    )
    return next(text for kind, text in reasons if isinstance(error, kind))


@contextlib.contextmanager
def _locked(target: Path, log: Log) -> Iterator[None]:
    """Hold the lock of `target`, so that only one process downloads it at a time."""
    lock = Lock(target.with_name(target.name + ".lock"))
    if not lock.acquire():
        log(f"Another process is downloading {target.name}; waiting for it")
        if not lock.acquire(WAIT):
            raise _StoppedError("another process has been downloading it for too long")
    try:
        yield
    finally:
        lock.release()
