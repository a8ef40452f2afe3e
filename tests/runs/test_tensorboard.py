"""TensorBoard for real: started on a run's folder, read back through its own HTTP API."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from narrow import SHALLOW, make_narrow_weights, warm_stylize
from neural_style_tf.losses.terms import loss_names, make_terms

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.runs.manifest import settings_table
from neural_style_tf.runs.tensorboard import Curves
from neural_style_tf.sweeps.executors import Task
from neural_style_tf.sweeps.report import METRICS, write_experiment
from neural_style_tf.sweeps.space import Axis
from neural_style_tf.transfer.session import stylize

WEIGHTS = make_narrow_weights()


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


def get(address, *, until, question=None):
    """Return the JSON that an address answers, to a question if there is one, once `until` is true of it."""
    request = urllib.request.Request(address, question and json.dumps(question).encode())
    request.add_header("Content-Type", "application/json")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
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
    for record in stylize(*pictures, config, weights=WEIGHTS):
        curves.on_step(record)
        totals[record.step] = record.total
    curves.on_end()
    tags = get(f"{server}/scalars/tags", until=lambda value: "a-run" in value)
    losses = {f"loss/{name}" for name in loss_names(make_terms(config.loss))}
    assert set(tags["a-run"]) == losses | {"seconds"}
    points = get(
        f"{server}/scalars/scalars?run=a-run&tag=loss/total", until=lambda value: len(value) == len(totals)
    )
    assert {step: value for _, step, value in points} == pytest.approx(totals)
    images = get(f"{server}/images/tags", until=bool)
    assert "image" in images["a-run"]
    texts = get(f"{server}/text/text?run=a-run&tag=config", until=bool)
    assert "style_weight" in texts[0]["text"]


def test_runs_compare_by_their_settings_and_last_losses(server, tmp_path, pictures):
    finals = {}
    for name, weight in (("light", 1.0), ("heavy", 50.0)):
        config = Config(**SHALLOW, iterations=2, log_every=1, style_weight=weight)
        curves = Curves(tmp_path / name, config, settings_table(config, Job(content=f"{name}.jpg")))
        for record in warm_stylize(*pictures, config, weights=WEIGHTS):
            curves.on_step(record)
        curves.on_end()
        finals[weight] = record.total
    question = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": "loss/total", "group": ""}}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    answer = get(
        f"{server}/hparams/session_groups",
        question=question,
        until=lambda value: len(value.get("sessionGroups", [])) == 2,
    )
    found = {}
    for group in answer["sessionGroups"]:
        assert [session["status"] for session in group["sessions"]] == ["STATUS_SUCCESS"]
        assert group["hparams"]["content"] in ("light.jpg", "heavy.jpg")
        assert group["hparams"]["clamp"] is False
        values = {one["name"]["tag"]: one["value"] for one in group["metricValues"]}
        found[group["hparams"]["style_weight"]] = values["loss/total"]
    assert found == pytest.approx(finals)


def test_a_sweep_says_what_is_swept_and_what_counts(server, tmp_path):
    tasks = [Task("a", Config(style_weight=1.0), Job()), Task("b", Config(style_weight=5.0), Job())]
    axes = [Axis("style_weight", ("1", "5")), Axis("pooling", ("max",))]
    write_experiment(tmp_path, axes, tasks[:1])
    # More values: the file is written anew.
    write_experiment(tmp_path, axes, tasks)
    experiment = get(
        f"{server}/hparams/experiment",
        question={"experimentName": ""},
        until=lambda value: len(value.get("hparamInfos", [])) == 2,
    )
    found = {one["name"]: one["domainDiscrete"] for one in experiment["hparamInfos"]}
    assert found == {"style_weight": [1.0, 5.0], "pooling": ["max"]}
    assert {one["name"]["tag"] for one in experiment["metricInfos"]} == set(METRICS)


@pytest.mark.parametrize("interrupted", [False, True])
def test_only_a_finished_run_is_a_success(tmp_path, pictures, interrupted):
    config = Config(**SHALLOW, iterations=3, log_every=1)
    curves = Curves(tmp_path, config, settings_table(config, Job()))
    for record in warm_stylize(*pictures, config, weights=WEIGHTS, tick=lambda step: interrupted):
        curves.on_step(record)
    curves.on_end()
    [path] = tmp_path.iterdir()
    assert (b"session_end_info" in path.read_bytes()) != interrupted
