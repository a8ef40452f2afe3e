"""Run every benchmark of docs/benchmarks.md at one commit, one after another; takes hours.

    python benchmarks/run_all.py [--only WORD …] [--out FOLDER] [--quick]

Each one's output is kept in FOLDER/<commit>/<name>.md, with the command and the machine. The same command
again goes on after the last that was finished; what failed is tried again. Messages go to <name>.log. A
working tree with changes is refused, since its figures would belong to no commit.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from common import ROOT, print_header, print_row, read_options

from neural_style_tf.utils.runtime import processor

COMMANDS = {
    "step": ("step.py",),
    "style_loss": ("step.py", "style_loss", "--sizes", "256", "512"),
    "directing": ("step.py", "directing", "--sizes", "256", "512"),
    "precision": ("precision.py",),
    "painting": ("painting.py",),
    "painting_float32": ("painting.py", "--precision", "float32"),
    "session": ("session.py",),
    "sweeps": ("sweeps.py",),
    "scale": ("scale.py", "--precision", "auto", "--sizes", "1", "4", "16"),
    "scale_large": ("scale.py", "--precision", "auto", "--sizes", "64", "--tiles", "1024"),
    "scale_out": ("scale_out.py", "--precision", "auto"),
    "loss_over_time": (
        *("loss_over_time.py", "--plot", "{folder}/loss_over_time.png"),
        *("--json", "{folder}/loss_over_time.json"),
    ),
    "peers": ("peers.py", "--plot", "{folder}/peers.png"),
    "video": ("video.py",),
    "evaluate": ("evaluate.py",),
    "tradeoff": ("tradeoff.py", "--plot", "{folder}/tradeoff.png", "--work", "{folder}/tradeoff"),
    "pairs": ("sheets.py", "pairs", "--out", "{folder}/contact_sheet.jpg"),
    "strengths": ("sheets.py", "strengths", "--out", "{folder}/strengths.jpg"),
    "sizes": ("sheets.py", "sizes", "--out", "{folder}/sizes.jpg"),
}
"""Name → script and arguments, the shortest first; {folder} is where the outputs are."""


def git(*arguments: str) -> str:
    """Return what git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def measure(name: str, folder: Path, commit: str, *, quick: bool) -> int:
    """Run one benchmark; keep its output, and return its exit code."""
    script, *arguments = COMMANDS[name]
    words = [part.format(folder=folder) for part in arguments] + ["--quick"] * quick
    began, part = time.monotonic(), folder / f"{name}.unfinished.md"
    with part.open("w", encoding="utf-8") as file, (folder / f"{name}.log").open("w") as log:
        shown = shlex.join([f"benchmarks/{script}", *words]).replace(f"{ROOT}{os.sep}", "")
        file.write(f"`python {shown}`, at {commit}, on {os.cpu_count()} cores of {processor()}\n\n")
        file.flush()
        command = [sys.executable, f"benchmarks/{script}", *words]
        code = subprocess.run(command, cwd=ROOT, check=False, stdout=file, stderr=log).returncode
    print_row(name, f"{time.monotonic() - began:.0f}", code)
    if not code:
        part.replace(folder / f"{name}.md")
    return code


def main() -> int:
    """Run what is not finished; return 1 if something failed."""
    options = read_options(
        __doc__,
        {"only": ["precision"], "out": ROOT / "build" / "bench-quick"},
        only=COMMANDS,
        out=ROOT / "build" / "bench",
    )
    commit = git("rev-parse", "--short", "HEAD")
    folder = (options.out / commit).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    codes = []
    print_header("benchmark", "seconds", "exit code")
    for name in options.only:
        if (folder / f"{name}.md").exists() and not options.quick:
            continue
        changes = git("status", "--porcelain", "--untracked-files=no")
        if not options.quick and (changes or git("rev-parse", "--short", "HEAD") != commit):
            print(f"the working tree is not that of {commit}: commit, or measure in a clone of its own")
            return 2
        codes.append(measure(name, folder, commit, quick=options.quick))
    print(f"\noutputs are in {folder}")
    return int(any(codes))


if __name__ == "__main__":
    raise SystemExit(main())
