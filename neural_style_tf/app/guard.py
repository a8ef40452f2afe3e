"""Keep the page to this machine: who may ask, and what a browser may load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

HOSTS = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere, whatever a library asks for."""

REFUSAL = "this page answers only to http://127.0.0.1 and http://localhost; --host=NAME adds another name"

Message = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


class Guard:
    """ASGI middleware that answers only browsers of this machine, and lets them load nothing from elsewhere.

    A page of another site can make a browser ask this server, under a name that it has pointed to 127.0.0.1;
    `Host` and `Origin` give it away.

    Args:
        app: What is guarded.
        hosts: Names that the page answers to; they may become more.
    """

    def __init__(self, app: Application, hosts: Collection[str] = HOSTS) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Message, receive: Callable, send: Callable) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        asked = [headers.get(b"host", "")] + ([] if origin is None else [origin])
        # Gradio would fetch an address that is asked for as a file.
        if any(host_of(one) not in self._hosts for one in asked) or ":/" in scope["path"]:
            await _refuse(scope, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                    (b"x-content-type-options", b"nosniff"),
                ]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await self._app(scope, receive, send_with_policy)


def host_of(address: str) -> str:
    """Return the host of `host`, `host:port` or a whole address in small letters; `""` if there is none."""
    try:
        return urlsplit(address if "//" in address else f"//{address}").hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Message, send: Callable) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = b"%s\n" % REFUSAL.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
