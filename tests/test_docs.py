"""The documents are true: their tables are generated, their links lead somewhere, what they quote is said."""

import ast
import re

import pytest
from paths import ROOT

from neural_style_tf.app.__main__ import make_parser
from neural_style_tf.cli import flags
from neural_style_tf.config import presets
from neural_style_tf.config.schema import SETTINGS
from neural_style_tf.evaluation.columns import MEASURES, SUMS
from neural_style_tf.evaluation.report import measures_table

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "weights" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "neural_style_tf").rglob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
# Of absl, TensorBoard, Slurm, Ray, twine and Docker.
OTHER_FLAGS = {
    "address",
    "array",
    "cpus",
    "head",
    "port",
    "requeue",
    "flagfile",
    "logdir",
    "help",
    "upgrade",
    "strict",
    "build",
    "rm",
    "network",
    "gpus",
    "entrypoint",
}


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def links(page):
    text = without_code(page.read_text(encoding="utf-8"))
    pictures = re.findall(r'(?:src|href)="(?!https?:)([^"]+)"', text)
    return pictures + re.findall(r"\]\((?!https?:)([^)]+)\)", text)


def anchors(page):
    """Return what GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def between(page, name):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL).group(1)


def test_presets_table_is_generated():
    assert between("presets.md", "presets") == presets.table()


def test_flags_table_is_generated():
    assert between("flags.md", "flags") == flags.table()


def test_tables_of_evaluation_are_generated():
    own = {
        name: field
        for name, field in flags.EVALUATION.items()
        if name not in SETTINGS or field.metadata["help"] != SETTINGS[name].metadata["help"]
    }
    assert between("evaluation.md", "flags") == flags.table(own)
    assert between("evaluation.md", "measures") == measures_table((*SUMS, *MEASURES)) + "\n"
    assert len((ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_meaning_of_a_flag_names_its_choices():
    assert any(field.metadata["choices"] for field in SETTINGS.values())
    for field in SETTINGS.values():
        choices = presets.PRESETS if field.name == "preset" else field.metadata["choices"]
        for choice in choices:
            assert re.search(rf"\b{choice}\b", flags.explanation(field)), f"--{field.name}: {choice}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked():
    """From the README; a page inside a package from the page about packages."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in (ROOT / "README.md", ROOT / "docs" / "architecture.md")
        for link in links(page)
    }
    assert set(PAGES) - {ROOT / "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_flags_in_the_text_exist(page):
    known = flags.help_text() + flags.help_text(flags.EVALUATE_USAGE, flags.EVALUATE_GROUPS)
    known += make_parser().format_help()
    known += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    named = re.findall(r"(?<![\w-])--([a-z_0-9]+)", page.read_text(encoding="utf-8"))
    for flag in sorted(set(named) - OTHER_FLAGS):
        assert re.search(rf"--{flag}\b", known), flag


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_are_short(page):
    for line in without_code(page.read_text(encoding="utf-8")).splitlines():
        assert len(line) <= 120 or line.startswith("|") or "<http" in line, line


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_flag_has_a_value_that_it_can_have(page):
    """Docker has a --network, too: what could be taken for the program's flag is one that it takes."""
    for name, value in re.findall(r"--(\w+)=([^\s`,]+)", page.read_text(encoding="utf-8")):
        choices = name in SETTINGS and SETTINGS[name].metadata["choices"]
        # Others are a file, or a class in one.
        if choices and re.fullmatch(r"\w+", value):
            assert value in choices, f"--{name}={value}"


def test_quoted_messages_are_the_programs():
    """Each part of a message between two … in docs/troubleshooting.md is found in one string of the code."""
    said = {
        node.value
        for path in (ROOT / "neural_style_tf").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    messages = [line for block in blocks for line in block.splitlines()]
    assert messages
    for message in messages:
        for part in filter(None, message.split("…")):
            assert any(part in text for text in said), (message, part)
