"""What all checks use: processes of their own, pictures, and rows of the table."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import Ended, call, load_pair, run_command

import neural_style_tf as nst

Check = Callable[[], Iterator[dict[str, Any]]]
"""Yields rows of the table."""
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}


@dataclasses.dataclass(frozen=True)
class Bench:
    """A place for checks.

    Attributes:
        folder: For what they write; removed afterwards.
        has_gpu: Whether to use one; if not, a CPU stands in for it.
        weights: Of the network, as `--weights`.
        quick: Make everything tiny.
    """

    folder: Path
    has_gpu: bool
    weights: str
    quick: bool

    def call(
        self, function: str, device: str = "GPU", *, timeout: float = 240, **arguments: Any
    ) -> list[Any]:
        """Call a generator of this package in a process of its own; see `common.call`."""
        hidden = {} if self.has_gpu and device == "GPU" else HIDDEN
        options = {"timeout": timeout, "environment": hidden}
        return call(f"gpu_checks.{function}", options, weights=self.weights, **arguments)

    def run(self, *flags: str, watch: Callable[[int], None] | None = None, **environment: str) -> Ended:
        """Run the command line as a user does, into a new folder, for four minutes at most."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        environment = environment if self.has_gpu else HIDDEN | environment
        options = {"timeout": 240, "watch": watch, "environment": environment}
        return run_command(out, *flags, weights=self.weights, **options)

    def flags(self, size: int, *more: str) -> list[str]:
        """Return the flags of a run of `balanced` whose longest side is `size` pixels."""
        size, paths = 48 if self.quick else size, []
        pair = load_pair("astronaut:starry_night", size, enlarge=True)
        for role, pixels in zip(("content", "style"), pair, strict=True):
            paths.append(self.folder / f"{role}-{size}.png")
            if not paths[-1].exists():
                nst.save_image(paths[-1], pixels)
        short = ("--scales=1", "--scale_iterations=", "--iterations=2") if self.quick else more
        flags = [f"--content={paths[0]}", f"--style={paths[1]}", f"--image_size={size}"]
        return [*flags, "--preset=balanced", *short]


def row(check: str, found: str, ok: bool | None = None, **figures: Any) -> dict[str, Any]:
    """Return a row of the table, and the figures behind it; without a verdict it is a figure."""
    return {"check": check, "found": found.replace("|", "/"), "ok": ok, **figures}


def failed(check: str, error: Exception) -> dict[str, Any]:
    """Return the row of a check that could not be made."""
    return row(check, " ".join(str(error).split())[-300:], False)
