import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests
from downloads import DATA, FAST, failed, names, published, respond
from weight_files import file_answer, serving

from neural_style_tf.weights.download import Limits, download


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "proxy",
    [
        *("ALL_PROXY=socks://127.0.0.1:7890", "HTTP_PROXY=socks5://127.0.0.1:1", "HTTP_PROXY=ftp://a:b"),
        *("HTTP_PROXY=http://", "HTTP_PROXY=http://[::1", "HTTP_PROXY=http://127.0.0.1:1"),
    ],
)
def test_a_proxy_that_is_none(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv(*proxy.split("="))
    words = "the proxy in the environment cannot be used (", "set HTTPS_PROXY and ALL_PROXY to", "unset"
    failed(published("http://weights.invalid"), tmp_path, *words)
    assert names(tmp_path) == []


def test_missing_file(tmp_path):
    with serving(lambda handler: handler.send_error(404)) as (address, _):
        failed(published(address), tmp_path, f"{address}/net.h5", "404")
    assert names(tmp_path) == []


def test_wrong_hash_is_deleted(tmp_path):
    wrong = bytes(reversed(DATA))
    for changes, word in (({}, "SHA-256"), ({"sha256": ""}, "MD5")):
        with serving(file_answer(wrong)) as (address, _):
            file = published(address, **changes)
            failed(file, tmp_path, "wrong or damaged", word, file.sha256 or file.md5, "deleted")
        assert names(tmp_path) == []


def test_truncated(tmp_path):
    with serving(lambda handler: respond(handler, DATA[:1000], length=len(DATA))) as (address, requests):
        failed(published(address), tmp_path, "broke off", "run again")
        assert len(requests) == 1
    assert names(tmp_path) == []


def test_other_length_is_refused_at_once(tmp_path):
    with serving(file_answer(DATA[:-1])) as (address, _):
        failed(published(address), tmp_path, "a file of 599999 bytes, expected 600000")
    assert names(tmp_path) == []


def test_endless_body_is_stopped(tmp_path):
    sent = []

    def answer(handler):
        respond(handler)
        for _ in range(100_000):
            handler.wfile.write(DATA[:100_000])
            sent.append(1)

    with serving(answer) as (address, requests):
        failed(published(address), tmp_path, "more than the 600000 bytes")
        assert len(requests) == 1
    assert len(sent) < 1000
    assert names(tmp_path) == []


def test_redirects_without_end(tmp_path):
    def answer(handler):
        respond(handler, status=302, Location=handler.path)

    with serving(answer) as (address, requests):
        failed(published(address), tmp_path, "redirects without end")
        assert len(requests) < 40


def test_redirect_is_followed(tmp_path):
    def answer(handler):
        if handler.path == "/net.h5":
            respond(handler, status=302, Location="/real")
        else:
            file_answer(DATA)(handler)

    with serving(answer) as (address, _):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA


def test_web_page_instead_of_the_file(tmp_path):
    def answer(handler):
        respond(handler, b"<html>log in", length=12, Content_Type="text/html; charset=utf-8")

    with serving(answer) as (address, _):
        failed(published(address), tmp_path, "12 bytes", "login")
    assert names(tmp_path) == []


def test_silence_is_given_up(tmp_path):
    ended = threading.Event()

    def answer(handler):
        respond(handler, DATA[:5], length=len(DATA))
        ended.wait(10)

    with serving(answer) as (address, _):
        begin = time.perf_counter()
        failed(published(address), tmp_path, "broke off", limits=Limits(stall=0.4))
        assert time.perf_counter() - begin < 3
        ended.set()
    assert names(tmp_path) == []


def test_server_that_never_answers(tmp_path):
    ended = threading.Event()
    with serving(lambda handler: ended.wait(10)) as (address, _):
        begin = time.perf_counter()
        failed(published(address), tmp_path, "127.0.0.1", "answer", limits=Limits(stall=0.4))
        assert time.perf_counter() - begin < 3
        ended.set()


def test_no_network(tmp_path, monkeypatch):
    failed(published("http://127.0.0.1:9"), tmp_path, "no connection to 127.0.0.1", "no network?")

    def unknown(*arguments, **options):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failed(published("http://weights.invalid"), tmp_path, "no connection to weights.invalid", "no network?")
    assert Limits().connect <= 5
    assert names(tmp_path) == []


def test_answer_that_is_not_http(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: talk(server))
        thread.start()
        failed(published(f"http://127.0.0.1:{server.getsockname()[1]}"), tmp_path, "Cannot download")
        thread.join()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Length": "9" * 5000},
        {"Content_Length": "-5"},
        {"Content_Length": "1e9"},
        {"Content_Encoding": "gzip"},
        {"Content_Type": "text/html"},
        {"Transfer_Encoding": "chunked"},
        {"Location": "http://[", "status": 302},
        {"Location": "file:///etc/passwd", "status": 302},
        {"Location": "\x1b[31m", "status": 302},
        {"ETag": "a\r\n b\x1b[31m"},
        {"X": "y" * 70_000},
        {"status": 204},
        {"status": 999},
    ],
    ids=lambda headers: next(iter(headers)) + str(next(iter(headers.values())))[:12],
)
def test_headers_that_lie(tmp_path, headers):
    """Whatever they say, there is one line, no file, and a server that mends its ways can be asked again."""

    def answer(handler):
        respond(handler, DATA[:2000], **headers)

    with serving(answer) as (address, _):
        assert failed(published(address), tmp_path, "Cannot download").isprintable()
    with serving(file_answer(DATA)) as (address, _):
        assert download(published(address), tmp_path, limits=FAST).read_bytes() == DATA
    assert names(tmp_path) == ["net.h5"]


def talk(server):
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"\x1b[31mSSH-2.0\r\n\r\n")


def certified(folder):
    """A server context with a fresh certificate of its own for 127.0.0.1, and the certificate's path."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    )
    command = [
        *command.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_refused_certificate_says_what_to_do(tmp_path):
    context, _ = certified(tmp_path)
    with serving(file_answer(DATA), context=context) as (address, requests):
        assert address.startswith("https")
        failed(published(address), tmp_path / "w", "certificate is refused", "self", "; use another")
        assert requests == []


def test_trusted_certificate_is_accepted(tmp_path, monkeypatch):
    context, certificate = certified(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with serving(file_answer(DATA), context=context) as (address, _):
        assert download(published(address), tmp_path / "w", limits=FAST).read_bytes() == DATA


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    failed(published("http://127.0.0.1:9"), tmp_path / "file" / "weights", "Cannot download into", "weights")


def test_full_disk(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(requests, "get", full)
    failed(published("http://127.0.0.1:9"), tmp_path, "Cannot download into", "No space left")
    assert names(tmp_path) == []
