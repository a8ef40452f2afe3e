"""Every failure is one line: what was wrong, and what to do."""

import errno
import os

import pytest
import tensorflow as tf

from neural_style_tf.failures import explain

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


def test_a_bug_is_not_explained_away():
    assert explain(ValueError("bug")) is None and explain(KeyError(os.name)) is None
