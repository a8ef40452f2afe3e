"""The server of the page against strange and hostile requests."""

import asyncio
import json
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import write_picture
from harness import wait_until
from page_clients import Client, paint_together
from PIL import Image

from neural_style_tf.app.queue import MOST_WAITING
from neural_style_tf.runs.manifest import Manifest

pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
PAINTER = "fake"


@pytest.fixture(scope="module")
def client(address):
    return Client(address)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "file:///etc/passwd",
        "/proc/self/environ",
        "http://127.0.0.1:1/x.png",
        "{folder}/cat.png",
        "{folder}/out/secret",
        "{folder}/out/../cat.png",
    ],
)
def test_nothing_of_the_disk_is_served(client, folder, path):
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out" / "secret").write_text("kept to itself")
    for route in ("file=", "file/", "proxy=", "stream/", "static/", "assets/", "component_server/"):
        answer = client.get(f"/gradio_api/{route}{path.format(folder=folder)}", allow_redirects=False)
        assert 400 <= answer.status_code < 500, route
        assert b"root:" not in answer.content and b"kept to itself" not in answer.content


def test_a_picture_of_the_server_cannot_be_named(client, folder):
    """A browser names a file that it did not send."""
    for path in (str(folder / "cat.png"), "/etc/passwd", "../cat.png"):
        assert not client.name_picture("Photo", path)[0]
    assert "no photo yet" in client.paint()


def test_an_address_is_not_fetched():
    """Gradio would download a file that a client names by a URL."""
    import gradio

    from neural_style_tf.app.page import _refuse_addresses

    async def usual(block_fn, inputs, *others):
        return inputs, others

    _refuse_addresses(blocks := SimpleNamespace(preprocess_data=usual))
    for path in ("http://127.0.0.1:1/x.png", "HTTPS://box.example/x.png", "x.png"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for inputs in ([file], [1, {"a": [None, file]}]):
            with pytest.raises(gradio.Error, match="must be an uploaded file"):
                asyncio.run(blocks.preprocess_data(None, inputs, "state", True))
    inputs = [{"path": "/tmp/x.png", "meta": {"_type": "gradio.FileData"}}, {"path": "no file"}, None]
    assert asyncio.run(blocks.preprocess_data(None, inputs, "state", True)) == (inputs, ("state", True))


@pytest.mark.parametrize(
    "name", ["../../x.png", "/etc/x.png", "-rf.png", "a" * 1000 + ".png", "猫\n.png", "a;b.html"]
)
def test_names_of_uploads_lead_nowhere(client, folder, name):
    before = sorted(folder.rglob("*"))
    there = client.upload(folder / "cat.png", name)
    if isinstance(there, str):
        assert ".." not in Path(there).parts and "page" not in Path(there).parent.name
    assert sorted(folder.rglob("*")) == before


def test_what_is_no_picture_is_said(client, folder):
    for name, content in (("broken.png", b"\x89PNG\r\n\x1a\nx"), ("page.svg", b"<svg/>"), ("empty.png", b"")):
        (folder / name).write_bytes(content)
        path, line, *_ = client.drop("Photo", folder / name)
        assert not path and name in line and 'role="alert"' in line and str(folder) not in line


@pytest.mark.parametrize(
    ("name", "mode", "form"),
    [
        ("IMG_1.HEIC", "RGB", "HEIF"),
        ("noending", "RGB", "AVIF"),
        ("grey.TIFF", "I;16", "TIFF"),
        ("wrong.txt", "P", "GIF"),
    ],
)
def test_every_picture_of_the_command_line_is_taken_and_shown(client, folder, name, mode, form):
    if form == "HEIF":
        pytest.importorskip(
            "pillow_heif", reason='needs pillow-heif: pip install ".[heic]"'
        ).register_heif_opener()
    Image.new(mode, (64, 48)).save(folder / name, form)
    _, line, file, preview, _ = client.drop("Photo", folder / name)
    assert not line and file == {"__type__": "update", "value": None, "visible": False}
    with Image.open(preview["value"]["path"]) as shown:
        assert shown.size == (64, 48) and shown.format == "JPEG" and preview["visible"]
    # What a browser takes does not depend on what it knows of the file.
    _, [_, zone] = client.event("upload", "Photo")
    assert client.components[zone]["props"].get("file_types") is None


def test_a_folder_that_the_system_cleans_away_is_made_anew(client, folder):
    for act in (client.arrive, lambda: client.drop("Photo", folder / "cat.png")):
        temporary = Path(client.upload(folder / "sea.png")).parents[1]
        shutil.rmtree(temporary)
        act()
    assert not client.drop("Style 1", folder / "sea.png")[1]
    shutil.rmtree(temporary)
    client.arrive()
    assert temporary.stat().st_mode & 0o777 == 0o700
    client.drop("Photo", folder / "cat.png")
    shutil.rmtree(temporary)
    assert "is gone: send it once more" in client.paint()


def test_why_a_painting_is_not_shown_is_said(client, folder):
    run = folder / "out" / "stuck"
    run.mkdir(parents=True)
    (run / "run.json").write_text(Manifest({}, {}, {}, status="finished").to_json())
    write_picture(run / "result.png")
    previews = Path(client.upload(folder / "sea.png")).parents[1] / "previews"
    shutil.rmtree(previews, ignore_errors=True)
    previews.write_text("in the way")
    status, picture, *_ = client.arrive()
    assert 'role="alert"' in str(status) and "previews" in str(status) and not picture.get("path")
    previews.unlink()
    status, picture, *_ = client.arrive()
    assert "alert" not in str(status) and Path(picture["path"]).exists()
    shutil.rmtree(run)


def test_an_upload_that_is_too_large_is_refused(client, folder):
    large = folder / "large.png"
    with large.open("wb") as file:
        file.truncate(101 * 2**20)
    assert client.upload(large).status_code == 413
    large.unlink()


def test_other_names_of_this_machine_are_refused(client):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        assert client.get("/", headers=headers).status_code == 403
        assert client.get("/config", headers=headers).status_code == 403
    answer = client.get("/")
    assert answer.ok and "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_many_browsers_at_once(address, folder):
    """One paints, some wait, the others are told so; none is left without an answer."""
    told = paint_together(address, MOST_WAITING + 4, folder / "cat.png", folder / "sea.png", Size=64)
    refused = [line for line in told if line]
    assert all(f"{MOST_WAITING} paintings are already waiting" in line for line in refused), refused
    assert len(told) - len(refused) >= MOST_WAITING
    # The same pictures are kept once.
    assert len(list((folder / "out" / "pictures").iterdir())) == 2
    client = Client(address)
    assert re.search("photo_.*(starting|waiting|step)", str(client.arrive()[0]))


@pytest.mark.faults
def test_a_server_that_is_killed_loses_nothing(serve, tmp_path, folder):
    run = tmp_path / "out" / "photo_0-sea" / "run.json"

    def wait_for(condition):
        wait_until(lambda: run.exists() and condition(json.loads(run.read_text())), 120)

    process, address = serve(tmp_path, "narrow")
    small = {"Preset": "original", "Size": 64, "Iterations": 100_000}
    assert paint_together(address, 1, folder / "cat.png", folder / "sea.png", **small) == [""]
    wait_for(lambda facts: (run.parent / "checkpoints").exists())
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda facts: facts["status"] == "interrupted")
    _, address = serve(tmp_path, "narrow")
    client = Client(address)
    # Whoever arrives sees it, and can go on.
    assert re.search("photo_0-sea.*stopped, and saved", str(client.arrive()[0]))
    before = json.loads(run.read_text())["steps"]
    client.send(client.event("click", "further"))
    # Before its first step a run that is stopped has nothing to save.
    wait_for(lambda facts: re.search(r"step \d+ of", str(client.arrive()[0])))
    client.send(client.event("click", "stop"))
    wait_for(lambda facts: facts["status"] == "interrupted" and facts["steps"] >= before)
