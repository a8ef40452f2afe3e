"""What a process of its own finds about the memory that it holds."""

import os
import subprocess
import sys
from pathlib import Path

from paths import ROOT


def now():
    """Return the bytes this process holds, where there is a /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def number_from(script):
    """Run a script, which may import this module, in a process of its own; return the number it prints."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests/helpers")))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)
