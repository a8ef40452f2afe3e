"""The page answers only to this machine."""

import asyncio

import pytest

pytest.importorskip("starlette", reason='comes with Gradio: pip install ".[app]"')
from neural_style_tf.app.guard import HOSTS, Guard


def ask(host, origin=None, path="/", kind="http"):
    """Return the status and the headers of the answer to a request."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode())] + ([] if origin is None else [(b"origin", origin.encode())])
    guard = Guard(application, {*HOSTS, "box.example"})
    asyncio.run(guard({"type": kind, "headers": headers, "path": path}, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "BOX.example"])
@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:7860", "https://box.example:8443"])
def test_known_names_are_answered(host, origin):
    # A proxy may pass on its own name as the host.
    status, headers = ask(host, origin)
    policy = headers[b"content-security-policy"]
    assert status == 200 and b"default-src 'self'" in policy and b"http" not in policy


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),
        ("evil.example:7860", "http://127.0.0.1:7860"),
        ("127.0.0.1.evil.example", None),
        ("127.0.0.1@evil.example", None),
        ("x.gradio.live", None),
        ("x.box.example", None),
        ("", None),
        ("[", None),
        ("127.0.0.1:7860", "http://evil.example"),
        ("127.0.0.1:7860", "null"),
        ("127.0.0.1:7860", "http://["),
        ("box.example", "https://evil.example"),
    ],
)
def test_others_are_refused(host, origin, kind):
    assert ask(host, origin, kind=kind)[0] == 403


def test_an_address_is_no_file():
    assert ask("localhost", path="/gradio_api/file=http://evil.example/x.png")[0] == 403
    assert ask("localhost", path="/gradio_api/proxy=https:/evil.example")[0] == 403
    assert ask("localhost", path="/gradio_api/file=/tmp/x.png")[0] == 200


def test_other_messages_pass():
    assert ask("evil.example", kind="lifespan")[0] == 200
