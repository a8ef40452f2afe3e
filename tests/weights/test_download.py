import os
import subprocess
import sys
import time

import pytest
from downloads import DATA, FAST, failed, names, published, respond
from paths import ROOT
from weight_files import file_answer, serving

from neural_style_tf.weights import download as module
from neural_style_tf.weights.download import download
from neural_style_tf.weights.fetch import Limits


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
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
        assert "Range" not in requests[0]
        assert download(published(address), folder, limits=FAST) == path
        assert len(requests) == 1
    assert path.stat().st_mode & 0o444


@pytest.mark.parametrize("etag", ['"v1"', "", 'W/"weak"'])
def test_interrupted_download_is_resumed(tmp_path, etag):
    def interrupt(done, total):
        if done >= 300_000:
            raise KeyboardInterrupt

    with serving(file_answer(DATA, etag=etag)) as (address, requests):
        with pytest.raises(KeyboardInterrupt):
            download(published(address), tmp_path, progress=interrupt, limits=FAST)
        have = (tmp_path / "net.h5.part").stat().st_size
        assert 300_000 <= have < len(DATA)
        seen = []
        download(published(address), tmp_path, progress=lambda *at: seen.append(at), limits=FAST)
        assert (tmp_path / "net.h5").read_bytes() == DATA
        assert names(tmp_path) == ["net.h5"]
        assert seen[0][0] > have
        assert requests[1]["Range"] == f"bytes={have}-"
        assert requests[1].get("If-Range") == (etag if etag == '"v1"' else None)


def test_file_that_changed_on_the_server_starts_anew(tmp_path):
    (tmp_path / "net.h5.part").write_bytes(b"\0" * 1000)
    (tmp_path / "net.h5.part.etag").write_text('"old"')
    with serving(file_answer(DATA)) as (address, requests):
        path = download(published(address), tmp_path, limits=FAST)
        assert path.read_bytes() == DATA
        assert requests[0]["If-Range"] == '"old"'
        assert len(requests) == 1


def test_server_without_ranges_starts_anew(tmp_path):
    (tmp_path / "net.h5.part").write_bytes(b"\0" * 1000)
    with serving(file_answer(DATA, ranges=False)) as (address, requests):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
        assert requests[0]["Range"] == "bytes=1000-"


def test_connection_that_breaks_off_is_resumed_at_once(tmp_path):
    with serving(file_answer(DATA, cut=250_000)) as (address, requests):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
        assert [request.get("Range") for request in requests] == [None, "bytes=250000-", "bytes=500000-"]


def test_complete_part_needs_no_network(tmp_path):
    (tmp_path / "net.h5.part").write_bytes(DATA)
    assert download(published("http://127.0.0.1:9"), tmp_path, limits=FAST).read_bytes() == DATA
    assert names(tmp_path) == ["net.h5"]


def test_part_that_is_too_long_starts_anew(tmp_path):
    (tmp_path / "net.h5.part").write_bytes(DATA + b"x")
    with serving(file_answer(DATA)) as (address, requests):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
        assert "Range" not in requests[0]


def test_range_the_server_cannot_satisfy_starts_anew(tmp_path):
    (tmp_path / "net.h5.part").write_bytes(DATA[:1000])

    def answer(handler):
        if "Range" in handler.headers:
            handler.send_error(416)
        else:
            file_answer(DATA)(handler)

    with serving(answer) as (address, requests):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
        assert len(requests) == 2


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
    limits = Limits(lock=0.3)
    part, log = tmp_path / "net.h5.part", []
    with module._locked(part, limits, None):
        failed(published("http://127.0.0.1:9"), tmp_path, "another process", limits=limits, log=log.append)
    assert len(log) == 1


def test_lock_on_a_file_that_was_renamed_meanwhile_is_worth_nothing(tmp_path, monkeypatch):
    part, real = tmp_path / "net.h5.part", module._lock

    def other_process_finishes_first(descriptor):
        monkeypatch.setattr(module, "_lock", real)
        part.rename(tmp_path / "net.h5")
        return True

    monkeypatch.setattr(module, "_lock", other_process_finishes_first)
    with module._locked(part, FAST, None):
        assert part.exists()
        assert not part.samefile(tmp_path / "net.h5")
