"""SIGKILL, SIGINT and SIGTERM at any moment."""

import pytest
from harness import WORKLOADS, half_written
from kills import interrupt_many, kill_many

pytestmark = pytest.mark.faults


def test_killed_runs_end_in_the_same_bits(tmp_path):
    assert [found for found in kill_many(tmp_path, 20, seed=3) if found[2]] == []


def test_killed_clips_end_in_the_same_bits(tmp_path):
    found = kill_many(tmp_path, 20, seed=5, workloads=("clip",), ways=("warm", "file", "file"))
    assert [one for one in found if one[2]] == []


def test_interrupted_runs_save_and_end_in_the_same_bits(tmp_path):
    assert [found for found in interrupt_many(tmp_path, 10, seed=3) if found[2]] == []


@pytest.mark.parametrize("operation", range(1, 14, 2))
def test_killed_while_it_overwrites(warm, place, operation):
    """The folder holds the old run, the new one, or none; it is never one that nobody may use."""
    assert warm.run(*WORKLOADS["adam"], "--output_dir=old", "--overwrite") == 0, warm.said()
    assert warm.run(*WORKLOADS["lbfgs"], "--output_dir=old", "--overwrite", dies_at=operation) == -9
    assert half_written(place / "old") == []
    assert warm.run("--iterations=0", "--output_dir=old", "--overwrite") == 0, warm.said()
