"""Run neural style transfer from a checkout: python run.py --content=PHOTO --style=PAINTING."""

import sys

from neural_style_tf.cli import start

if __name__ == "__main__":
    sys.exit(start())
