"""The README is short, and its example runs; `test_docs.py` checks what all pages have in common."""

import re

import numpy as np
import pytest
from narrow import make_narrow_weights
from paths import ROOT
from PIL import Image

from neural_style_tf.transfer import session

README = (ROOT / "README.md").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_python_example_runs(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'"(examples/[^"]+)"', code):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with Image.open(ROOT / name) as picture:
            picture.resize((48, 40)).save(name)
    asked = []
    # Where the example's `paint` looks it up: the real one would go to the network.
    monkeypatch.setattr(session, "load_weights", lambda spec: asked.append(spec) or make_narrow_weights())
    shallow = {"content_layers": "relu2_1", "style_layers": "relu1_1", "scales": 1, "iterations": 3}
    code = code.replace("size=256", "size=256, **shallow")
    exec(compile(code, "README.md", "exec"), {"shallow": shallow})
    [result] = [path for path in tmp_path.iterdir() if path.suffix == ".png"]
    assert np.asarray(Image.open(result)).std() > 1
    assert asked == ["auto"]


@pytest.mark.parametrize("target", ["demo", "test", "docs"])
def test_make_targets_exist(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
