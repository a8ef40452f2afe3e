"""Measures of a run's own result."""

import json
import types
from pathlib import Path

import numpy as np
import pytest

from neural_style_tf.evaluation import of_run
from neural_style_tf.evaluation.of_run import ResultMeasures


@pytest.fixture
def record():
    return types.SimpleNamespace(best_rows=np.random.default_rng(0).uniform(0, 255, (40, 48, 3)))


def broken(*given):
    raise ImportError("scikit-image is of another Python")


def test_a_measure_that_fails_is_a_note(record, monkeypatch):
    monkeypatch.setattr(of_run, "judge", broken)
    measure = ResultMeasures(np.zeros((40, 48, 3)), [np.zeros((40, 48, 3))])
    assert measure(record) == {} == measure(record)
    assert measure.notes == ["the result was not measured: ImportError: scikit-image is of another Python"]


def test_a_style_picture_that_is_too_small_is_not_measured(record):
    photo = np.full((40, 48, 3), 100.0)
    values = ResultMeasures(photo, [np.full((6, 200, 3), 90.0)])(record)
    assert list(values) == ["ssim"] and np.isfinite(values["ssim"])
    assert "patches" in ResultMeasures(photo, [np.full((32, 40, 3), 90.0)])(record)


def test_a_painting_that_cannot_be_measured_is_finished(job, monkeypatch):
    monkeypatch.setattr(of_run, "judge", broken)
    assert job("--sweep=seed=1", "--iterations=1", "--save_every=0", "--output_dir=o") == 0
    [run] = [json.loads(path.read_text()) for path in Path("o").rglob("run.json")]
    assert run["status"] == "finished" and run["measures"] == {}
    assert any("scikit-image is of another Python" in note for note in run["notes"])
