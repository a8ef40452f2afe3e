"""The page answers only to this machine, to names that it was told, and to who has its token."""

import asyncio

import pytest

pytest.importorskip("starlette", reason='comes with Gradio: pip install ".[app]"')
from neural_style_tf.app.guard import PARAMETER, STARTUP, Guard

TOKEN = "a-token-of-twenty-signs"


def ask(host="localhost", origin=None, path="/", kind="http", token="", **options):
    """Return the status and the headers of the answer to a request."""
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "method": "GET", "query_string": b"", "root_path": ""} | options
    headers = {"host": host} | ({} if origin is None else {"origin": origin}) | options.get("headers", {})
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    guard = Guard(application, {"box.example"}, token, "/page")
    asyncio.run(guard(scope, None, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860", "BOX.example"])
@pytest.mark.parametrize("origin", [None, "same", "https://box.example:8443"])
def test_known_names_are_answered(host, origin):
    # A proxy may pass on its own name as the host.
    status, headers = ask(host, f"http://{host.lower()}" if origin == "same" else origin)
    policy = headers["content-security-policy"]
    assert status == 200 and "default-src 'self'" in policy and "http" not in policy
    assert headers["cross-origin-resource-policy"] == "same-origin"


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
        # The page of another program on this machine.
        ("127.0.0.1:7860", "http://127.0.0.1:3000"),
        ("localhost:7860", "http://127.0.0.1:7860"),
        ("localhost:7860", "http://localhost"),
    ],
)
def test_others_are_refused(host, origin, kind):
    assert ask(host, origin, kind=kind)[0] == 403


def test_an_address_is_no_file():
    assert ask(path="/gradio_api/file=http://evil.example/x.png")[0] == 403
    assert ask(path="/gradio_api/proxy=https:/evil.example")[0] == 403
    assert ask(path="/gradio_api/file=/tmp/x.png")[0] == 200


def test_other_messages_pass():
    assert ask("evil.example", kind="lifespan")[0] == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN} "}, 200),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer ü"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"cookie": f"neural-style-tf-00000000={TOKEN}"}, 401),
        # The name that is passed on by a proxy proves nothing.
        ({"host": "127.0.0.1"}, 401),
        ({"host": "evil.example", "authorization": f"Bearer {TOKEN}"}, 403),
    ],
)
def test_the_token_is_needed(sent, status, kind):
    answer, headers = ask("box.example", token=TOKEN, kind=kind, headers=sent)
    assert answer == status and ("www-authenticate" in headers) == (status == 401)
    # Gradio waits for this one when it starts.
    assert ask(path=STARTUP, token=TOKEN)[0] == 200


def test_a_browser_gets_a_cookie_for_the_token():
    shown = {"query_string": f"{PARAMETER}={TOKEN}".encode()}
    status, headers = ask(token=TOKEN, **shown)
    cookie, *rules = headers["set-cookie"].split("; ")
    assert (
        status == 303
        and headers["location"] == "?"
        and {"HttpOnly", "Path=/page", "SameSite=lax"} <= {*rules}
    )
    assert ask(token=TOKEN, headers={"cookie": cookie})[0] == 200
    assert ask(token=TOKEN + "x", headers={"cookie": cookie})[0] == 401
    assert ask(token=TOKEN, method="POST", **shown)[0] == 401
    assert ask(token=TOKEN, query_string=f"{PARAMETER}=wrong".encode())[0] == 401
    # A link of another site does no more.
    assert ask(token=TOKEN, origin="http://evil.example", headers={"cookie": cookie})[0] == 403
