"""The command that starts the page, and its mistakes."""

import os
import socket
import subprocess
import sys
import types

import pytest
from paths import ROOT

from neural_style_tf.app import __main__ as app
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError

pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """Return a function that starts all but the server: arguments → exit code, and what was said."""
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(app, "_serve_page", lambda *given: served.append(given))

    def run(*arguments):
        code = app.main([f"--weights_dir={ROOT / 'weights'}", "--weights=bundled", *arguments])
        return code, capsys.readouterr().err

    run.served = served
    return run


def test_it_serves_under_further_names(start, tmp_path):
    names = "--host=box.example,hub.example:8443", "--host=https://a.example/user/me/"
    assert start("--no_browser", "--network=vgg16", *names) == (0, "")
    [(base, hosts, token, arguments, _)] = start.served
    assert len(token) > 40 and token not in str(vars(arguments))
    assert base.output_dir == str(tmp_path / "output") and (tmp_path / "output").is_dir()
    assert (
        (base.weights, base.network) == ("bundled", "vgg16") and arguments.no_browser and not arguments.share
    )
    assert hosts == ["box.example", "hub.example:8443", "https://a.example/user/me/"]


NO_NAMES = ["", "*", "*.example", "https://", "a.example,", "a b", "0.0.0.0", "[::]", "["]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        *((f"--host={name}", "--host is a name") for name in NO_NAMES),
        ("--listen=box.example", "--listen must be an IPv4 address"),
        ("--listen=::", "--listen must be an IPv4 address"),
        ("--listen=192.0.2.1", "--listen: 192.0.2.1 is not an address of this machine"),
        ("--port=0", "--port must be from 1 to 65535, not 0"),
        ("--output_dir=file", "give another folder"),
        ("--weights=nowhere.npz", "nowhere.npz"),
        ("--network=vgg19", "--network=vgg19, but the bundled network is VGG-16"),
    ],
)
def test_mistakes_are_said_in_a_line(start, tmp_path, argument, message):
    (tmp_path / "file").write_text("")
    code, line = start(argument)
    assert code == 2 and message in line and len(line.splitlines()) == 1 and not start.served


@pytest.mark.parametrize("address", [app.HOST, "0.0.0.0"])
def test_a_port_in_use(start, address):
    with socket.socket() as taken:
        taken.bind((app.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = start(f"--port={port}", f"--listen={address}")
    assert code == 2 and f"--port: {port} is in use" in line and not start.served


LOCAL, SHARED = "http://127.0.0.1:7860/", "https://own.gradio.live"


@pytest.mark.parametrize(
    ("token", "shared", "opened"),
    [("", None, [LOCAL]), ("a-token-of-twenty-signs", None, []), ("a-token-of-twenty-signs", SHARED, [])],
)
def test_the_token_is_on_no_command_line_and_of_share_links_only_its_own_is_answered(
    monkeypatch, token, shared, opened
):
    from neural_style_tf.app import page

    options, shown = {}, []
    monkeypatch.setattr(page.webbrowser, "open", shown.append)
    blocks = types.SimpleNamespace(launch=lambda **named: options.update(named) or (None, LOCAL, shared))
    own = types.SimpleNamespace(blocks=blocks, _api=types.SimpleNamespace(routes=list))
    hosts = ["box.example:8443"]
    address = page.Page.launch(own, None, browser=True, share=bool(shared), hosts=hosts, token=token)
    assert address == (shared or LOCAL) + (f"?page_token={token}" if token else "") and shown == opened
    [guard] = options["app_kwargs"]["middleware"]
    assert guard.kwargs["names"] == {"box.example", *(["own.gradio.live"] if shared else [])}


@pytest.mark.parametrize(
    ("argument", "needed"),
    [("--no_browser", False), ("--host=box.example", True), ("--share", True), ("--listen=0.0.0.0", True)],
)
def test_who_comes_from_elsewhere_needs_a_token(start, monkeypatch, argument, needed):
    assert start(argument)[0] == 0
    monkeypatch.setenv(app.TOKEN, own := "A-token.of_mine~1")
    assert start(argument)[0] == 0
    made, given = (token for _, _, token, *_ in start.served)
    # The process that paints gets no copy.
    assert bool(made) == needed and given == own and app.TOKEN not in os.environ
    for wrong in ("short", "with a space in it all", "ümlauts-are-not-sent", "a=1&b=2&c=3&d=4&e=5"):
        monkeypatch.setenv(app.TOKEN, wrong)
        code, line = start(argument)
        assert code == 2 and "at least 16 letters" in line and wrong not in line


def test_without_gradio(start, monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    assert start() == (2, 'neural-style-tf: the page needs Gradio: pip install "neural-style-tf[app]"\n')


def test_a_proxy_is_not_asked_for_the_page():
    environment = {"http_proxy": "http://proxy.example", "no_proxy": "intranet.example"}
    assert app.prepare_environment(dict(environment), "/temporary", share=True) == {}
    # What paints downloads weights by it.
    assert app.prepare_environment(environment, "/temporary") == {"http_proxy": "http://proxy.example"}
    assert "http_proxy" not in environment
    assert environment["no_proxy"] == "intranet.example,127.0.0.1,localhost"
    assert environment["NO_PROXY"] == "127.0.0.1,localhost"
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "False"


@pytest.mark.parametrize(
    "proxy",
    [
        "ALL_PROXY=socks://127.0.0.1:1",
        "all_proxy=socks5://h:1",
        "HTTP_PROXY=ftp://x",
        "HTTPS_PROXY=http://a:b",
    ],
)
def test_a_proxy_of_any_kind_breaks_nothing(proxy, monkeypatch, tmp_path):
    import httpx

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(*proxy.split("="))
    with pytest.raises(UserError, match="--share: the proxy .* cannot be used: .*; set ALL_PROXY"):
        app._check_proxy()
    monkeypatch.setattr(os, "environ", environment := os.environ.copy())
    app.prepare_environment(environment, str(tmp_path))
    httpx.Client().close()


def test_help_does_not_wait_for_gradio():
    code = "import sys; from neural_style_tf.app.__main__ import make_parser\nmake_parser().format_help()\n"
    code += "sys.exit(bool({'gradio', 'starlette', 'tensorflow', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_what_the_page_has_no_control_for_is_named():
    from neural_style_tf.app.page import _not_taken_over

    assert _not_taken_over(Config(), Job(content="c.png", style="s.png", bits="16")) == []
    config = Config(style_scale=(1.0, 2.0, 1.0, 1.0), mask_weight=(2.0, 1.0, 1.0, 1.0))
    assert _not_taken_over(config, Job(style=tuple("abcd"), dpi=300)) == [
        "--dpi",
        "the styles after the first 3",
        "a --style_scale for each style",
        "the size of --mask_weight, of which only the ratios are kept",
    ]
