"""Test each supported Python with each supported TensorFlow, with the oldest and the newest dependencies.

    python tests/matrix.py [--out FOLDER] [--only WORD …] [--again] [--list]

Each cell of the matrix has its own environment, made by uv, which finds the Pythons or downloads them. The
same command again goes on with the cells that have not passed. The table is
printed at the end, for docs/platforms.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = (sys.executable, "-m", "uv")
PYTHONS = ("3.11", "3.12", "3.13")
TENSORFLOWS = ("2.19", "2.20", "2.21")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
PRERELEASES = (("3.14", "2.22.0rc0"),)
"""Tried as well, with the newest dependencies."""
PKG_RESOURCES = "setuptools>=70,<82"
"""What TensorBoard's page needs until 2.20; setuptools had it until 81."""
BUILT = ("neural-style-tf", "pyvips")
"""Published without wheels. All others are taken as wheels: an older one that needs a compiler is none."""
TESTS = (
    # The losses and their gradients, against their twins; the network against Keras' own layers.
    *("tests/losses/test_functional.py", "tests/losses/test_moments.py", "tests/losses/test_wasserstein.py"),
    "tests/models/test_vgg19.py",
    # Weight files: .mat, .h5 of Keras 2 and 3, .npz, and the bundled network, converted anew.
    *("tests/weights/test_read.py", "tests/weights/test_bundled.py"),
    # Runs of the command line: painted, killed, resumed to the same bits, logged; mistakes told early.
    "tests/cli/test_main.py::test_a_run_writes_what_the_readme_says",
    "tests/cli/test_main.py::test_help_and_mistakes_do_without_tensorflow",
    "tests/cli/test_directing.py::test_everything_at_once_is_recorded_repeated_and_resumed",
    "tests/runs/test_resume.py::test_from_every_checkpoint_to_the_same_bits[adam]",
    "tests/runs/test_resume.py::test_a_killed_run_continues_as_if_nothing_happened",
    "tests/runs/test_tensorboard.py",
    # What else depends on the versions of libraries: pictures, 16 bits, clips.
    *("tests/images/test_read.py", "tests/images/test_write.py", "tests/images/test_deep.py"),
    "tests/video/test_write.py",
)
"""What meets other libraries, in a few minutes. The rest of the tests is about our own code."""
LEFT_OUT = ("tests/images/test_deep.py::test_a_run_in_16_bits_keeps_profile_and_resolution",)
"""Of these, a run at full width that takes as long as all others of its file."""
SHOWN = ("keras", "numpy", "scipy", "h5py", "pillow")
NO_WHEEL = re.compile(r"we only found wheels|no wheels with a matching")
PASSED, FAILED, LACKING = "passed", "failed", "not to be had"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One environment: Python, TensorFlow, and which of the allowed dependencies."""

    python: str
    tensorflow: str
    dependencies: str

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"python{self.python}-tensorflow{self.tensorflow}-{self.dependencies}"

    @property
    def is_prerelease(self) -> bool:
        """Whether its TensorFlow is no release."""
        return self.tensorflow.count(".") > 1


@dataclasses.dataclass
class Result:
    """What came of a cell: whether it passed, and pytest's summary or the step that failed."""

    commit: str
    state: str
    summary: str
    minutes: float = 0.0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)


def cells() -> list[Cell]:
    """Return the matrix, TensorFlow by TensorFlow."""
    regular = [Cell(p, t, d) for d in RESOLUTIONS for t in TENSORFLOWS for p in PYTHONS]
    return regular + [Cell(p, t, "newest") for p, t in PRERELEASES]


def commit() -> str:
    """Return the commit of the working tree, marked if it has changes."""
    described = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(described, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def call(log: Path, *command: str) -> str | None:
    """Run a command; append its output to a file; return the output, or None if the command failed."""
    done = subprocess.run(
        command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    return None if done.returncode else done.stdout


def test(cell: Cell, folder: Path) -> Result:
    """Make the environment of a cell and run the tests in it; keep it if they fail."""
    home, log = folder / cell.name, folder / f"{cell.name}.txt"
    log.write_text("", encoding="utf-8")
    python, start = str(home / "bin" / "python"), time.monotonic()
    if call(log, *UV, "venv", "--clear", "--python", cell.python, str(home)) is None:
        return Result(commit(), LACKING, f"no Python {cell.python}")
    exact = cell.tensorflow if cell.is_prerelease else f"{cell.tensorflow}.*"
    options = [f"--resolution={RESOLUTIONS[cell.dependencies]}", "--only-binary=:all:"]
    options += [f"--no-binary={name}" for name in BUILT]
    packages = ["--editable", ".[test]", f"tensorflow=={exact}"]
    if cell.dependencies == "oldest" or cell.tensorflow in ("2.19", "2.20"):
        packages.append(PKG_RESOURCES)
    if not cell.is_prerelease:
        # TensorFlow brings it: named here, so that the oldest is taken. A prerelease has its own.
        packages.append("keras>=3")
    if call(log, *UV, "pip", "install", f"--python={python}", *options, *packages) is None:
        if NO_WHEEL.search(log.read_text(encoding="utf-8")):
            return Result(commit(), LACKING, "no wheel")
        return Result(commit(), FAILED, "cannot be installed")
    listed = call(log, *UV, "pip", "list", f"--python={python}", "--format=json")
    packages = json.loads(re.search(r"^\[.*\]$", listed, re.MULTILINE)[0])
    versions = {package["name"]: package["version"] for package in packages}
    left_out = (f"--deselect={test}" for test in LEFT_OUT)
    tested = (
        "-n0",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not faults",
        "--durations=10",
        *left_out,
        *TESTS,
    )
    passed = call(log, python, "-m", "pytest", *tested) is not None
    summaries = re.findall(r"^=+ (.*) in [\d.]+s", log.read_text(encoding="utf-8"), re.MULTILINE)
    if passed:
        shutil.rmtree(home)
    return Result(
        commit(),
        PASSED if passed else FAILED,
        summaries[-1] if summaries else "pytest did not end",
        (time.monotonic() - start) / 60,
        {name: versions.get(name, "–") for name in ("tensorflow", *SHOWN)},
    )


def table(results: dict[Cell, Result]) -> str:
    """Return the results as a Markdown table, with the commits they are of."""
    header = ("Python", "TensorFlow", "dependencies", *SHOWN, "tests", "minutes")
    rows = [header, ("---",) * len(header)]
    for cell, result in results.items():
        versions = [result.versions.get(name, "–") for name in SHOWN]
        tensorflow = result.versions.get("tensorflow", cell.tensorflow)
        minutes = f"{result.minutes:.0f}" if result.versions else "–"
        rows.append((cell.python, tensorflow, cell.dependencies, *versions, result.summary, minutes))
    commits = ", ".join(sorted({result.commit for result in results.values()}))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\nMade at {commits}."


def main() -> int:
    """Test what has not passed; return 1 if something failed that could be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "matrix", help="folder of the results")
    parser.add_argument("--only", nargs="+", default=[""], help="cells whose name has one of these words")
    parser.add_argument("--again", action="store_true", help="also what has passed")
    parser.add_argument("--list", action="store_true", help="print the table so far, and end")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for cell in cells():
        file = options.out / f"{cell.name}.json"
        result = Result(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None
        asked = any(word in cell.name for word in options.only) and not options.list
        if asked and (options.again or result is None or result.state != PASSED):
            print(f"{cell.name} …", end=" ", flush=True)
            result = test(cell, options.out)
            print(result.summary, flush=True)
            file.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n", encoding="utf-8")
        if result is not None:
            results[cell] = result
    print(table(results))
    return 1 if any(result.state == FAILED for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
