"""A published file that is offered on loopback, and what a failed download leaves."""

import hashlib

import numpy as np
import pytest

from neural_style_tf.weights.download import DownloadError, download
from neural_style_tf.weights.registry import PublishedFile

DATA = np.random.default_rng(0).bytes(600_000)


def published(address, data=DATA, **changes):
    values = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "advice": "use another"}
    return PublishedFile("the test's", "net.h5", url=f"{address}/net.h5", **values | changes)


def failed(file, folder, *words, **options):
    """The one-line message with which a download fails; it must contain the words, and leaves no file."""
    with pytest.raises(DownloadError) as caught:
        download(file, folder, **options)
    message = str(caught.value)
    assert message.isprintable()
    for word in words:
        assert word in message, message
    assert not folder.is_dir() or not list(folder.iterdir())
    return message


def respond(handler, body=b"", *, status=200, length=None, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body)
