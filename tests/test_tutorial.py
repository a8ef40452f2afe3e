"""The tutorial: generated from its source, true in its links, and runs through at a small size."""

import ast
import re

import pytest
from command_line import environment
from paths import ROOT

import neural_style_tf as nst

MISSING = 'needs the extra notebook: pip install ".[notebook]"'
jupytext, nbclient, nbformat, _ = (
    pytest.importorskip(name, reason=MISSING) for name in ("jupytext", "nbclient", "nbformat", "ipykernel")
)

SOURCE = ROOT / "examples" / "tutorial.py"
NOTEBOOK = ROOT / "examples" / "tutorial.ipynb"
SIZE = 32


@pytest.fixture(scope="module")
def source():
    return jupytext.read(SOURCE)


def test_the_notebook_is_generated(source):
    """By `make notebook`, without outputs."""
    made = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(made)
    assert [(cell.cell_type, cell.source) for cell in made.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in made.cells)


def test_it_uses_public_names_only():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [ast.unparse(node) for node in imported if "neural_style_tf" in ast.unparse(node)]
    assert ours == ["import neural_style_tf as nst"]
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "nst"}
    assert {"Session", "extract_features", "gram_matrix"} <= used <= set(nst.__all__)


def test_its_links_lead_to_files(source):
    text = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert links
    for link in links:
        assert (SOURCE.parent / link).is_file(), link


@pytest.mark.slow
def test_it_runs_through(source, tmp_path):
    """On the bundled network, in a kernel of its own; what it writes stays in `tmp_path`."""
    for folder in ("examples", "weights"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    notebook = nbformat.from_dict(source)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment(TUTORIAL_SIZE=str(SIZE), PYTHONPATH=str(ROOT)))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [cell for cell in notebook.cells if "show(" in cell.source and cell.cell_type == "code"]
    figures = [one for one in outputs if one.output_type == "display_data" and "image/png" in one.data]
    # Each cell that draws, and the picture that grows.
    assert len(figures) == len(drawn) + 1
    printed = "".join(one.text for one in outputs if one.output_type == "stream")
    assert "Warning" not in printed and "WARNING:tensorflow" not in printed
    assert "True" in printed.splitlines()
    [table] = [one.data["text/markdown"] for one in outputs if "text/markdown" in one.get("data", {})]
    assert len(table.splitlines()) == 2 + 6
    assert (tmp_path / "output" / "tutorial.png").stat().st_size > 1000
