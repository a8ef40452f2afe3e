"""TensorBoard for real: started on a run's folder, read back through its own HTTP API."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from narrow import SHALLOW, make_narrow_weights

from neural_style_tf.config.schema import Config
from neural_style_tf.losses.terms import loss_names, make_terms
from neural_style_tf.runs.tensorboard import Curves
from neural_style_tf.transfer.session import stylize


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--host=127.0.0.1", "--load_fast=false", "--reload_interval=1"], stderr=subprocess.DEVNULL
    )
    yield f"http://127.0.0.1:{port}/data/plugin"
    process.terminate()
    process.wait(timeout=20)


def get(address, *, until):
    """Return the JSON at an address once `until` is true of it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                value = json.load(answer)
            if until(value):
                return value
        except OSError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"no good answer from {address}")


def test_the_curves_are_the_records(server, tmp_path, pictures):
    config = Config(**SHALLOW, iterations=6, log_every=2, save_every=1)
    curves = Curves(tmp_path / "a-run", config, {"style_weight": "100.0"})
    totals = {}
    for record in stylize(*pictures, config, weights=make_narrow_weights()):
        curves.on_step(record)
        totals[record.step] = record.total
    curves.on_end()
    tags = get(f"{server}/scalars/tags", until=lambda value: "a-run" in value)
    assert set(tags["a-run"]) == {f"loss/{name}" for name in loss_names(make_terms(config.loss))}
    points = get(
        f"{server}/scalars/scalars?run=a-run&tag=loss/total", until=lambda value: len(value) == len(totals)
    )
    assert {step: value for _, step, value in points} == pytest.approx(totals)
    images = get(f"{server}/images/tags", until=bool)
    assert "image" in images["a-run"]
    texts = get(f"{server}/text/text?run=a-run&tag=config", until=bool)
    assert "style_weight" in texts[0]["text"]
