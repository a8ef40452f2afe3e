"""Run every benchmark of docs/benchmarks.md at one commit, one after another; takes hours.

    python benchmarks/run_all.py [--only WORD …] [--out FOLDER] [--again] [--list] [--quick]

Each one's output is kept in FOLDER/<commit>/<name>.md, with the command and the machine. The same command
again goes on after the last that was finished; what failed is tried again. What it says as it goes on is in
<name>.log. A working tree with changes is refused, since its figures would belong to no commit.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "step": ("step.py",),
    "style_loss": ("style_loss.py",),
    "directing": ("directing.py",),
    "precision": ("precision.py",),
    "start": ("start.py",),
    "painting": ("painting.py",),
    "painting_float32": ("painting.py", "--precision", "float32"),
    "session": ("session.py",),
    "sweeps": ("sweeps.py",),
    "scale": ("scale.py", "--precision", "auto", "--sizes", "1", "4", "16"),
    "scale_large": ("scale.py", "--precision", "auto", "--sizes", "64", "--tiles", "1024"),
    "scale_out": ("scale_out.py", "--alone", "--precision", "auto"),
    "loss_over_time": (
        *("loss_over_time.py", "--plot", "{folder}/loss_over_time.png"),
        *("--json", "{folder}/loss_over_time.json"),
    ),
    "peers": ("peers.py", "--size", "256", "--plot", "{folder}/peers.png"),
    "video": ("video.py",),
    "video_real": (
        *("video.py", "--clip", "real", "--start", "85", "--size", "224", "--frames", "6", "--still", "0"),
        *("--ways", "each alone", "long-term"),
    ),
    "tradeoff": (
        *("tradeoff.py", "--plot", "{folder}/tradeoff.png", "--size", "256"),
        *("--once", "original", "gatys", "neural-style 0.5.7", "--work", "{folder}/tradeoff"),
    ),
    "contact_sheet": ("contact_sheet.py", "{folder}/contact_sheet.jpg"),
    "sizes": ("sizes.py", "{folder}/sizes.jpg"),
    "strengths": (
        *("contact_sheet.py", "{folder}/strengths.jpg", "--size", "256"),
        *("--strengths", "0", "0.25", "0.5", "0.75", "1"),
    ),
}
"""Name → script and arguments, the shortest first; {folder} is where the outputs are."""


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def is_changed() -> bool:
    """Return whether files differ from those of the commit."""
    return bool(git("status", "--porcelain", "--untracked-files=no"))


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def measure(name: str, folder: Path, commit: str, quick: bool) -> bool:
    """Run one benchmark; keep its output under a name that says whether it was finished."""
    script, *arguments = COMMANDS[name]
    arguments = ["--quick"] if quick else [part.format(folder=folder) for part in arguments]
    command = [sys.executable, f"benchmarks/{script}", *arguments]
    unfinished, start = folder / f"{name}.unfinished.md", time.monotonic()
    log = folder / f"{name}.log"
    with unfinished.open("w", encoding="utf-8") as file, log.open("w", encoding="utf-8") as said:
        shown = shlex.join(command[1:]).replace(f"{ROOT}{os.sep}", "")
        file.write(f"`python {shown}`, at {commit}, on {os.cpu_count()} cores of {processor()}\n\n")
        file.flush()
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=file, stderr=said)
    print(f"| {name} | {time.monotonic() - start:.0f} | {done.returncode} |", flush=True)
    if done.returncode:
        print(log.read_text(encoding="utf-8", errors="replace")[-2000:], file=sys.stderr)
        return False
    unfinished.replace(folder / f"{name}.md")
    return True


def main() -> int:
    """Run what is not finished; return 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--again", action="store_true", help="also what is finished")
    parser.add_argument("--list", action="store_true", help="show the commands only")
    parser.add_argument("--quick", action="store_true", help="the quick form of two, of any working tree")
    options = parser.parse_args()
    if options.list:
        for name in options.only:
            print(f"{name}: python benchmarks/{shlex.join(COMMANDS[name])}")
        return 0
    if options.quick:
        options.only, options.again, options.out = ["style_loss", "precision"], True, options.out / "quick"
    elif is_changed():
        print("the working tree has changes: commit them, so that the figures belong to a commit")
        return 2
    commit = git("rev-parse", "--short", "HEAD")
    folder = (options.out / commit).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print("| benchmark | seconds | exit code |\n|---|---|---|", flush=True)
    wanted = [name for name in options.only if options.again or not (folder / f"{name}.md").exists()]
    if options.again:
        for kept in (*folder.glob("loss_over_time.json"), *folder.glob("tradeoff/*.png")):
            kept.unlink()
    good = []
    for name in wanted:
        if not options.quick and (git("rev-parse", "--short", "HEAD") != commit or is_changed()):
            print(f"the working tree is no longer that of {commit}: measure in a clone that nobody works in")
            return 2
        good.append(measure(name, folder, commit, options.quick))
    print(f"\noutputs are in {folder}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
