"""Serve the page, or run one command line, on the narrow network; a process of its own."""

import functools
import os
import sys
import tempfile
from pathlib import Path

from command_line import WEIGHTS_DIR
from narrow import make_narrow_weights
from painters import FakePainter

from neural_style_tf.app.__main__ import prepare_environment
from neural_style_tf.cli import main
from neural_style_tf.jobs import machine
from neural_style_tf.jobs.painter import Painter


def use_narrow_weights():
    weights = make_narrow_weights()
    machine.load_weights = lambda *given, **named: weights


def narrow_painter():
    """Return a painter for the worker process of the page."""
    use_narrow_weights()
    return Painter()


PAINTERS = {
    "narrow": narrow_painter,
    "fake": functools.partial(FakePainter, 1.0),
    "fast": functools.partial(FakePainter, 0.1),
}


def serve(output_dir, port, painter, *options):
    """Serve until standard input ends."""
    with tempfile.TemporaryDirectory() as temporary:
        prepare_environment(os.environ, temporary)
        from neural_style_tf.app.page import Page
        from neural_style_tf.app.queue import RunQueue
        from neural_style_tf.config.schema import Job

        base = Job(output_dir=output_dir, weights="bundled", weights_dir=str(WEIGHTS_DIR))
        page = Page(base, Path(temporary), lambda: RunQueue(PAINTERS[painter]))
        try:
            named = dict(option.split("=", 1) for option in options)
            sys.stdout.write(page.launch(int(port), **named) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            # Or the process that paints would wait for this one, and this one for it.
            page.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        use_narrow_weights()
        sys.exit(main.run(["run.py", *sys.argv[2:]]))
