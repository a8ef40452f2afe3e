"""The bundled network from the checkout's own folder, so that it is converted once and not by every test."""

from pathlib import Path

WEIGHTS_DIR = Path(__file__).parents[1] / "weights"
BUNDLED = ("--weights=bundled", f"--weights_dir={WEIGHTS_DIR}")
