"""A fixed sample of `benchmarks/fuzz.py`, and that it would notice what it looks for."""

import json
import subprocess
import sys

import pytest
from fuzzing import hdf5, originals, workers
from fuzzing.originals import PICTURES, WEIGHTS
from paths import ROOT

from neural_style_tf.weights import _sandbox_worker, sandbox

KINDS = (*WEIGHTS, *PICTURES)


def test_a_sample_is_accepted_or_refused_in_one_line():
    """In a process of its own, which forks: this one may have TensorFlow's threads."""
    done = subprocess.run(
        [sys.executable, "benchmarks/fuzz.py", "--weights=150", "--pictures=240", "--through=0", "--seed=7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()[2:11]]
    assert [row[0] for row in rows] == list(KINDS)
    for row in rows:
        cases, accepted, refused = map(int, row[1:4])
        assert cases == accepted + refused == (50 if row[0] in WEIGHTS else 40)
        # Were nothing accepted, the changes would be too coarse to reach anything.
        assert min(accepted, refused) > 2, row


@pytest.mark.parametrize("kind", KINDS)
def test_originals_are_good_and_cases_repeat(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sandbox, "run_child", lambda request, out, wait: _sandbox_worker.convert(request, out)
    )
    path = tmp_path / f"a.{kind}"
    for data in originals.undamaged(kind):
        path.write_bytes(data)
        assert workers.attempt(kind, path, originals.random.Random(2)) == ("accepted", "")
    cases = [originals.case(kind, 3, number) for number in range(20)]
    assert cases == [originals.case(kind, 3, number) for number in range(20)]
    assert len({*cases, *originals.undamaged(kind)}) > len(originals.undamaged(kind)) + 10
    assert cases[0] != originals.case(kind, 4, 0)


def test_checksum_of_hdf5():
    assert hdf5.lookup3(b"") == 0xDEADBEEF
    assert hdf5.lookup3(b"Four score and seven years ago") == 0x17770551  # from the author's own test
    modern = hdf5.take_apart(originals.undamaged("h5")[-1])
    assert sum(block.sealed for block in modern.blocks) > 40


@pytest.mark.slow
def test_what_goes_wrong_is_noticed():
    script = """
import os, sys, time
sys.path.insert(0, "benchmarks")
from fuzzing import workers
import fuzz

def attempt(kind, path, rng):
    number = attempt.number = attempt.number + 1
    if number == 1:
        os.kill(os.getpid(), 11)
    if number == 2:
        time.sleep(60)
    if number == 3:
        b"x" * 1_200_000_000
    if number == 4:
        os.system("true")
    if number == 5:
        os.write(2, b"libsomething: warning")
    if number == 6:
        return "traceback", "KeyError: 1"
    return "accepted", ""

numbers = list(range(1, 8))
def case(kind, seed, number):
    attempt.number = number - 1
    return b"x"

workers.attempt, workers.case, workers.HANG = attempt, case, 12.0
tally, contained = fuzz.Tally("png"), fuzz.Tally("mat")
for outcome in workers.run("png", 0, numbers):
    tally.add(outcome)
    contained.add(outcome)
import json
print(json.dumps([tally.counts, [o.number for o in tally.bad], contained.counts, tally.row()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    counts, bad, contained_counts, row = json.loads(done.stdout)
    assert bad == [1, 2, 3, 4, 5, 6]
    for name in ("crashes", "hangs", "memory over", "executed", "stray lines", "tracebacks"):
        assert counts[name] == 1, name
    assert (counts["cases"], counts["accepted"]) == (7, 4)
    assert row.startswith("| png | 7 | 4 | 0 | 0 | 1 | 1 | 1 | 1 | 1 | 1 | ")
    # A reader in a process of its own may die or print; that is a refusal.
    assert (contained_counts["reader died"], contained_counts["refused"]) == (2, 2)
    assert not contained_counts.get("crashes")
    assert not contained_counts["stray lines"]
