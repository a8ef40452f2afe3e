"""The page answers only to this machine."""

import asyncio

import pytest

from neural_style_tf.app.guard import HOSTS, Guard


def ask(host, origin=None, path="/", *, hosts=HOSTS, kind="http"):
    """Return what the guard sends for a request."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode())] + ([] if origin is None else [(b"origin", origin.encode())])
    scope = {"type": kind, "headers": headers, "path": path}
    asyncio.run(Guard(application, hosts)(scope, None, send))
    return sent


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:7860", "http://localhost:1"])
def test_this_machine_is_answered(host, origin):
    start, body = ask(host, origin)
    assert start["status"] == 200 and body["body"] == b"page"
    policy = dict(start["headers"])[b"content-security-policy"]
    assert b"default-src 'self'" in policy and b"http" not in policy


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", None),
        ("evil.example:7860", "http://127.0.0.1:7860"),
        ("127.0.0.1.evil.example", None),
        ("x.gradio.live", None),
        ("", None),
        ("[", None),
        ("127.0.0.1:7860", "http://evil.example"),
        ("127.0.0.1:7860", "null"),
        ("127.0.0.1:7860", "http://["),
        ("127.0.0.1@evil.example", None),
    ],
)
def test_others_are_refused(host, origin):
    assert ask(host, origin)[0]["status"] == 403
    assert ask(host, origin, kind="websocket") == [{"type": "websocket.close", "code": 1008}]


def test_an_address_is_no_file():
    assert ask("localhost", path="/gradio_api/file=http://evil.example/x.png")[0]["status"] == 403
    assert ask("localhost", path="/gradio_api/proxy=https:/evil.example")[0]["status"] == 403
    assert ask("localhost", path="/gradio_api/file=/tmp/x.png")[0]["status"] == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("box.example", "https://box.example", 200),
        ("BOX.example:8443", "https://box.example:8443", 200),
        # As of a proxy that passes on what it was not asked for.
        ("localhost:7860", "https://box.example", 200),
        ("evil.example", "https://box.example", 403),
        ("box.example", "https://evil.example", 403),
        ("x.box.example", None, 403),
        ("box.example.evil.example", None, 403),
        ("box.example@evil.example", None, 403),
    ],
)
def test_a_further_name_is_answered_and_no_other(host, origin, status):
    assert ask(host, origin, hosts={*HOSTS, "box.example"})[0]["status"] == status


def test_other_messages_pass():
    assert ask("evil.example", kind="lifespan")[0]["status"] == 200
