"""The command that starts the page, and its mistakes."""

import os
import socket
import subprocess
import sys

import httpx
import pytest
from paths import ROOT

from neural_style_tf.app import __main__ as app
from neural_style_tf.errors import UserError


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """Return a function that starts all but the server: arguments → exit code, and what was said."""
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(app, "_serve", lambda place, port, **options: served.append((place, port, options)))
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: object())

    def run(*arguments):
        code = app.main([f"--weights_dir={ROOT / 'weights'}", "--weights=bundled", *arguments])
        return code, capsys.readouterr().err

    run.served = served
    return run


def test_it_serves(start, tmp_path):
    assert start("--port=0") == (2, "neural-style-tf: --port must be from 1 to 65535, not 0\n")
    assert start("--no_browser")[0] == 0
    [(place, port, options)] = start.served
    assert (
        place.output_dir == tmp_path / "output" and place.output_dir.is_dir() and place.weights == "bundled"
    )
    assert port >= app.FIRST_PORT and options["browser"] is False and options["share"] is False


def test_a_port_in_use(start):
    with socket.socket() as one:
        one.bind((app.HOST, 0))
        one.listen()
        port = one.getsockname()[1]
        code, said = start(f"--port={port}")
    assert code == 2 and f"--port: {port} is in use" in said and not start.served


def test_the_first_free_port_is_taken(start, monkeypatch):
    with socket.socket() as one:
        one.bind((app.HOST, 0))
        one.listen()
        monkeypatch.setattr(app, "FIRST_PORT", one.getsockname()[1])
        assert start()[0] == 0
        monkeypatch.setattr(app, "PORTS_TRIED", 1)
        assert "give one with --port" in start()[1]
    assert start.served[0][1] > app.FIRST_PORT


def test_further_names(start):
    assert start("--host=box.example,hub.example:8443", "--host=https://a.example/user/me/")[0] == 0
    [(*_, options)] = start.served
    assert options["hosts"] == ["box.example", "hub.example:8443", "https://a.example/user/me/"]


@pytest.mark.parametrize(
    "name", ["", "*", "*.example", "https://", "a.example,", "a b", "0.0.0.0", "[::]", "["]
)
def test_what_is_no_name(start, name):
    code, said = start(f"--host={name}")
    assert code == 2 and "--host is a name" in said and len(said.splitlines()) == 1 and not start.served


def test_a_folder_that_cannot_be_written(start, tmp_path):
    (tmp_path / "file").write_text("")
    code, said = start(f"--output_dir={tmp_path / 'file'}")
    assert code == 2 and "cannot write in" in said and "give another folder" in said


def test_weights_that_are_not_there(start):
    code, said = start("--weights=nowhere.npz")
    assert code == 2 and "nowhere.npz" in said and len(said.splitlines()) == 1


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
        "ALL_PROXY=socks://127.0.0.1:7890",
        "all_proxy=socks5://h:1",
        "HTTP_PROXY=ftp://x",
        "HTTPS_PROXY=http://a:b",
    ],
)
def test_a_proxy_of_any_kind_breaks_nothing(proxy, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(*proxy.split("="))
    with pytest.raises(
        UserError, match="--share: the proxy in the environment cannot be used: .*; set ALL_PROXY"
    ):
        app._check_proxy()
    monkeypatch.setattr(os, "environ", environment := os.environ.copy())
    app.prepare_environment(environment, str(tmp_path))
    httpx.Client().close()


@pytest.mark.parametrize("arguments", [["--help"], ["--port=x"], ["--nothing"]])
def test_help_and_mistakes_do_not_wait_for_gradio(arguments):
    code = "import sys; from neural_style_tf.app.__main__ import main\n"
    code += f"try:\n main({arguments!r})\nexcept SystemExit as end:\n code = end.code\n"
    code += "sys.exit(9 if {'gradio', 'tensorflow', 'numpy'} & sys.modules.keys() else code)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, cwd=ROOT, capture_output=True)
    assert done.returncode == (0 if arguments == ["--help"] else 2)
