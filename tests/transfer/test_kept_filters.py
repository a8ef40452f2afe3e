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
from neural_style_tf import stylize
from neural_style_tf.config.schema import Config
content, style = np.random.default_rng(0).uniform(0, 255, (2, 32, 48, 3)).astype(np.float32)
weights = make_narrow_weights(divisor=2)
for loss in sys.argv[1:]:
    config = Config(
        **SHALLOW,
        style_loss=loss,
        content_loss="relative",
        log_every=5,
        tv_weight=0.0,
        learning_rate=2.0,
        iterations=20,
    )
    steps = stylize(content, style, config, weights=weights)
    print(json.dumps([record.terms["total"] for record in steps]))
"""
LOSSES = ("mean", "moments", "wasserstein")
"""Each kind of statistics once: `gatys` and `relative` multiply Gram matrices as `mean` does."""


@pytest.fixture(scope="module")
def totals():
    """Totals of a few steps with each loss, where filters are kept and where they are not."""
    found = {}
    for kept in ("1", "0"):
        variables = environment(
            TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=kept, PYTHONPATH=f"{ROOT}:{ROOT / 'tests/helpers'}"
        )
        command = [sys.executable, "-c", SCRIPT, *LOSSES]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        found[kept] = dict(zip(LOSSES, map(json.loads, done.stdout.splitlines()), strict=True))
    return found


@pytest.mark.parametrize("loss", LOSSES)
def test_runs_are_the_same_where_filters_are_kept(totals, loss):
    assert totals["1"][loss] == pytest.approx(totals["0"][loss], rel=1e-3)
