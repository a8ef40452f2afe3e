import os
import subprocess
import sys
import time

import pytest
from downloads import DATA, FAST, failed, names, published, respond
from paths import ROOT
from weight_files import file_answer, serving

from neural_style_tf.utils.lock import Lock
from neural_style_tf.weights.download import Limits, download


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def test_download(tmp_path):
    folder, seen = tmp_path / "deep" / "weights", []
    with serving(file_answer(DATA)) as (address, requests):
        path = download(published(address), folder, progress=lambda *at: seen.append(at), limits=FAST)
        assert path == folder / "net.h5"
        assert path.read_bytes() == DATA
        assert names(folder) == ["net.h5"]
        assert seen[-1] == (len(DATA), len(DATA))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert download(published(address), folder, limits=FAST) == path
        assert len(requests) == 1
    # Whoever may look into the folder may read it.
    assert path.stat().st_mode & 0o777 == 0o644


def test_interrupted_download_leaves_nothing_and_begins_again(tmp_path):
    def interrupt(done, total):
        if done >= 300_000:
            raise KeyboardInterrupt

    with serving(file_answer(DATA)) as (address, requests):
        with pytest.raises(KeyboardInterrupt):
            download(published(address), tmp_path, progress=interrupt, limits=FAST)
        assert names(tmp_path) == []
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
        assert len(requests) == 2
    assert names(tmp_path) == ["net.h5"]


def test_chunked_answer(tmp_path):
    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        respond(handler, Transfer_Encoding="chunked", Connection="close")
        for at in range(0, len(DATA), 50_000):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(DATA[at : at + 50_000]), DATA[at : at + 50_000]))
        handler.wfile.write(b"0\r\n\r\n")

    with serving(answer) as (address, _):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA


def test_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    with serving(file_answer(DATA)) as (address, requests):
        monkeypatch.setenv("http_proxy", address)
        file = published("http://weights.invalid")
        assert download(file, tmp_path, limits=FAST).read_bytes() == DATA
        assert requests[0]["Host"] == "weights.invalid"


# Two at once


def test_processes_at_once_fetch_once(tmp_path):
    folder = tmp_path / "weights"

    def answer(handler):
        respond(handler, DATA[:10_000], length=len(DATA))
        end = time.monotonic() + 15
        # Until the two that wait have said so.
        while len(list(tmp_path.glob("*.waits"))) < 2 and time.monotonic() < end:
            time.sleep(0.02)
            handler.wfile.write(b"")
        handler.wfile.write(DATA[10_000:])

    code = (
        "import os, sys; from pathlib import Path\n"
        "from neural_style_tf.weights.download import download\n"
        "from neural_style_tf.weights.registry import PublishedFile\n"
        "url, sha256, size, folder = sys.argv[1:]\n"
        "file = PublishedFile('', 'net.h5', sha256=sha256, size=int(size), url=url)\n"
        "note = Path(folder).with_name(f'{os.getpid()}.waits')\n"
        "download(file, Path(folder), log=note.write_text)\n"
    )
    with serving(answer) as (address, requests):
        file = published(address)
        command = [sys.executable, "-c", code, file.url, file.sha256, str(file.size), str(folder)]
        options = {"cwd": ROOT, "stderr": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **options) for _ in range(3)]
        errors = [process.communicate(timeout=30)[1] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], errors
        assert len(requests) == 1
    assert (folder / "net.h5").read_bytes() == DATA
    assert names(folder) == ["net.h5"]
    notes = [path.read_text() for path in tmp_path.glob("*.waits")]
    assert notes == ["Another process is downloading net.h5; waiting for it"] * 2


def test_waiting_for_another_process_has_an_end(tmp_path):
    lock, log = Lock(tmp_path / "net.h5.lock"), []
    assert lock.acquire()
    failed(
        published("http://127.0.0.1:9"), tmp_path, "another process", limits=Limits(lock=0.3), log=log.append
    )
    assert len(log) == 1
    lock.release()
    assert names(tmp_path) == []
