"""SIGKILL of a whole sweep, at random moments."""

import contextlib
import random
import signal
import subprocess
import sys

import pytest
from command_line import BUNDLED, environment, write_picture
from harness import differences, half_written, traces
from kills import without_interruptions
from paths import ROOT

pytestmark = pytest.mark.faults

VALUES = [f"style_weight={s},tv_weight={t}" for s in (1, 10) for t in (0, 5, 9)]


def sweep(folder, out):
    command = [sys.executable, str(ROOT / "run.py"), "--content=c.png", "--style=s.png", *BUNDLED]
    command += ["--content_layers=relu1_1", "--style_layers=relu1_1", "--iterations=150", "--log_every=5"]
    command += ["--save_every=5", "--sweep=style_weight=1,10", "--sweep=tv_weight=0,5,9", "--jobs=2"]
    return subprocess.Popen(
        [*command, f"--output_dir={out}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_sweep_killed_three_times_ends_in_the_same_bits(tmp_path):
    write_picture(tmp_path / "c.png")
    write_picture(tmp_path / "s.png", (40, 50), seed=1)
    assert sweep(tmp_path, "whole").wait() == 0
    dice, killed = random.Random(4), 0
    while killed < 3:
        process = sweep(tmp_path, "cut")
        # The first seconds are those of imports.
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(dice.uniform(5, 16)) == 0, "it ended before it was killed"
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    assert killed == 3
    assert sweep(tmp_path, "cut").wait() == 0
    for name in VALUES:
        expected, found = (traces(tmp_path / out / name) for out in ("whole", "cut"))
        # A run whose parent is killed saves before it ends.
        assert differences(expected, without_interruptions(found, expected)) == []
        assert half_written(tmp_path / "cut" / name) == []
