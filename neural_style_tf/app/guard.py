"""Protect the page: which requests are answered, and what a browser may load."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "::1")
REFUSAL = "this page answers only to http://127.0.0.1 and http://localhost; --host=NAME adds another name\n"
NO_TOKEN = (
    "this page needs its token: open the address with ?page_token=… that the command printed; a program "
    "sends the header Authorization: Bearer TOKEN\n"
)
PARAMETER = "page_token"
"""Name of the token in the address that a browser opens first; `token` may be that of a hub in front."""
STARTUP = "/gradio_api/startup-events"
"""Path that Gradio asks its own server for, once; later requests for it do nothing."""
HEADERS = {
    # The browser loads nothing from other hosts, even if a library asks for it.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    # No other site shows a painting; a link to one works.
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware that answers only requests that belong to this page.

    - `Host` is this machine, or one of `names`. A hostile site can point its own name to 127.0.0.1.
    - `Origin`, which browsers send, is `Host` or one of `names`. Another site, or another program's page on
      this machine, can make a visitor's browser send requests to 127.0.0.1. Programs such as curl send none.
    - With a `token`, the request has it: as `Authorization: Bearer TOKEN`, or as the cookie that a browser
      gets when it opens the page with `?page_token=TOKEN`.

    Starlette's `TrustedHostMiddleware` checks only `Host`. It also copies its list of names, but `names` gets
    the name of a share link after the start.
    `path` is that of the page for browsers, to which the cookie belongs.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), token: str = "", path: str = "/") -> None:
        self._app, self._names, self._token, self._path = app, names, token, path
        # Cookies belong to a host with all its ports, and so to several pages.
        self._cookie = f"neural-style-tf-{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the app, or refuse it with status 401 or 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refuse(request) or self._app
        await answer(scope, receive, send_with_policy)

    def _refuse(self, request: HTTPConnection) -> Response | None:
        """Return the answer to a request that is not passed on; None if it is."""
        host = request.headers.get("host", "")
        is_own = host_of(host) in HOSTS or host_of(host) in self._names
        # A proxy may pass on its own name as the host.
        same_origin = all(
            host_of(origin) in self._names or _split(origin).netloc.lower() == host.lower()
            for origin in request.headers.getlist("origin")
        )
        # If a path holds a URL, Gradio would fetch this URL.
        if not (is_own and same_origin) or ":/" in request.scope["path"]:
            return PlainTextResponse(REFUSAL, 403)
        if not self._token or self._is_let_in(request):
            return None
        shown = request.query_params.get(PARAMETER, "") if request.scope.get("method") == "GET" else ""
        if not _same(shown, self._token):
            return PlainTextResponse(NO_TOKEN, 401, {"www-authenticate": "Bearer"})
        # Without the token, which would stay in the browser's history.
        answer = RedirectResponse("?", 303)
        answer.set_cookie(self._cookie, self._token, path=self._path, httponly=True, samesite="lax")
        return answer

    def _is_let_in(self, request: HTTPConnection) -> bool:
        """Return whether a request has the token, or is Gradio's own, which needs none."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.cookies.get(self._cookie, "")
        return request.scope["path"] == STARTUP or _same(given, self._token)


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def host_of(address: str) -> str:
    """Return the host, in lower case, of `host`, `host:port` or a URL; `""` if there is none."""
    return _split(address if "//" in address else f"//{address}").hostname or ""


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
