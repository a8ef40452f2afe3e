"""Every failure is one line: what was wrong, and what to do."""

import errno
import os
from types import SimpleNamespace

import pytest
import tensorflow as tf

from neural_style_tf.cli import main
from neural_style_tf.errors import RunError
from neural_style_tf.jobs.error_messages import explain

CASES = [
    (MemoryError(), "out of memory; try --tile=512"),
    (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), "out of memory; try"),
    (
        tf.errors.ResourceExhaustedError(None, None, "o/c.tempstate; No space left on device"),
        "No space left on device while a checkpoint or TensorBoard's file was written; make room",
    ),
    (tf.errors.UnknownError(None, None, "x; File too large"), "File too large while a checkpoint"),
    (tf.errors.InternalError(None, None, "odd\nmore"), "TensorFlow could not go on: odd; what"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room"),
    (FileNotFoundError(errno.ENOENT, "Gone", "o/.partial-result.png-x.png"), "Gone: o; was it moved"),
    (PermissionError(errno.EACCES, "Denied", b"o/x"), "Denied: o/x; make it writable"),
    (OSError("odd"), "odd; what was saved"),
]


@pytest.mark.parametrize(("error", "beginning"), CASES, ids=range(len(CASES)))
def test_a_failure_in_one_line(error, beginning):
    line = explain(error)
    assert line.startswith(beginning) and "\n" not in line and ".partial" not in line


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (tf.errors.UnavailableError(None, None, "Graph execution error:"), "worker 1 does not answer"),
        (PermissionError(errno.EACCES, "Denied", "o/x"), "Denied: o/x; make it writable"),
    ],
)
def test_what_a_run_says_of_its_end_is_told_unless_a_file_is_the_cause(monkeypatch, capsys, cause, line):
    def end():
        raise RunError("worker 1 does not answer any more") from cause

    monkeypatch.setattr(main, "Run", lambda *given: SimpleNamespace(execute=end))
    assert main.run(["run.py", "--content=c.png", "--style=s.png"]) == 1
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_a_bug_is_not_explained_away():
    assert explain(ValueError("bug")) is None and explain(KeyError(os.name)) is None
