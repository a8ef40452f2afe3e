"""Run neural style transfer from a checkout: python run.py --content=PHOTO --style=PAINTING."""

import sys

if __name__ == "__main__":
    # Nobody has compared it with python_requires; without f-strings, which the oldest would not get past.
    if sys.version_info < (3, 11):  # noqa: UP036
        found = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write("neural-style-tf: Python 3.11 or newer is needed, and this is " + found + "\n")
        sys.exit(2)

    from neural_style_tf.cli import start

    sys.exit(start())
