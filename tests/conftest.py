"""Fixtures shared by all tests: a narrow VGG-19 and small pictures."""

import atexit
import contextlib
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Side by side: threads that wait for work would take the processor from the other processes.
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
# A command line run in this process would set it to 1 for the whole process: eager convolutions of later
# tests would then reuse the filters of the first. `harness.py` runs with 1, as users do.
os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = "0"

# Nothing is kept between the tests: where the folder would be, there is a file.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="neural-style-tf-")
Path(os.environ["XDG_CACHE_HOME"], "neural-style-tf").touch()
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

from neural_style_tf.utils.runtime import prefer_onednn, use_tensorflow_backend

# As the command line does, whose bits are compared with those of this process.
prefer_onednn()
use_tensorflow_backend()

import numpy as np
import pytest
from command_line import SMALL, with_usual, write_pictures
from harness import Warm
from narrow import make_narrow_weights, warm_session

# What was imported stays: the collector need not look through it at each trace.
gc.freeze()
gc.set_threshold(100_000, 20, 100)

LAYERS = r"--(sweep=)?(content_layers|style_layers|preset|flagfile|from_run)\b"
"""Flags that decide the layers of a run."""

# Started in the background of a shell, the suite would hand down that Ctrl-C is ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        # As `start_tensorflow` does: the same bits on a processor, and graphs that are made sooner.
        tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session")
def narrow_weights():
    return make_narrow_weights()


@pytest.fixture(scope="session")
def pictures():
    """Return a content picture 40×48 and a style picture of another shape, smooth with some noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:40, 0:48]
    content = np.stack([5 * y, 5 * x, 3 * (x + y) % 256], -1) + rng.uniform(0, 20, (40, 48, 3))
    style = rng.uniform(0, 255, (33, 51, 3))
    return np.clip(content, 0, 255).astype(np.float32), style.astype(np.float32)


@pytest.fixture
def put_back():
    """Turn TensorFlow's determinism off again; there is no public way."""
    from tensorflow.python.framework import config

    yield config.is_op_determinism_enabled
    config.disable_op_determinism()


@pytest.fixture(scope="session")
def warm_process(tmp_path_factory):
    """A process that has imported TensorFlow and forks a real run on demand."""
    process = Warm(tmp_path_factory.mktemp("warm"))
    yield process
    process.close()


@pytest.fixture
def real_job(tmp_path, monkeypatch):
    """Return a function that runs the command line in a folder with two pictures, on the bundled network.

    Its attribute `bare` adds no flags.
    """
    from neural_style_tf.cli import main
    from neural_style_tf.utils import runtime

    # TensorFlow has started here: no run of this process needs one beside it that shows its last words.
    monkeypatch.setattr(runtime, "_stderr_held_back", contextlib.nullcontext)
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path)

    def run(*arguments):
        return main.run(["run.py", *with_usual(arguments)])

    run.bare = lambda *arguments: main.run(["run.py", *arguments])
    return run


@pytest.fixture
def job(real_job, narrow_weights, monkeypatch):
    """Return `real_job` on the narrow network in a warm session, for all about files and messages.

    Without flags that name layers, the run has those of `SMALL`.
    """
    from neural_style_tf.jobs import machine

    monkeypatch.setattr(machine, "load_weights", lambda *given, **named: narrow_weights)

    def session(shared):
        assert shared.cluster.replicas == 1
        return warm_session(narrow_weights)

    monkeypatch.setattr(machine.Machine, "session", session)

    def run(*arguments):
        names_layers = any(re.match(LAYERS, argument) for argument in arguments)
        return real_job(*(() if names_layers else SMALL), *arguments)

    run.bare = real_job.bare
    return run
