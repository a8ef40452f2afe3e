"""The command line lets oneDNN keep filters: what is multiplied by anew each time must not be kept."""

import json
import subprocess
import sys

import pytest
from command_line import environment
from paths import ROOT

SCRIPT = """
import json, sys
import numpy as np
from narrow import SHALLOW, make_narrow_weights
from neural_style_tf import Inputs, Session
from neural_style_tf.config.schema import Config
from neural_style_tf.transfer.masks import Masks
content, *styles = np.random.default_rng(0).uniform(0, 255, (3, 32, 48, 3)).astype(np.float32)
ramp = np.tile(np.linspace(0, 1, 48, dtype=np.float32), (32, 1))
# A hard border between the columns of deep layers; a soft one; and none.
left = np.where(ramp < 0.5, np.float32(1), np.float32(0))
masks = {"hard": left, "border": np.clip(4 * ramp - 1.5, 0, 1), "soft": ramp}
session = Session(make_narrow_weights(divisor=2))
for case in sys.argv[1:]:
    loss, _, guided = case.partition(", ")
    inputs = Inputs(content, styles[0])
    if guided:
        inputs = Inputs(content, tuple(styles), masks=Masks((masks[guided], 1 - masks[guided])))
    config = Config(
        **SHALLOW,
        style_loss=loss,
        content_loss="relative",
        log_every=5,
        tv_weight=0.0,
        learning_rate=2.0,
        iterations=20,
    )
    steps = session.run(inputs, config)
    print(json.dumps([record.terms["total"] for record in steps]))
"""
CASES = ("mean", "moments", "wasserstein", "moments, hard", "moments, border", "moments, soft")
"""Each kind of statistics once: `gatys` and `relative` multiply Gram matrices as `mean` does. And regions."""


@pytest.fixture(scope="module")
def totals():
    """Totals of a few steps of each case, where filters are kept and where they are not."""
    found = {}
    for kept in ("1", "0"):
        variables = environment(
            TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=kept, PYTHONPATH=f"{ROOT}:{ROOT / 'tests/helpers'}"
        )
        command = [sys.executable, "-c", SCRIPT, *CASES]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        found[kept] = dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_runs_are_the_same_where_filters_are_kept(totals, case):
    assert totals["1"][case] == pytest.approx(totals["0"][case], rel=1e-3)
