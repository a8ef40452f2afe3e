"""`run.json`: a round trip, other versions, and files that are none."""

import dataclasses
import json
from importlib.metadata import PackageNotFoundError

import keras
import pytest

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config
from neural_style_tf.runs import manifest
from neural_style_tf.runs.manifest import FORM, Manifest

WHOLE = Manifest(
    config=json.loads(json.dumps(flat(Config()))),
    inputs={"content": {"path": "c.png", "sha256": "a", "notes": []}},
    weights={"sha256": "b"},
    job={"content": "c.png"},
    circumstances={"device": "CPU"},
    status="finished",
    started="2026-01-01T00:00:00+0000",
    resumed=("2026-01-02T00:00:00+0000",),
    ended="2026-01-03T00:00:00+0000",
    notes=("step 3: no further step lowers the loss",),
    steps=3,
    seconds=1.5,
    final={"total": 2.0},
    best={"step": 2, "total": 1.0},
)


def test_what_is_written_is_read_back():
    assert Manifest.from_json(WHOLE.to_json()) == WHOLE
    running = dataclasses.replace(WHOLE, ended="", steps=None, seconds=None, final=None, best=None)
    facts = json.loads(running.to_json())
    assert facts["manifest"] == FORM and not {"ended", "steps", "final"} & facts.keys()
    assert Manifest.from_json(running.to_json()) == running


@pytest.mark.parametrize("form", [FORM - 1, FORM + 1])
def test_another_version_is_refused(form):
    with pytest.raises(ValueError, match=rf"another version of this program wrote it \(form {form}, not"):
        Manifest.from_json(json.dumps(json.loads(WHOLE.to_json()) | {"manifest": form}))


@pytest.mark.parametrize(
    "change",
    [
        {"config": []},
        {"inputs": {"content": 3}},
        {"weights": None},
        {"notes": "a"},
        {"resumed": {}},
        {"status": 3},
        {"steps": "3"},
        {"manifest": "1"},
        {"manifest": None},
    ],
)
def test_what_was_edited_into_something_else_is_refused(change):
    facts = json.loads(WHOLE.to_json()) | change
    with pytest.raises(ValueError, match="not one that this program wrote"):
        Manifest.from_json(json.dumps(facts))


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", "\0", "[" * 100_000, '{"config": ' + "9" * 5000 + "}", '{"config": {}}']
)
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(ValueError, match="not one that this program wrote"):
        Manifest.from_json(text)


def test_changed_files():
    assert WHOLE.changed_files({"content": "a", "weights": "b"}) == []
    assert WHOLE.changed_files({"content": "x", "init": "a", "weights": "x"}) == [
        "the content file is another one",
        "the init file is new",
        "the weights file is another one",
    ]


def test_the_version_of_a_package_that_is_installed_under_another_name(monkeypatch):
    known = manifest.importlib.metadata.version

    def version(name):
        if name == "keras":
            raise PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(manifest.importlib.metadata, "version", version)
    assert manifest.circumstances("CPU")["packages"]["keras"] == keras.__version__
