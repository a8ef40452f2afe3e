"""The commands `neural-style-tf` and `neural-style-tf-evaluate`: flags and main functions."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from neural_style_tf.utils.runtime import missing_package


def start() -> int:
    """Paint, and return the exit code. This is the entry point of `run.py` and `neural-style-tf`.

    Until `main.run` handles signals, Ctrl-C has the system's default action: it ends the process. Python's
    own handler would raise KeyboardInterrupt, which an import may swallow.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def load() -> Callable[[], int]:
        from neural_style_tf.cli.main import run

        return run

    return _run(load)


def start_evaluation() -> int:
    """Measure paintings, and return the exit code. This is the entry point of `neural-style-tf-evaluate`."""

    def load() -> Callable[[], int]:
        from neural_style_tf.cli.evaluate import run

        return run

    return _run(load)


def _run(load: Callable[[], Callable[[], int]]) -> int:
    """Call the function that `load` imports, and return its exit code.

    If a package is missing, print how to install it, and return 2.
    """
    try:
        run = load()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "neural_style_tf":
            raise
        # For example `run.py` of a checkout, run by a Python without the required packages.
        sys.stderr.write(f"neural-style-tf: {missing_package(package)}\n")
        return 2
    return run()
