"""The README is true: its tables are generated, its examples run, its files exist."""

import re

import numpy as np
import pytest
from narrow import make_narrow_weights
from paths import ROOT
from PIL import Image

from neural_style_tf.cli import flags
from neural_style_tf.config import presets
from neural_style_tf.transfer import session

README = (ROOT / "README.md").read_text()


def between(name):
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", README, re.DOTALL).group(1)


def test_presets_table_is_generated():
    assert between("presets") == presets.table()


def test_flags_table_is_generated():
    assert between("flags") == flags.table()


def test_linked_files_exist():
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert links
    for link in links:
        assert (ROOT / link.split("#")[0]).exists(), link


def test_flags_in_the_text_exist():
    known = flags.help_text()
    for flag in set(re.findall(r"(?<![\w-])--([a-z_0-9]+)", README)) - {
        "flagfile",
        "logdir",
        "help",
        "convert",
    }:
        assert re.search(rf"--{flag}\b", known) or f"--{flag}" in other_commands(), flag


def other_commands():
    return "\n".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py")) + "--extra"


def test_python_example_runs(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'load_image\("([^"]+)"', code):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with Image.open(ROOT / name) as picture:
            picture.resize((48, 40)).save(name)
    asked = []
    # Where the example's `stylize` looks it up: the real one would go to the network.
    monkeypatch.setattr(session, "load_weights", lambda spec: asked.append(spec) or make_narrow_weights())
    exec(compile(code.replace("iterations=200", "iterations=3"), "README.md", "exec"), {})
    [result] = [path for path in tmp_path.iterdir() if path.suffix == ".png"]
    assert np.asarray(Image.open(result)).std() > 1
    assert asked == ["auto"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
