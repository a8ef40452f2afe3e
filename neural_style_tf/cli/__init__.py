"""The command lines: flags and the main functions."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from neural_style_tf.utils.runtime import missing_package


def start() -> int:
    """Paint; the entry point of `run.py` and `neural-style-tf`. Return the exit code.

    Until `main.run` takes the signals, Ctrl-C ends the process as the system does it. Python's own handler
    would raise KeyboardInterrupt, which the machinery of imports may swallow.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def load() -> Callable[[], int]:
        from neural_style_tf.cli.main import run

        return run

    return _run(load)


def start_evaluation() -> int:
    """Measure paintings; the entry point of `neural-style-tf-evaluate`. Return the exit code."""

    def load() -> Callable[[], int]:
        from neural_style_tf.cli.evaluate import run

        return run

    return _run(load)


def _run(load: Callable[[], Callable[[], int]]) -> int:
    """Call the function that `load` imports, unless a package is missing."""
    try:
        run = load()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "neural_style_tf":
            raise
        # As a checkout is run by a Python that nothing was installed for.
        sys.stderr.write(f"neural-style-tf: {missing_package(package)}\n")
        return 2
    return run()
