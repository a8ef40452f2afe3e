"""The examples of docs/integrations.md run as they are printed there; with a token, too."""

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
def servers(serve, tmp_path_factory):
    """Return the folder and the address of a server without a token, and of one with it."""
    places = []
    for options in ([], [f"token={TOKEN}"]):
        folder = tmp_path_factory.mktemp("server")
        places.append((folder, serve(folder, "fast", *options)[1]))
    return places


def example(language):
    [code] = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return code


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("language", WAYS)
def test_an_example_paints_a_picture(servers, tmp_path, language, token):
    """With a token, as the page says that it is sent, and then with a name that has more than letters."""
    if not shutil.which(NEEDED[language]):
        pytest.skip(f"needs {NEEDED[language]}")
    server, address = servers[token]
    code = example(language)
    if token:
        before, after = WITH_TOKEN[language]
        assert before in code
        code = code.replace(before, after).replace("@painting.jpg", "'@Gemälde 1+2.jpg'")
        code = code.replace("painting.jpg", "Gemälde 1+2.jpg")
    assert "http://127.0.0.1:7860" in code
    code = code.replace("http://127.0.0.1:7860", address.partition("/?")[0].rstrip("/"))
    write_picture(tmp_path / "photo.jpg")
    write_picture(tmp_path / ("Gemälde 1+2.jpg" if token else "painting.jpg"), seed=1)
    (tmp_path / WAYS[language][-1]).write_text(code, encoding="utf-8")
    local = environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1", PYTHONPATH="")
    done = subprocess.run(
        WAYS[language], cwd=tmp_path, env=local, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = tmp_path / "result.png"
    if language == "python":
        result = tmp_path / done.stdout.splitlines()[-1]
    newest = max((server / "out").glob("*/result.png"), key=lambda path: path.stat().st_mtime_ns)
    assert newest.parent.name.startswith("photo-Gemälde_1+2" if token else "photo-painting")
    assert result.read_bytes() == newest.read_bytes()
    if token:
        refused = subprocess.run(
            ["curl", "-sS", "-F", "content=@photo.jpg", f"{address.partition('?')[0]}api/paint"],
            cwd=tmp_path,
            env=local,
            capture_output=True,
            text=True,
        )
        assert "needs its token" in refused.stdout


@pytest.mark.parametrize("flags", [[], ["-euo", "pipefail"]])
def test_the_example_ends_after_a_refusal_and_shows_why(servers, tmp_path, flags):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    code = example("bash").replace("http://127.0.0.1:7860", servers[0][1].rstrip("/"))
    assert "image_size=512" in code
    for name in ("photo.jpg", "painting.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "example.bash").write_text(code.replace("image_size=512", "image_size=0"), encoding="utf-8")
    local = environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    done = subprocess.run(
        ["bash", *flags, "example.bash"], cwd=tmp_path, env=local, capture_output=True, text=True, timeout=20
    )
    assert done.returncode and "--image_size must be from 1 to 4096" in done.stderr
    assert not (tmp_path / "result.png").exists()
