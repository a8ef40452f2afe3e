"""Serve the page on the narrow network, or run one command line on it; a process of its own."""

import os
import sys
import tempfile
from pathlib import Path

from command_line import WEIGHTS_DIR
from narrow import make_narrow_weights

from neural_style_tf.app.__main__ import prepare_environment
from neural_style_tf.cli import main
from neural_style_tf.jobs import machine
from neural_style_tf.jobs.painter import Painter


def narrow_painter():
    """Return a painter for the worker process of the page."""
    use_narrow_weights()
    return Painter()


def use_narrow_weights():
    weights = make_narrow_weights()
    machine.load_weights = lambda *given, **named: weights


def serve(output_dir, port, *hosts):
    """Serve until standard input ends, under further names."""
    with tempfile.TemporaryDirectory() as temporary:
        prepare_environment(os.environ, temporary, share=False)
        from neural_style_tf.app.page import Page
        from neural_style_tf.app.queue import RunQueue
        from neural_style_tf.app.requests import Place

        page = Page(
            Place(Path(output_dir), "bundled", str(WEIGHTS_DIR)), Path(temporary), RunQueue(narrow_painter)
        )
        try:
            address = page.launch("127.0.0.1", int(port), browser=False, share=False, hosts=hosts)
            sys.stdout.write(f"{address}\n")
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
