"""Every benchmark has a quick form that runs through."""

import ast
import subprocess
import sys

import pytest
from command_line import environment
from paths import ROOT

import neural_style_tf

# Benchmarks are not tests: of the quick ones that take no more than seconds.
FAST = ("compare", "fuzz")
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if '"__main__"' in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_all_that_a_script_takes_from_the_package_is_there(path):
    """Also what is imported within a function, of scripts too slow to be run here."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neural_style_tf"):
            exec(compile(ast.Module([node], []), str(path), "exec"), {})
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nst":
            assert node.attr in neural_style_tf.__all__


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in SCRIPTS]
)
def test_quick_form_prints_a_table(name):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        # A guard against hanging: the slowest take minutes on a slow machine.
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    tables = [block.splitlines() for block in done.stdout.split("\n\n") if "|" in block]
    tables = [[line for line in table if line.startswith("|")] for table in tables]
    assert tables and all(len(rows) >= 3 for rows in tables)
    assert all(row.count("|") == rows[0].count("|") for rows in tables for row in rows)
