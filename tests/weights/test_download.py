"""Downloads: complete and checked, or nothing and one line."""

import concurrent.futures
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests
from downloads import DATA, failed, published, respond
from weight_files import file_answer, serving

from neural_style_tf.utils.files import Lock
from neural_style_tf.weights import download as module
from neural_style_tf.weights.download import download


def test_download(tmp_path):
    folder, seen = tmp_path / "deep" / "weights", []
    with serving(file_answer(DATA)) as (address, requests):
        path = download(published(address), folder, progress=lambda *at: seen.append(at))
        assert path == folder / "net.h5" and path.read_bytes() == DATA
        assert seen[-1] == (len(DATA), len(DATA))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert download(published(address), folder) == path
        assert len(requests) == 1
    assert [path.name for path in folder.iterdir()] == ["net.h5"]
    # Whoever may look into the folder may read it.
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_interrupted_download_leaves_nothing_and_begins_again(tmp_path):
    def interrupt(done, total):
        if done >= 300_000:
            raise KeyboardInterrupt

    with serving(file_answer(DATA)) as (address, requests):
        with pytest.raises(KeyboardInterrupt):
            download(published(address), tmp_path, progress=interrupt)
        assert not list(tmp_path.iterdir())
        assert download(published(address), tmp_path).read_bytes() == DATA
        assert len(requests) == 2


def test_a_file_of_unknown_size_in_chunks_from_another_address(tmp_path):
    def answer(handler):
        if handler.path == "/net.h5":
            respond(handler, status=302, Location="/real")
            return
        handler.protocol_version = "HTTP/1.1"
        respond(handler, Transfer_Encoding="chunked", Connection="close")
        for at in range(0, len(DATA), 50_000):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(DATA[at : at + 50_000]), DATA[at : at + 50_000]))
        handler.wfile.write(b"0\r\n\r\n")

    with serving(answer) as (address, _):
        assert download(published(address, size=0), tmp_path).read_bytes() == DATA


def test_the_proxy_of_the_environment_is_used(tmp_path, monkeypatch):
    with serving(file_answer(DATA)) as (address, requests):
        monkeypatch.setenv("http_proxy", address)
        assert download(published("http://weights.invalid"), tmp_path).read_bytes() == DATA
        assert requests[0]["Host"] == "weights.invalid"


def test_two_at_once_download_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALL", 15)
    waits = threading.Event()

    def answer(handler):
        respond(handler, DATA[:10_000], length=len(DATA))
        waits.wait(15)
        handler.wfile.write(DATA[10_000:])

    lines = []

    def log(line):
        lines.append(line.split(maxsplit=1)[0])
        if lines[-1] == "Another":
            waits.set()

    with serving(answer) as (address, requests), concurrent.futures.ThreadPoolExecutor() as pool:
        tasks = [pool.submit(download, published(address), tmp_path, log=log) for _ in range(2)]
        assert [task.result().read_bytes() for task in tasks] == [DATA, DATA]
        assert len(requests) == 1
    assert lines == ["Downloading", "Another"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.h5"]


def test_waiting_for_another_process_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT", 0.3)
    lock = Lock(tmp_path / "net.h5.lock")
    assert lock.acquire()
    with pytest.raises(module.DownloadError, match="another process"):
        download(published("http://127.0.0.1:9"), tmp_path)
    lock.release()


# What goes wrong


def talk(handler):
    handler.wfile.write(b"\x1b[31mSSH-2.0\r\n\r\n")


def endless(handler):
    respond(handler)
    for _ in range(1000):
        handler.wfile.write(DATA[:100_000])


def slow(handler, begin=DATA[:5]):
    if begin:
        respond(handler, begin, length=len(DATA))
    time.sleep(0.6)


ANSWERS = {
    "missing": (lambda handler: handler.send_error(404), ["the server answered 404"]),
    "wrong content": (file_answer(bytes(len(DATA))), ["wrong or damaged", "SHA-256", "deleted"]),
    "truncated": (lambda h: respond(h, DATA[:1000], length=len(DATA)), ["broke off", "run again"]),
    "another length": (file_answer(DATA[:-1]), ["a file of 599999 bytes, expected 600000"]),
    "a web page": (lambda h: respond(h, b"<html>log in", length=12), ["12 bytes", "login"]),
    "endless": (endless, ["more than the 600000 bytes"]),
    "redirects": (lambda h: respond(h, status=302, Location=h.path), ["30 redirects"]),
    "silence": (slow, ["broke off"]),
    "no answer": (lambda handler: slow(handler, b""), ["127.0.0.1 does not answer"]),
    "not HTTP": (talk, []),
    "a redirect to a file": (lambda h: respond(h, status=302, Location="file:///etc/passwd"), []),
    "escapes": (lambda h: respond(h, status=302, Location="\x1b[31m"), []),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_one_line_and_leaves_nothing(tmp_path, case):
    answer, words = ANSWERS[case]
    with serving(answer) as (address, requests):
        failed(published(address), tmp_path, f"Cannot download {address}/net.h5: ", *words)
        assert len(requests) < 40


def test_a_wrong_file_of_known_md5(tmp_path):
    with serving(file_answer(bytes(len(DATA)))) as (address, _):
        failed(published(address, sha256="", md5="ab" * 16), tmp_path, "wrong or damaged", f"MD5 {'ab' * 16}")


@pytest.mark.parametrize(
    "proxy",
    ["ALL_PROXY=socks://127.0.0.1:7890", "HTTP_PROXY=http://[::1", "HTTP_PROXY=http://127.0.0.1:1"],
)
def test_a_proxy_that_is_none(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv(*proxy.split("="))
    words = "the proxy in the environment cannot be used (", "set HTTPS_PROXY and ALL_PROXY to", "unset"
    failed(published("http://weights.invalid"), tmp_path, *words)


def test_no_network(tmp_path, monkeypatch):
    failed(published("http://127.0.0.1:9"), tmp_path, "no connection to 127.0.0.1", "no network?")

    def unknown(*arguments, **options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failed(published("http://weights.invalid"), tmp_path, "no connection to weights.invalid", "no network?")


def test_a_certificate_is_checked(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *curve, *name, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(file_answer(DATA), context=context) as (address, requests):
        failed(published(address), tmp_path / "w", "certificate is refused", "self", "; use another")
        assert requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert download(published(address), tmp_path / "w").read_bytes() == DATA


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    failed(published("http://127.0.0.1:9"), tmp_path / "file" / "weights", "Cannot download into", "weights")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(requests, "get", full)
    failed(published("http://127.0.0.1:9"), tmp_path, "Cannot download into", "No space left")
