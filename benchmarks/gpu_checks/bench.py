"""What all checks use: processes of their own, pictures, and rows of the table."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT = 124
SETTINGS = {"CPU": {"CUDA_VISIBLE_DEVICES": "-1"}, "GPU": {}}


class ChildError(RuntimeError):
    """A process that failed; `found` is what it yielded until then."""

    def __init__(self, message: str, found: list[Any]) -> None:
        super().__init__(message)
        self.found = found


@dataclasses.dataclass
class Done:
    """How a process ended."""

    code: int
    output: str
    seconds: float
    folder: Path = Path()

    @property
    def last_line(self) -> str:
        """What it said last."""
        return (self.output.strip().splitlines() or ["(nothing)"])[-1]


class Bench:
    """A place for checks.

    Args:
        folder: For what they write; removed afterwards.
        device: `gpu` or `cpu`, which stands in for a GPU.
        weights: Of the network, as `--weights`.
        quick: Make everything tiny.
    """

    def __init__(self, folder: Path, device: str, weights: str, *, quick: bool) -> None:
        self.folder, self.device, self.weights, self.quick = folder, device, weights, quick
        self.has_gpu = device == "gpu"

    def child(
        self,
        function: str,
        *,
        device: str = "GPU",
        start: bool = True,
        timeout: float = 240,
        **arguments: Any,
    ) -> list[Any]:
        """Call a generator of a module of this package in a process of its own; return what it yields.

        Args:
            function: `module.generator`; what it yields must be something that JSON can hold.
            device: `GPU`, or `CPU` to hide the GPUs.
            start: Start TensorFlow as the command line does; else the function starts it.
            timeout: In seconds.
            **arguments: Its arguments.

        Raises:
            ChildError: It failed or took too long; has what it yielded until then.
        """
        code = (
            "import importlib, json, sys; sys.path[:0] = sys.argv[1:3]; "
            "from neural_style_tf.utils.runtime import start_tensorflow; "
            "sys.argv[5] and start_tensorflow(); "
            "module, name = sys.argv[3].split('.'); "
            "function = getattr(importlib.import_module('gpu_checks.' + module), name); "
            "[print('FOUND ' + json.dumps(one), flush=True) for one in function(**json.loads(sys.argv[4]))]"
        )
        arguments = {"weights": self.weights, **arguments}
        command = [
            sys.executable,
            "-c",
            code,
            str(ROOT),
            str(ROOT / "benchmarks"),
            function,
            json.dumps(arguments),
            "start" if start else "",
        ]
        hidden = SETTINGS[device if self.has_gpu else "CPU"]
        done = self.process(command, timeout=timeout, **hidden)
        marked = [line for line in done.output.splitlines() if line.startswith("FOUND ")]
        found = [json.loads(line.removeprefix("FOUND ")) for line in marked]
        if done.code:
            reason = f"stopped after {timeout:.0f} s" if done.code == TIMEOUT else f"exit code {done.code}"
            raise ChildError(f"{reason}: {done.last_line}", found)
        return found

    def run(self, *flags: str, timeout: float = 240, **environment: str) -> Done:
        """Run the command line as a user does, into a new folder."""
        out = self.folder / f"run{len(list(self.folder.iterdir()))}"
        command = [sys.executable, "run.py", f"--output_dir={out}", f"--weights={self.weights}", *flags]
        hidden = {} if self.has_gpu else SETTINGS["CPU"]
        done = self.process(command, timeout=timeout, **(hidden | environment))
        return dataclasses.replace(done, folder=out)

    def process(self, command: list[str], *, timeout: float, **environment: str) -> Done:
        """Run a program to its end; what it says on both streams is kept."""
        import time

        start = time.monotonic()
        try:
            found = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
            return Done(found.returncode, found.stdout, time.monotonic() - start)
        except subprocess.TimeoutExpired as error:
            return Done(TIMEOUT, (error.stdout or b"").decode(errors="replace"), time.monotonic() - start)

    def picture(self, name: str, side: int) -> str:
        """Return a picture of `examples` as a file whose longest side is `side` pixels."""
        from PIL import Image

        path = self.folder / f"{name}-{side}.png"
        if not path.exists():
            with Image.open(ROOT / "examples" / f"{name}.jpg") as image:
                scale = side / max(image.size)
                size = tuple(max(1, round(length * scale)) for length in image.size)
                image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(path)
        return str(path)


def row(check: str, found: str, ok: bool | None = None, **figures: Any) -> dict[str, Any]:
    """Return a row of the table, and the figures behind it."""
    return {"check": check, "found": found, "ok": ok, **figures}


def failed(check: str, error: Exception) -> dict[str, Any]:
    """Return the row of a check that could not be made."""
    return row(check, " ".join(str(error).split())[-300:].replace("|", "/"), False)
