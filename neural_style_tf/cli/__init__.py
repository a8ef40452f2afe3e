"""The commands `neural-style-tf` and `neural-style-tf-evaluate`: flags and main functions."""

from __future__ import annotations

import importlib
import signal
import sys

from neural_style_tf.utils.runtime import missing_package


def start() -> int:
    """Paint, and return the exit code. This is the entry point of `run.py` and `neural-style-tf`.

    Until `main.run` handles signals, Ctrl-C has the system's default action: it ends the process. Python's
    own handler would raise KeyboardInterrupt, which an import may swallow.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _run("main")


def start_evaluation() -> int:
    """Measure paintings, and return the exit code. This is the entry point of `neural-style-tf-evaluate`."""
    return _run("evaluate")


def _run(module: str) -> int:
    """Call `run` of a module of this package. If another package is missing, say so, and return 2."""
    try:
        run = importlib.import_module(f"{__name__}.{module}").run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "neural_style_tf":
            raise
        # For example `run.py` of a checkout, run by a Python without the required packages.
        sys.stderr.write(f"neural-style-tf: {missing_package(package)}\n")
        return 2
    return run()
