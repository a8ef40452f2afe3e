"""Run neural style transfer from a checkout: python run.py --content=PHOTO --style=PAINTING."""

import sys

if __name__ == "__main__":
    try:
        from neural_style_tf.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run())
