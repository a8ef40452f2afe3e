"""Small pictures, processes of the command line, and what they wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from paths import ROOT
from PIL import Image

WEIGHTS_DIR = ROOT / "weights"
"""The checkout's own, so that the bundled network is converted once and not by every test."""
BUNDLED = ("--weights=bundled", f"--weights_dir={WEIGHTS_DIR}")
USUAL = ("--content=c.png", "--style=s.png", *BUNDLED)
SMALL = ("--content_layers=relu2_1", "--style_layers=relu1_1,relu2_1")
"""Two blocks of the network, so that a process of its own is over in seconds."""


def with_usual(arguments, usual=USUAL):
    """Return the usual arguments without those that are given or swept, then these."""
    given = {name_of(argument.removeprefix("--sweep=")) for argument in arguments}
    return [*(one for one in usual if name_of(one) not in given), *arguments]


def name_of(argument):
    return argument.removeprefix("--").partition("=")[0]


def write_picture(path, shape=(48, 64), seed=0):
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3)).astype(np.uint8)
    Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def write_pictures(folder):
    """Write c.png and s.png."""
    write_picture(Path(folder, "c.png"))
    write_picture(Path(folder, "s.png"), (40, 50), seed=1)


def read_metrics(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def environment(**changes):
    """Return the variables of a user's process: without those that `conftest.py` sets for the tests'."""
    own = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"}
    return {name: value for name, value in os.environ.items() if name not in own} | changes


def spawn(folder, *arguments, **options):
    """Start a process of the command line."""
    command = [sys.executable, str(ROOT / "run.py"), *with_usual(arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()}
    return subprocess.Popen(command, cwd=folder, **pipes | options)
