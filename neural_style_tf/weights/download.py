"""Download a published weight file: checked by its hash, and never seen half."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from neural_style_tf.errors import UserError, reason, show
from neural_style_tf.utils.lock import Lock
from neural_style_tf.weights.registry import PublishedFile
from neural_style_tf.weights.structure import printable

Progress = Callable[[int, int], None]
Log = Callable[[str], None]

CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a download may wait for what, in seconds.

    Attributes:
        connect: For a connection to an address of the server.
        stall: For the answer, and without a single byte.
        lock: For another process that downloads the same file.
    """

    connect: float = 5.0
    stall: float = 20.0
    lock: float = 3600.0


class DownloadError(UserError):
    """A download that failed, with the reason and what to do instead."""


def download(
    file: PublishedFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    log: Log | None = None,
    limits: Limits | None = None,
) -> Path:
    """Download a file into a folder.

    The file gets its name only when its hash is right; a download that fails or is interrupted leaves
    nothing.

    Args:
        file: What, from where, and its hash. The environment's proxies are used.
        folder: Where to; made if need be.
        progress: Called with the bytes that are there and the bytes expected.
        log: Called, with one line, when another process downloads the same file.
        limits: Time-outs.

    Returns:
        The path of the complete file; at once if it is there already.

    Raises:
        DownloadError: No network, a wrong file, or a folder that cannot be written.
    """
    import requests

    target, limits = folder / file.name, limits or Limits()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(target, limits, log):
            if not target.exists():
                _retrieve(file, folder, progress, limits)
    except (requests.RequestException, ValueError) as error:
        reason = printable(_explain(error, file))
        certificate = isinstance(error, requests.exceptions.SSLError)
        hint = f"; {file.advice}" if certificate and file.advice else ""
        raise DownloadError(f"Cannot download {file.url}: {reason}{hint}") from None
    except OSError as error:
        raise DownloadError(f"Cannot download into {show(folder)}: {error.strerror or error}") from None
    return target


def _retrieve(file: PublishedFile, folder: Path, progress: Progress | None, limits: Limits) -> None:
    import pooch
    import requests

    # It would print what `load_weights` has said.
    pooch.get_logger().setLevel("WARNING")
    known_hash = f"sha256:{file.sha256}" if file.sha256 else f"md5:{file.md5}"

    def fetch(url: str, path: str, _: object) -> None:
        # It is the user's alone; made anew it has the usual permissions.
        Path(path).unlink()
        try:
            _fetch(url, Path(path), file.size, progress, limits)
        except (requests.RequestException, _StoppedError):
            raise
        except ValueError as error:
            # The address is right. What `pooch` raises is about the hash.
            raise requests.exceptions.InvalidProxyURL(reason(error)) from None

    pooch.retrieve(file.url, known_hash, fname=file.name, path=folder, downloader=fetch)


def _fetch(url: str, path: Path, size: int, progress: Progress | None, limits: Limits) -> None:
    """Write the answer to a file; end early if it is of another size, which `pooch` itself does not."""
    import requests

    # Compressed, the length of the answer would not be that of the file.
    headers = {"User-Agent": "neural-style-tf", "Accept-Encoding": "identity"}
    timeout = limits.connect, limits.stall
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as answer, path.open("wb") as out:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")[:20]
        if length and length != str(size):
            raise _StoppedError(
                f"the server has a file of {length} bytes, expected {size}"
                ": does this network ask for a login?"
            )
        done = 0
        for chunk in answer.iter_content(CHUNK):
            done += len(chunk)
            if done > size:
                raise _StoppedError(f"the server sends more than the {size} bytes of the file")
            out.write(chunk)
            if progress:
                progress(done, size)


class _StoppedError(ValueError):
    """A download that this program ends; the message says why."""


def _explain(error: Exception, file: PublishedFile) -> str:
    """Return the reason of a failed download in words for a user."""
    from requests import exceptions
    from urllib3.exceptions import MaxRetryError

    host = urlsplit(file.url).hostname
    if isinstance(error, _StoppedError):
        return str(error)
    if isinstance(error, exceptions.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.TooManyRedirects):
        return "the server redirects without end"
    if isinstance(error, exceptions.SSLError):
        return f"its certificate is refused ({reason(error)})"
    if isinstance(error, exceptions.ProxyError | exceptions.InvalidURL | exceptions.InvalidSchema):
        why = "it does not answer" if isinstance(error, exceptions.ProxyError) else reason(error).rstrip(".")
        return (
            f"the proxy in the environment cannot be used ({why}): set HTTPS_PROXY and ALL_PROXY to "
            "http://HOST:PORT, or unset them"
        )
    if isinstance(error, exceptions.ConnectTimeout) or (
        isinstance(error, exceptions.ConnectionError) and isinstance(error.args[0], MaxRetryError)
    ):
        return f"no connection to {host}: no network?"
    if isinstance(error, exceptions.Timeout):
        return f"{host} does not answer"
    if isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
        return "the connection broke off; run again"
    if isinstance(error, exceptions.RequestException):
        return reason(error)
    expected = f"SHA-256 {file.sha256}" if file.sha256 else f"MD5 {file.md5}"
    return f"a wrong or damaged file came, not the one of {expected}; it was deleted"


@contextlib.contextmanager
def _locked(target: Path, limits: Limits, log: Log | None) -> Iterator[None]:
    """Keep other processes from downloading the same file meanwhile."""
    lock, end = Lock(target.with_name(target.name + ".lock")), time.monotonic() + limits.lock
    waited = False
    while not lock.acquire():
        if time.monotonic() > end:
            raise _StoppedError("another process has been downloading it for too long")
        if log and not waited:
            log(f"Another process is downloading {target.name}; waiting for it")
            waited = True
        time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()
