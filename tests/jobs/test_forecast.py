"""What earlier runs say of the next one: before it begins, and only if it is of their kind."""

import json
import re

import pytest

from neural_style_tf.jobs.forecast import MOST_KINDS
from neural_style_tf.utils import runtime

RUN = ("--scales=2", "--scale_iterations=2", "--iterations=2", "--log_every=1", "--overwrite")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Return a function that reads the file of times: kind → times."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def read():
        path = tmp_path / "cache/neural-style-tf/times.json"
        return path, json.loads(path.read_text())

    return read


def test_the_second_run_begins_with_how_long_it_will_take(job, kept, capsys):
    assert job(*RUN) == 0
    assert "earlier runs" not in capsys.readouterr().out
    _, kinds = kept()
    [(start, pixels, steps, beginnings)] = kinds.values()
    assert pixels == [24 * 32, 48 * 64] and start > 0 and len(steps) == len(beginnings) == 2
    assert job(*RUN) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(r"about 0:\d\d, as earlier runs on this machine took", first)
    assert len(kept()[1]) == 1
    # Of another kind; and one that goes on.
    for flags in (("--resume", "--nooverwrite", "--iterations=3"), ("--optimizer=lbfgs",)):
        assert job(*RUN, *flags) == 0
        assert "earlier runs" not in capsys.readouterr().out
    assert len(kept()[1]) == 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"KIND": 1}', '{"KIND": [1, [1], [-1], [1]]}'])
def test_a_file_that_is_none_is_replaced(job, kept, capsys, text):
    job(*RUN)
    path, kinds = kept()
    path.write_text(text.replace("KIND", *kinds))
    capsys.readouterr()
    assert job(*RUN) == 0
    assert "earlier runs" not in capsys.readouterr().out
    assert kept()[1].keys() == kinds.keys()


def test_the_oldest_kinds_go(job, kept):
    job(*RUN)
    path, kinds = kept()
    path.write_text(json.dumps({str(number): [] for number in range(MOST_KINDS)}))
    job(*RUN)
    assert list(kept()[1]) == [*map(str, range(1, MOST_KINDS)), *kinds]


@pytest.mark.parametrize("text", ["processor: 0\nmodel name: another\n", None])
def test_another_processor_is_of_another_kind(job, kept, tmp_path, monkeypatch, text):
    """Also where the system does not name it."""
    job(*RUN)
    if text:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(runtime, "_CPUINFO", tmp_path / "cpuinfo")
    job(*RUN)
    assert len(kept()[1]) == 2


def test_nothing_is_kept_with_nocache(job, tmp_path, kept):
    assert job(*RUN, "--nocache") == 0
    assert not (tmp_path / "cache").exists()
