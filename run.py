"""Run neural style transfer from a checkout: python run.py --content=PHOTO --style=PAINTING."""

import signal
import sys

if __name__ == "__main__":
    # Nobody has compared it with python_requires; without f-strings, which the oldest would not get past.
    if sys.version_info < (3, 11):  # noqa: UP036
        found = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write("neural-style-tf: Python 3.11 or newer is needed, and this is " + found + "\n")
        sys.exit(2)

    # Until the command line takes it, Ctrl-C ends the process at once, without a traceback; see `cli.start`.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from neural_style_tf.cli import start

    sys.exit(start())
