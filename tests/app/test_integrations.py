"""The examples of docs/integrations.md paint, with a token that is sent as the page says."""

import re
import shutil
import subprocess
import sys

import pytest
from command_line import environment, write_picture
from paths import ROOT

pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## HTTP\n")[1].split("\n## ")[0]
TOKEN = "a-token-of-twenty-signs"
WAYS = {
    "bash": ["bash", "-euo", "pipefail", "example.bash"],
    "python": [sys.executable, "example.py"],
    "js": ["node", "example.mjs"],
}
WITH_TOKEN = {
    "bash": ("curl ", f'curl -H "Authorization: Bearer {TOKEN}" '),
    "python": ('")\n', f'", headers={{"Authorization": "Bearer {TOKEN}"}})\n'),
    "js": ("+ path, options)", f'+ path, {{ ...options, headers: {{ Authorization: "Bearer {TOKEN}" }} }})'),
}
NEEDED = {"bash": "curl", "python": sys.executable, "js": "node"}


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    """Return the folder and the address of a server."""
    folder = tmp_path_factory.mktemp("server")
    return folder, serve(folder, "fast", f"token={TOKEN}")[1].partition("/?")[0].rstrip("/")


def example(language, address):
    [code] = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    before, after = WITH_TOKEN[language]
    assert before in code and "http://127.0.0.1:7860" in code
    return code.replace(before, after).replace("http://127.0.0.1:7860", address)


@pytest.mark.parametrize("language", WAYS)
def test_an_example_paints_a_picture(server, tmp_path, language):
    """A picture whose name has more than letters."""
    if not shutil.which(NEEDED[language]):
        pytest.skip(f"needs {NEEDED[language]}")
    folder, address = server
    code = example(language, address).replace("@painting.jpg", "'@Gemälde 1+2.jpg'")
    code = code.replace("painting.jpg", "Gemälde 1+2.jpg")
    write_picture(tmp_path / "photo.jpg")
    write_picture(tmp_path / "Gemälde 1+2.jpg", seed=1)
    (tmp_path / WAYS[language][-1]).write_text(code, encoding="utf-8")
    local = environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1", PYTHONPATH="")
    done = subprocess.run(
        WAYS[language], cwd=tmp_path, env=local, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = tmp_path / "result.png"
    if language == "python":
        result = tmp_path / done.stdout.splitlines()[-1]
    newest = max((folder / "out").glob("*/result.png"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.parent.name.startswith("photo-Gemälde_1+2")
    assert result.read_bytes() == newest.read_bytes()


@pytest.mark.parametrize("flags", [[], ["-euo", "pipefail"]])
def test_the_example_ends_after_a_refusal_and_shows_why(server, tmp_path, flags):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    code = example("bash", server[1])
    assert "image_size=512" in code
    for name in ("photo.jpg", "painting.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "example.bash").write_text(code.replace("image_size=512", "image_size=0"), encoding="utf-8")
    local = environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    done = subprocess.run(
        ["bash", *flags, "example.bash"], cwd=tmp_path, env=local, capture_output=True, text=True, timeout=20
    )
    assert done.returncode and "\nimage_size must be from 1 to 4096" in "\n" + done.stderr
    assert not (tmp_path / "result.png").exists()


def test_the_example_leaves_a_log_that_it_is_sent_to_as_it_is(server, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    write_picture(tmp_path / "photo.jpg")
    write_picture(tmp_path / "painting.jpg", seed=2)
    log = tmp_path / "log"
    with log.open("w") as stream:
        subprocess.run(
            ["bash", "-euc", "echo earlier >&2\n" + example("bash", server[1])],
            cwd=tmp_path,
            env=environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1"),
            stdout=subprocess.DEVNULL,
            stderr=stream,
            timeout=120,
            check=True,
        )
    said = log.read_text().splitlines()
    assert said[0] == "earlier" and said[1].startswith('{"name":')
