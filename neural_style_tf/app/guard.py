"""Protect the page: which requests are answered, and what a browser may load."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "::1")
REFUSAL = "this page answers only to http://127.0.0.1 and http://localhost; --host=NAME adds another name\n"
HEADERS = {
    # The browser loads nothing from other hosts, even if a library asks for it.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware that answers only requests whose `Host` and `Origin` are names of this page.

    A hostile site can point its own name to 127.0.0.1, which `Host` shows. Or it can make a visitor's browser
    send requests to 127.0.0.1, which `Origin` shows. Starlette's `TrustedHostMiddleware` checks only `Host`.
    It also copies its list of names, but `hosts` gets the name of a share link after the start.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = HOSTS) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the app, or refuse it with status 403."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        addresses = [headers.get("host", ""), *headers.getlist("origin")]
        # If a path holds a URL, Gradio would fetch this URL.
        if ":/" in scope["path"] or any(host_of(address) not in self._hosts for address in addresses):
            await PlainTextResponse(REFUSAL, 403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_policy)


def host_of(address: str) -> str:
    """Return the host, in lower case, of `host`, `host:port` or a URL; `""` if there is none."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""
