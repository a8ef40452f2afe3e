"""Check a GPU, time it, and try what goes wrong with one.

    python benchmarks/gpu.py [--device gpu|cpu] [--parts right fast sturdy] [--weights bundled]
                             [--json FILE] [--seconds 480] [--quick]

right   losses, gradients and solvers against the CPU; tiles, replicas and --deterministic
fast    time of an iteration, memory, the largest picture in one piece, and a whole run
sturdy  a card that is full, slow to compile for, unusable or shared

Each row is a check: what was found, and whether that is as it should be. Rows without a verdict are
figures. Every check has processes of its own, so that none spoils the next. `--device cpu` runs what a CPU
can, with the same code, to prove the script. The exit code is 1 if any check failed.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

from common import print_header, print_row, read_options, scratch
from gpu_checks import fast, right, sturdy
from gpu_checks.bench import Bench

PARTS = {"right": right.checks, "fast": fast.checks, "sturdy": sturdy.checks}


def card() -> str:
    """Return the card's name and driver, as the driver's own tool gives them."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "no NVIDIA GPU"


def main() -> None:
    """Run the parts and print the table."""
    options = read_options(__doc__, device="gpu", parts=PARTS, weights="bundled", json=Path, seconds=480.0)
    print(f"Card: {card()}. Python {platform.python_version()}.\n")
    print_header("part", "check", "found", "verdict")
    began, rows = time.monotonic(), []
    with scratch() as folder:
        has_gpu = options.device == "gpu" and not options.quick
        bench = Bench(folder, has_gpu, options.weights, options.quick)
        checks = [(part, check) for part in options.parts for check in PARTS[part](bench)]
        for name, check in checks:
            if time.monotonic() - began > options.seconds:
                print_row(name, "not begun: out of time", "", "")
                continue
            begun = time.monotonic()
            for row in check():
                rows.append({"part": name, "after": time.monotonic() - begun, **row})
                verdict = {True: "good", False: "BAD", None: ""}[row["ok"]]
                print_row(name, row["check"], row["found"], verdict)
            if options.json:
                options.json.write_text(json.dumps({"card": card(), "rows": rows}, indent=2) + "\n")
    bad = sum(row["ok"] is False for row in rows)
    print(f"\n{bad} of {sum(row['ok'] is not None for row in rows)} checks failed.")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
