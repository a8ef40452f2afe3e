"""Keep the page to this machine: who may ask, and what a browser may load."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "::1")
REFUSAL = "this page answers only to http://127.0.0.1 and http://localhost; --host=NAME adds another name\n"
HEADERS = {
    # Nothing is loaded from elsewhere, whatever a library asks for.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware that answers only requests whose `Host` and `Origin` are names of this page.

    Another site can point a name of its own to 127.0.0.1 (`Host` shows that), or send a visitor's browser to
    127.0.0.1 itself (`Origin` shows that). Starlette's `TrustedHostMiddleware` reads `Host` alone, and copies
    its list of names; to `hosts` the name of a share link is added after the start.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = HOSTS) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        addresses = [headers.get("host", ""), *headers.getlist("origin")]
        # Gradio would fetch an address in place of a file.
        if ":/" in scope["path"] or any(host_of(address) not in self._hosts for address in addresses):
            await PlainTextResponse(REFUSAL, 403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_policy)


def host_of(address: str) -> str:
    """Return the host of `host`, `host:port` or a whole address in small letters; `""` if there is none."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""
