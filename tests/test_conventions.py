"""The house rules of the code, checked from its text."""

import ast
import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "neural_style_tf"
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


def test_imports_point_down():
    """The layers of `pyproject.toml`, from `cli` down to `errors`; import-linter knows of every import."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    parts = {path.name.removesuffix(".py") for path in PACKAGE.glob("[!_.]*") if path.suffix in {"", ".py"}}
    assert set(layers) == parts


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_print_no_assert_and_flags_only_at_the_door(path):
    tree = ast.parse(path.read_text())
    if path.name != "__main__.py":
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Name) and call.id == "print" for call in calls)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    if path.name != "flags.py":
        assert "absl" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_public_things_are_explained(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_each_deviation_has_its_bullet():
    """A deviation from the paper is said where it is made, and in docs/faithfulness.md with that place."""
    said = [
        (str(path.relative_to(PACKAGE)), enclosing_definition(path, number))
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "Differs from Gatys et al." in line
    ]
    page = (ROOT / "docs" / "faithfulness.md").read_text()
    bullets = page.split("\n## From the paper\n", 1)[1].split("\n## ")[0].split("\n- ")[1:]
    named = [re.search(r"\[`([\w.]+)`\]\(\.\./neural_style_tf/(\S+\.py)\)", bullet) for bullet in bullets]
    assert said and all(named), bullets
    assert sorted(said) == sorted((match[2], match[1]) for match in named)


def enclosing_definition(path, number):
    """Return the name of the class or function around a line, as `Class.method`; empty at top level."""
    names, body = [], ast.parse(path.read_text()).body
    while around := [
        node
        for node in body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno <= number <= node.end_lineno
    ]:
        names.append(around[0].name)
        body = around[0].body
    return ".".join(names)


def test_run_is_a_shim():
    assert len((ROOT / "run.py").read_text().splitlines()) <= 25


def test_no_machine_or_registry_names():
    hosts = re.compile(r"/root/|/home/|pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian")
    for folder, folders, names in os.walk(ROOT):
        # Not into environments and the like.
        folders[:] = [name for name in folders if name == ".ci" or not name.startswith((".", "output"))]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            if path.suffix in {".py", ".md", ".cfg", ".toml", ""} and path != Path(__file__):
                assert not hosts.search(path.read_text(errors="replace")), path


def _extra(name):
    """Return the packages of an extra, or for "" those that are always required."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    text = settings["options.extras_require"][name] if name else settings["options"]["install_requires"]
    return {re.match(r"[a-z0-9-]+", line)[0] for line in text.splitlines() if line and line[0] != "#"}


def _imports(nodes):
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[0] for name in names}


def test_every_required_package_is_imported():
    modules = {"pillow": "PIL", "absl-py": "absl"}
    imported = set().union(*(_imports(ast.walk(ast.parse(path.read_text()))) for path in FILES))
    assert "tensorflow" in _extra("")
    # TensorFlow's summaries import it for us.
    for package in _extra("") - {"tensorboard"}:
        assert modules.get(package, package) in imported, package


def test_every_module_can_be_imported_for_the_documents():
    # Gradio brings Starlette, pandas and its client.
    modules = {
        "PIL": "pillow",
        "absl": "absl-py",
        "cv2": "opencv-python-headless",
        "starlette": "gradio",
        "pandas": "gradio",
        "gradio_client": "gradio",
    }
    known = {*sys.stdlib_module_names, "neural_style_tf", "keras", *_extra(""), *_extra("docs")}
    for path in FILES:
        if "neural_style_tf" in path.parts:
            for module in _imports(ast.parse(path.read_text()).body):
                assert modules.get(module, module) in known, (path, module)
