"""Look into the built distributions, and paint with the wheel alone, in a clean environment elsewhere.

    python tests/try_wheel.py [FOLDER]

FOLDER has one source distribution and one wheel, as `make dist` leaves them in `dist`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = (sys.executable, "-m", "uv")
LEFT_OUT = {".ci/run"}
"""Of the tracked files, what the source distribution does not have."""


def missing(folder: Path) -> list[str]:
    """Return the tracked files that the distributions in a folder should have and do not."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    tracked = set(listed.stdout.splitlines()) - LEFT_OUT
    [source], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    package = {name for name in tracked if name.startswith("neural_style_tf/") and not name.endswith(".md")}
    return sorted(f"{source.name}: {name}" for name in tracked - in_source) + sorted(
        f"{wheel.name}: {name}" for name in package - in_wheel
    )


def paint(wheel: Path, home: Path) -> None:
    """Install a wheel and the bundled network in a folder, and paint there with its command.

    Raises:
        CalledProcessError: Something could not be installed, or the command failed.
        FileNotFoundError: It did not write what it should.
    """
    python = home / "environment" / "bin" / "python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    subprocess.run([*UV, "pip", "install", "--quiet", f"--python={python}", f"{wheel}[demo]"], check=True)
    pictures = [ROOT / "examples" / name for name in ("chelsea.jpg", "mosaic.jpg")]
    command = [python.with_name("neural-style-tf"), f"--content={pictures[0]}", f"--style={pictures[1]}"]
    settings = ["--weights=bundled", "--image_size=64", "--iterations=2", "--content_layers=relu2_1"]
    settings += ["--style_layers=relu1_1,relu2_1", "--sweep=seed=1,2", "--output_dir=painted"]
    # From a folder without the checkout, whose package would be found first.
    subprocess.run([*command, *settings], cwd=home, check=True)
    painted = [*(home / "painted").glob("*/result.png"), home / "painted" / "index.html"]
    if len(painted) < 3 or not all(path.stat().st_size for path in painted):
        raise FileNotFoundError(f"expected two results and a page, found {painted}")


def main() -> int:
    """Look and paint; return 1 if files are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist")
    folder = parser.parse_args().folder.resolve()
    if absent := missing(folder):
        print("missing in", *absent, sep="\n  ")
        return 1
    with tempfile.TemporaryDirectory() as home:
        [wheel] = folder.glob("*.whl")
        paint(wheel, Path(home))
    return 0


if __name__ == "__main__":
    sys.exit(main())
