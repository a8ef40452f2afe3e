"""Download a published weight file: resumable, checked, and never seen half."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from neural_style_tf.errors import UserError, show
from neural_style_tf.weights.fetch import Fetch, FetchError, Limits
from neural_style_tf.weights.registry import PublishedFile, hash_file
from neural_style_tf.weights.structure import printable

try:
    import fcntl
except ImportError:
    fcntl = None

Progress = Callable[[int, int], None]
Log = Callable[[str], None]


class DownloadError(UserError):
    """A download that failed, with the reason and what to do instead."""


class _BrokenOffError(FetchError):
    """A connection that ended early; what came is kept."""


def download(
    file: PublishedFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    log: Log | None = None,
    limits: Limits | None = None,
) -> Path:
    """Download a file into a folder, or finish a download that was interrupted.

    The bytes go to `NAME.part`, which stays when the download breaks off or is interrupted, and becomes
    `NAME` only when its size and hash are right.

    Args:
        file: What, from where, and its hash.
        folder: Where to; made if need be.
        progress: Called with the bytes that are there and the bytes expected.
        log: Told, in one line, when another process downloads the same file.
        limits: Time-outs.

    Returns:
        The path of the complete file; at once if it is there already.

    Raises:
        DownloadError: No network, a wrong file, or a folder that cannot be written.
    """
    target = folder / file.name
    part = folder / f"{file.name}.part"
    limits = limits or Limits()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(part, limits, log):
            if not target.exists():
                _complete(part, file, progress, limits)
                _verify(part, file)
                os.replace(part, target)
                _validator(part).unlink(missing_ok=True)
            elif part.exists() and not part.stat().st_size:
                part.unlink()
    except FetchError as error:
        hint = f"; {file.advice}" if error.certificate and file.advice else ""
        raise DownloadError(f"Cannot download {file.url}: {printable(str(error))}{hint}") from None
    except OSError as error:
        raise DownloadError(f"Cannot download into {show(folder)}: {error.strerror or error}") from None
    return target


def _complete(part: Path, file: PublishedFile, progress: Progress | None, limits: Limits) -> None:
    for left in reversed(range(limits.attempts)):
        before = part.stat().st_size
        try:
            _continue(part, file, progress, limits)
            return
        except _BrokenOffError:
            # A server that breaks off without sending anything will do so again.
            if not left or part.stat().st_size <= before:
                raise
        finally:
            if not part.stat().st_size:
                part.unlink()


def _continue(part: Path, file: PublishedFile, progress: Progress | None, limits: Limits) -> None:
    have = part.stat().st_size
    if have == file.size:
        return
    if have > file.size:
        have = 0
    try:
        _fetch(part, file, have, progress, limits)
    except FetchError as error:
        # 416: the server has another file than the one this part is of.
        if error.status != 416 or not have:
            raise
        _fetch(part, file, 0, progress, limits)


def _fetch(part: Path, file: PublishedFile, have: int, progress: Progress | None, limits: Limits) -> None:
    headers = {"User-Agent": "neural-style-tf", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _validator(part).exists() and (tag := _plain(_validator(part).read_text(encoding="latin-1"))):
            headers["If-Range"] = tag
    with Fetch(file.url, headers, limits) as answer:
        start, total = _extent(answer)
        if "html" in (answer.headers.get("Content-Type") or "").lower():
            raise FetchError("a web page came instead of the file: does this network ask for a login?")
        if total is not None and total != file.size:
            raise FetchError(f"the server has a file of {total:,} bytes, expected {file.size:,}")
        if start not in (0, have):
            raise FetchError("the server sent another part of the file than was asked for")
        _remember(part, answer)
        with part.open("r+b") as out:
            out.seek(start)
            out.truncate()
            _save(answer, out, start, file.size, progress)
            out.flush()
            os.fsync(out.fileno())


def _save(answer: Fetch, out: BinaryIO, done: int, size: int, progress: Progress | None) -> None:
    chunks = answer.chunks()
    while True:
        try:
            chunk = next(chunks, b"")
        except FetchError as error:
            raise _BrokenOffError(f"{error}, after {done:,} of {size:,} bytes; run again to resume") from None
        if not chunk:
            break
        done += len(chunk)
        if done > size:
            out.truncate(0)
            raise FetchError(f"the server sends more than the {size:,} bytes of the file")
        out.write(chunk)
        if progress:
            progress(done, size)
    if done < size:
        raise _BrokenOffError(f"broke off after {done:,} of {size:,} bytes; run again to resume")


def _extent(answer: Fetch) -> tuple[int, int | None]:
    if answer.status == 206:
        match = re.fullmatch(
            r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)", answer.headers.get("Content-Range") or ""
        )
        if not match:
            raise FetchError("the server sent a part of the file without saying which")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    if answer.status != 200:
        raise FetchError(f"the server answered {answer.status}, not with a file")
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _validator(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _plain(tag: str) -> str:
    # What is no short line cannot be sent back.
    return tag if tag.isprintable() and len(tag) < 1000 else ""


def _remember(part: Path, answer: Fetch) -> None:
    tag = answer.headers.get("ETag") or ""
    if tag.startswith("W/") or not tag:
        # A weak tag may not be used to continue a file (RFC 9110, 13.1.5).
        tag = answer.headers.get("Last-Modified") or ""
    if tag := _plain(tag):
        _validator(part).write_text(tag, encoding="latin-1")
    else:
        _validator(part).unlink(missing_ok=True)


def _verify(part: Path, file: PublishedFile) -> None:
    hashes = hash_file(part)
    for name, expected, found in (("SHA-256", file.sha256, hashes.sha256), ("MD5", file.md5, hashes.md5)):
        if expected and found != expected:
            part.unlink()
            _validator(part).unlink(missing_ok=True)
            raise FetchError(
                f"a wrong or damaged file came ({name} {found}, expected {expected}); it was deleted"
            )


@contextlib.contextmanager
def _locked(part: Path, limits: Limits, log: Log | None) -> Iterator[None]:
    """Hold `part`, made if need be, against other processes."""
    end = time.monotonic() + limits.lock
    told = False
    while True:
        with part.open("ab") as file:
            if _lock(file.fileno()) and _same(part, file.fileno()):
                yield
                return
        if time.monotonic() > end:
            raise FetchError("another process has been downloading it for too long")
        if log and not told:
            log(f"Another process is downloading {part.name.removesuffix('.part')}; waiting for it")
            told = True
        time.sleep(0.2)


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: one process at a time is then the user's care.
        return True
    return True


def _same(part: Path, descriptor: int) -> bool:
    # While this process waited, another may have finished and renamed, or deleted, what it had opened.
    try:
        return os.path.samestat(part.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
