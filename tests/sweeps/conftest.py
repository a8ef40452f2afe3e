"""Runs for executors, with a painter that needs no TensorFlow."""

import os
from pathlib import Path

import pytest
from paths import ROOT

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.jobs.task import Task


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Return a function that makes runs of these names."""
    monkeypatch.chdir(tmp_path)
    # Where processes of a Ray cluster find `painters`.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")]))
    Path("c").write_bytes(b"content")
    Path("s").write_bytes(b"style")

    def make(*names, **files):
        jobs = [Job(content="c", style="s", output_dir=f"o/{name}", **files) for name in names]
        return [Task(name, Config(), job) for name, job in zip(names, jobs, strict=True)]

    return make
