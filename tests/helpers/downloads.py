"""A published file that is offered on loopback, and what a failed download leaves."""

import hashlib

import numpy as np
import pytest

from neural_style_tf.errors import UserError
from neural_style_tf.weights.download import DownloadError, Limits, download
from neural_style_tf.weights.registry import PublishedFile

DATA = np.random.default_rng(0).bytes(600_000)
FAST = Limits(connect=2, stall=0.5, lock=10)


def published(address, data=DATA, **changes):
    values = {
        "generation": "the test's",
        "name": "net.h5",
        "md5": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "url": f"{address}/net.h5",
        "advice": "use another",
    }
    return PublishedFile(**{**values, **changes})


def failed(file, folder, *words, limits=FAST, **options):
    with pytest.raises(DownloadError) as caught:
        download(file, folder, limits=limits, **options)
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    assert not (folder / file.name).exists()
    return message


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def respond(handler, body=b"", *, status=200, length=None, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()
    handler.wfile.write(body)
