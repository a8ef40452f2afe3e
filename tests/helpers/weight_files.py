"""Writes small weight files in every format, and serves bytes over loopback, for the weights tests."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import threading

import h5py
import numpy as np
import pytest
import scipy.io

from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.weights import read, registry


def network(architecture=VGG19, seed=0):
    """Random kernels and biases by name, RGB, of an eighth of the network's width."""
    rng = np.random.default_rng(seed)
    kernels, biases, inputs = {}, {}, 3
    for name, width in architecture.channels:
        scale = np.float32(np.sqrt(2 / (9 * inputs)))
        kernels[name] = rng.standard_normal((3, 3, inputs, width // 8), dtype=np.float32) * scale
        biases[name] = rng.standard_normal(width // 8, dtype=np.float32)
        inputs = width // 8
    return kernels, biases


def cell(items):
    out = np.empty((1, len(items)), object)
    for i, item in enumerate(items):
        out[0, i] = item
    return out


def _conv(layout, name, kernel, bias):
    """The fields of MatConvNet's layer, in the order of a generation."""
    if layout == "filters":
        return {"filters": kernel, "biases": bias.reshape(1, -1), "type": "conv", "name": name}
    if layout == "old":
        weights = cell([kernel, bias.reshape(1, -1)])
        return {"weights": weights, "pad": [[1.0] * 4], "type": "conv", "name": name}
    weights = cell([kernel, bias.reshape(-1, 1)])
    return {"name": name, "type": "conv", "weights": weights, "opts": np.empty((1, 0), object)}


def write_mat(path, kernels, biases, layout="new", compress=False):
    """A MatConvNet file with all kinds of layers: layout `new`, `old` or `filters`."""
    layers = []
    for name in kernels:
        if name.endswith("_1") and layers:
            layers.append({"method": "max", "type": "pool", "name": f"pool{int(name[4]) - 1}"})
        layers.append(_conv(layout, name, kernels[name], biases[name]))
        layers.append({"type": "relu", "name": f"relu{name[4:]}", "weights": np.empty((0, 0), object)})
    layers.append(_conv(layout, "fc6", np.ones((7, 7, 4, 4), np.float32), np.ones(4, np.float32)))
    layers.append({"type": "softmax", "name": "prob"})
    meta = {"normalization": {"averageImage": np.full((1, 1, 3), 120.0)}, "classes": "tench"}
    scipy.io.savemat(path, {"layers": cell(layers), "meta": meta}, do_compression=compress)
    return path


def write_h5(path, kernels, biases, form="notop"):
    """A Keras file: `notop` (W_1:0), `nested`, `model` (a whole model) or `keras3`."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if form == "model" else file
        for number, name in enumerate(kernels):
            keras = f"block{name[4]}_conv{name[6]}"
            kernel = kernels[name][:, :, ::-1] if name == "conv1_1" else kernels[name]
            if form == "keras3":
                group = file.create_group(f"layers/conv2d_{number}/vars")
                group.attrs["name"] = keras
                keys = ("0", "1")
            else:
                group = root.create_group(keras)
                nested = f"{keras}/kernel:0", f"{keras}/bias:0"
                keys = (f"{keras}_W_1:0", f"{keras}_b_1:0") if form == "notop" else nested
            # Bias first and kernel last, in name and in order: only the shape tells which is which.
            group[keys[1]] = biases[name]
            group[keys[0]] = kernel
            if form == "model":
                file[f"optimizer_weights/adam/{keras}/kernel/m:0"] = np.zeros_like(kernel)
                file[f"optimizer_weights/adam/{keras}/bias/m:0"] = np.zeros_like(biases[name])
    return path


def write_npz(path, kernels, biases):
    """An .npz without a record, as a user may write one."""
    arrays = {f"{name}.kernel": kernel for name, kernel in kernels.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays, **{f"{name}.bias": bias for name, bias in biases.items()})
    return path


def publish(monkeypatch, path, **changes):
    """Make the file at `path` a published one; return its entry."""
    _, sha256 = registry.hash_file(path)
    entry = registry.PublishedFile("the test's", path.name, sha256=sha256, size=path.stat().st_size)
    entry = dataclasses.replace(entry, **changes)
    monkeypatch.setattr(registry, "PUBLISHED", (*registry.PUBLISHED, entry))
    return entry


def refused(path, *words, trust=True):
    """The one-line message with which a file is refused; it must contain the words."""
    with pytest.raises(UserError) as caught:
        read.read_file(path, trust=trust)
    message = str(caught.value)
    assert message.isprintable()
    for word in words:
        assert word in message, message
    return message


@contextlib.contextmanager
def serving(answer, *, context=None):
    """Serve on loopback; `answer(handler)` writes the response. Yields (address, list of request headers)."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(dict(self.headers))
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, *arguments):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def file_answer(data):
    """An answer that sends `data` as a static file server would."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer
