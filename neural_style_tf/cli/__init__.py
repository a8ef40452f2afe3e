"""The command lines: flags and the main functions."""

from __future__ import annotations

import importlib
import signal
import sys

from neural_style_tf.utils.runtime import missing_package


def start() -> int:
    """Paint; the entry point of `run.py` and `neural-style-tf`. Return the exit code.

    Until `main.run` takes the signals, Ctrl-C ends the process as the system does it. Python's own handler
    would raise KeyboardInterrupt, which the machinery of imports may swallow.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _run("neural_style_tf.cli.main")


def start_evaluation() -> int:
    """Measure paintings; the entry point of `neural-style-tf-evaluate`. Return the exit code."""
    return _run("neural_style_tf.cli.evaluate")


def _run(module: str) -> int:
    try:
        run = importlib.import_module(module).run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "neural_style_tf":
            raise
        # As a checkout is run by a Python that nothing was installed for.
        sys.stderr.write(f"neural-style-tf: {missing_package(package)}\n")
        return 2
    return run()
