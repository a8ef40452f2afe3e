"""Make one HTTP request in which every wait has a time-out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

_CHUNK = 1 << 18
_CONNECTED, _END = object(), object()


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a download may take over what, in seconds.

    Attributes:
        connect: From the start until a connection stands: name, address, encryption.
        answer: From there to the server's answer.
        stall: Without a single byte.
        window: Over which the rate is judged.
        rate: Fewest bytes a second over a window.
        lock: To wait for another process that downloads the same file.
        attempts: How often a connection that broke off is resumed, in connections.
    """

    connect: float = 5.0
    answer: float = 30.0
    stall: float = 20.0
    window: float = 30.0
    rate: float = 16_000.0
    lock: float = 3600.0
    attempts: int = 4


class FetchError(Exception):
    """A request that failed; the message is the reason, in words for a user.

    Attributes:
        status: The server's answer if it gave one, else 0.
        certificate: Whether the server's certificate was refused.
    """

    def __init__(self, message: str, *, status: int = 0, certificate: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.certificate = certificate


class Fetch:
    """A GET request, run in a thread of its own.

    Looking up a name cannot be interrupted and has no time-out, and a server that sends one byte now and then
    keeps each read alive; so the thread waits for the network, and the caller waits for the thread, briefly.

    Attributes:
        status: 200 or 206.
        headers: The server's answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        """Send the request and wait for the answer.

        Args:
            url: Where to; http or https. The environment's proxies are used.
            headers: Request headers.
            limits: How long each part may take.

        Raises:
            FetchError: No network, no such server, a refused certificate, an answer other than 200 or 206.
        """
        self._url, self._limits = url, limits
        self._items: queue.Queue[Any] = queue.Queue(maxsize=16)
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, args=(dict(headers),), daemon=True)
        self._thread.start()
        try:
            self.status, self.headers = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Fetch:
        """Return the request itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connection."""
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body piece by piece until the server ends it.

        Raises:
            FetchError: The connection broke, stalled, or is too slow.
        """
        begin, received = time.monotonic(), 0
        while (chunk := self._next(self._limits.stall, "the server sent nothing more")) is not _END:
            received += len(chunk)
            yield chunk
            seconds = time.monotonic() - begin
            if seconds >= self._limits.window:
                if received < self._limits.rate * seconds:
                    raise FetchError(f"the server sends only {received / seconds:,.0f} bytes a second")
                begin, received = time.monotonic(), 0

    def close(self) -> None:
        """End the request; a thread that still waits for the network ends by itself."""
        self._stopped.set()
        if self._socket is not None:
            # Closing it would wait for the reading thread; shutting it down wakes that thread.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(1.0)

    def _answer(self) -> tuple[int, Message]:
        host = urlsplit(self._url).hostname
        item = self._next(self._limits.connect, f"no connection to {host}: no network?")
        while item is _CONNECTED:
            item = self._next(self._limits.answer, f"{host} does not answer")
        return item

    def _next(self, seconds: float, complaint: str) -> Any:
        try:
            item = self._items.get(timeout=seconds)
        except queue.Empty:
            raise FetchError(f"{complaint} ({seconds:g} s)") from None
        if isinstance(item, FetchError):
            raise item
        return item

    def _run(self, headers: dict[str, str]) -> None:
        try:
            request = urllib.request.Request(self._url, headers=headers)
            opener = urllib.request.build_opener(
                _HttpHandler(self._on_connect), _HttpsHandler(self._on_connect), _Redirects()
            )
            with opener.open(request, timeout=self._limits.stall) as response:
                self._put((response.status, response.headers))
                while chunk := response.read1(_CHUNK):
                    self._put(chunk)
            self._put(_END)
        except Exception as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            with contextlib.suppress(ConnectionAbortedError):
                self._put(_explain(error))

    def _put(self, item: object) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                return self._items.put(item, timeout=0.1)
        raise ConnectionAbortedError("nobody waits for this any more")

    def _on_connect(self, connection: http.client.HTTPConnection) -> None:
        self._socket = connection.sock
        self._put(_CONNECTED)


class _Reporting:
    """Tells when a connection stands; mixed into both kinds."""

    def __init__(self, *args: Any, on_connect: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._on_connect = on_connect

    def connect(self) -> None:
        super().connect()
        self._on_connect(self)


class _HttpConnection(_Reporting, http.client.HTTPConnection):
    pass


class _HttpsConnection(_Reporting, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, on_connect: Any) -> None:
        super().__init__()
        self._connection = functools.partial(_HttpConnection, on_connect=on_connect)

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, on_connect: Any) -> None:
        super().__init__()
        self._connection = functools.partial(_HttpsConnection, on_connect=on_connect)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, request, context=ssl.create_default_context())


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"the server redirects to an unencrypted address, {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _explain(error: Exception) -> FetchError:
    if isinstance(error, urllib.error.HTTPError):
        if 300 <= error.code < 400:
            return FetchError("the server redirects without end", status=error.code)
        return FetchError(f"the server answered {error.code} {error.reason}", status=error.code)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchError(f"its certificate is refused ({reason.verify_message})", certificate=True)
    if isinstance(reason, socket.gaierror):
        return FetchError("the name of the server is not known: no network?")
    if isinstance(reason, TimeoutError):
        return FetchError("the server stopped answering")
    return FetchError(str(reason) or type(reason).__name__)
