"""Writes small weight files in every form, and serves bytes over loopback, for the weights tests."""

from __future__ import annotations

import contextlib
import http.server
import threading

import h5py
import numpy as np
import pytest
import scipy.io

from neural_style_tf.errors import UserError
from neural_style_tf.weights import readers
from neural_style_tf.weights.cache_format import write_converted
from neural_style_tf.weights.provenance import Record

FULL = (64, 64, 128, 128, *(256,) * 4, *(512,) * 8)
SMALL = tuple(width // 8 for width in FULL)
NAMES = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, n + 1)]


def network(widths=SMALL, seed=0):
    """Random kernels and biases by name, RGB."""
    rng = np.random.default_rng(seed)
    kernels, biases, n = {}, {}, 3
    for name, m in zip(NAMES, widths, strict=True):
        kernels[name] = rng.standard_normal((3, 3, n, m), dtype=np.float32)
        biases[name] = rng.standard_normal(m, dtype=np.float32)
        n = m
    return kernels, biases


def cell(items):
    out = np.empty((1, len(items)), object)
    for i, item in enumerate(items):
        out[0, i] = item
    return out


def _conv(layout, name, kernel, bias):
    if layout == "filters":
        return {
            "filters": kernel,
            "biases": bias.reshape(1, -1),
            "type": "conv",
            "name": name,
            "pad": [[1.0] * 4],
        }
    if layout == "old":
        return {
            "weights": cell([kernel, bias.reshape(1, -1)]),
            "pad": [[1.0] * 4],
            "type": "conv",
            "name": name,
            "stride": [[1.0, 1.0]],
        }
    return {
        "name": name,
        "type": "conv",
        "weights": cell([kernel, bias.reshape(-1, 1)]),
        "size": np.array([kernel.shape], float),
        "pad": 1.0,
        "stride": 1.0,
        "precious": 0.0,
        "dilate": 1.0,
        "opts": np.empty((1, 0), object),
    }


def layers43(kernels, biases, layout="new"):
    """All 43 layers of MatConvNet's VGG-19, with tiny fully connected ones."""
    layers = []
    for block, count in enumerate((2, 2, 4, 4, 4), 1):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            if name in kernels:
                layers.append(_conv(layout, name, kernels[name], biases[name]))
                layers.append({"type": "relu", "name": f"relu{block}_{index}"})
        layers.append({"method": "max", "type": "pool", "name": f"pool{block}", "pool": [[2.0, 2.0]]})
    for name in ("fc6", "fc7"):
        layers.append(_conv(layout, name, np.ones((1, 1, 4, 4), np.float32), np.ones(4, np.float32)))
        layers.append({"type": "relu", "name": f"relu{name[2]}"})
    layers.append(_conv(layout, "fc8", np.ones((1, 1, 4, 4), np.float32), np.ones(4, np.float32)))
    layers.append({"type": "softmax", "name": "prob"})
    return layers


def write_mat(path, kernels, biases, layout="new", *, layers=None, extra=None, compress=False):
    """A MatConvNet file: layout `new` (layers meta), `old` (layers classes normalization) or `filters`."""
    layers = layers43(kernels, biases, layout) if layers is None else layers
    content = {"layers": cell(layers)}
    if layout == "new":
        content["meta"] = {"normalization": {"averageImage": np.full((1, 1, 3), 120.0)}, "classes": "tench"}
    else:
        content["classes"] = {"name": cell(["n01440764"]), "description": cell(["tench"])}
        content["normalization"] = {"averageImage": np.full((8, 8, 3), 120.0), "keepAspect": 1.0}
    content.update(extra or {})
    scipy.io.savemat(path, content, do_compression=compress)
    return path


def write_h5(path, kernels, biases, form="notop"):
    """A Keras file: `notop` (W_1:0), `kernel` (kernel:0), `nested`, `model` (whole model) or `keras3`."""
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
                keys = {
                    "notop": (f"{keras}_W_1:0", f"{keras}_b_1:0"),
                    "kernel": ("kernel:0", "bias:0"),
                    "nested": (f"{keras}/kernel:0", f"{keras}/bias:0"),
                    "model": (f"{keras}/kernel:0", f"{keras}/bias:0"),
                }[form]
            # Bias first and kernel last, in name and in order: only the shape tells which is which.
            group[keys[1]] = biases[name]
            group[keys[0]] = kernel
            if form == "model":
                file[f"optimizer_weights/adam/{keras}/kernel/m:0"] = np.zeros_like(kernel)
                file[f"optimizer_weights/adam/{keras}/bias/m:0"] = np.zeros_like(biases[name])
    return path


def small_npz(path, kernels, biases, **changes):
    values = {"origin": "keras", "source": "x.h5", "sha256": "0" * 64, "md5": "", "size": 1, "mtime_ns": 1}
    with path.open("wb") as file:
        write_converted(file, kernels, biases, Record(**{**values, "layout": "test", **changes}))
    return path


def fingerprinted():
    kernels, biases = network()
    kernel = kernels["conv1_1"]
    kernel[0, 0, :, 0] = (0.39416704, 0.46418372, 0.34119523)
    kernel[0, 1, :, 0] = (0.37740308, 0.41810837, 0.33999205)
    kernel[1, 0, :, 0] = (0.2671299, 0.30511212, 0.23215917)
    return kernels, biases


def read(path, **options):
    return readers.read_file(path, widths=SMALL, **options)


def refused(path, *words, **options):
    """The one-line message with which a file is refused; it must contain the words."""
    with pytest.raises(UserError) as caught:
        readers.read_file(path, **{"widths": SMALL, "keep": False, **options})
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    for word in words:
        assert word in message, message
    return message


def same(weights, kernels, biases):
    assert list(weights.kernels) == NAMES == list(weights.biases)
    for name in NAMES:
        for got, expected in ((weights.kernels, kernels), (weights.biases, biases)):
            np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
            assert got[name].dtype == np.float32
            assert got[name].flags.c_contiguous


def no_child(*arguments, **options):
    raise AssertionError("the .mat was read again")


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


def file_answer(data, *, etag='"v1"', ranges=True, cut=None):
    """An answer that sends `data` as a static file server would, or only `cut` bytes of the body."""

    def answer(handler):
        start, asked = 0, handler.headers.get("Range")
        condition = handler.headers.get("If-Range")
        if ranges and asked and condition in (None, etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(data):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        body = data[start:]
        handler.wfile.write(body if cut is None else body[:cut])

    return answer
