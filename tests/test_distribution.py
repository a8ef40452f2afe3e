"""What is published says what is true; `tests/try_wheel.py` looks into the files themselves (`make dist`)."""

import configparser
import importlib.util
import re
import subprocess
import sys

import pytest
from paths import ROOT

from neural_style_tf.utils import runtime

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def matrix(monkeypatch):
    """Return tests/matrix.py as a module."""
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "tests" / "matrix.py")
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    monkeypatch.setitem(sys.modules, "matrix", module)
    spec.loader.exec_module(module)
    return module


def test_the_pythons_are_those_of_the_matrix(matrix):
    classifiers = SETUP["metadata"]["classifiers"]
    named = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    assert named == list(matrix.PYTHONS)
    oldest, newest = (".".join(map(str, version)) for version in runtime.PYTHONS)
    assert (named[0], named[-1]) == (oldest, newest)
    assert SETUP["options"]["python_requires"] == f">={oldest}"
    assert f"{runtime.PYTHONS[0]}" in (ROOT / "run.py").read_text()


def test_the_oldest_tensorflow_is_that_of_the_matrix(matrix):
    oldest = re.search(r"^tensorflow >= (\S+),", SETUP["options"]["install_requires"], re.MULTILINE)[1]
    assert oldest == matrix.TENSORFLOWS[0]


def test_every_file_of_the_package_is_installed():
    listed = subprocess.run(["git", "ls-files", "neural_style_tf"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    installed = re.split(r",\s*", SETUP["options.package_data"]["neural_style_tf"])
    files = [name.partition("/")[2] for name in listed.stdout.splitlines()]
    assert sorted(name for name in files if not name.endswith((".py", ".md"))) == sorted(installed)


def test_the_text_of_the_index_needs_no_repository():
    """It has neither pictures nor relative links, which lead nowhere there."""
    text = (ROOT / SETUP["metadata"]["long_description"].removeprefix("file: ")).read_text()
    assert not re.search(r"<img|\]\((?!https?:)", text)


def test_the_image_is_built_of_what_is_sent_for_it(matrix):
    [python] = set(re.findall(r"^FROM python:(\d+\.\d+)\.\d+-slim", DOCKERFILE, re.MULTILINE))
    assert python in matrix.PYTHONS
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = [
        line.split()[1:-1]
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--" not in line
    ]
    assert sorted(name for names in copied for name in names) == sorted(sent)
    assert all((ROOT / name).exists() for name in sent)
    needed = [
        SETUP["metadata"][name].removeprefix("file: ") for name in ("long_description", "license_files")
    ]
    assert set(needed) <= set(sent)


def test_the_image_serves_the_page_and_keeps_what_it_makes():
    commands = SETUP["options.entry_points"]["console_scripts"]
    page = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    [started] = re.findall(r"--entrypoint=(\S+)", page)
    assert f"{started} =" in commands and f"--entrypoint={started}" in DOCKERFILE
    for extras in re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE + page):
        assert {"demo", "app"} <= set(extras.split(",")) <= SETUP["options.extras_require"].keys()
    [port] = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    [data] = re.findall(r"-v neural-style-tf:(\S+)", page)
    assert f"-p 127.0.0.1:{port}:{port}" in page and "--listen=0.0.0.0" in page
    # All that a run keeps is below the folder that is mounted.
    assert f"WORKDIR {data}\n" in DOCKERFILE and f"XDG_CACHE_HOME={data}/" in DOCKERFILE
    assert f"CUDA_CACHE_PATH={data}/" in DOCKERFILE
