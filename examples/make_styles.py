"""Paint the style pictures of this folder from nothing but a seed: numpy, scipy and pillow.

Usage: ``python examples/make_styles.py [strokes mosaic ink watercolour] [--out FOLDER] [--seed N]``.
Every picture is worked at twice its final size and reduced at the end, which smooths its edges.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from painting.ink import ink
from painting.mosaic import mosaic
from painting.strokes import strokes
from painting.tools import SCALE, Array
from painting.watercolour import watercolour
from PIL import Image

PICTURES = {"strokes": strokes, "mosaic": mosaic, "ink": ink, "watercolour": watercolour}


def save(rgb: Array, path: Path, limit: int = 195_000) -> None:
    """Reduce a picture worked at ``SCALE`` and write it as a JPEG of at most ``limit`` bytes."""
    image = Image.fromarray((np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    image = image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)
    for quality in range(92, 70, -2):
        image.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= limit:
            break
    print(f"{path.name}: {image.width}x{image.height}, {path.stat().st_size // 1024} KiB, quality {quality}")


def main() -> None:
    """Make the pictures named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which of {', '.join(PICTURES)} (default: all)"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    parser.add_argument("--seed", type=int, default=7, help="seed of every random choice")
    args = parser.parse_args()
    for name in args.names or PICTURES:
        save(PICTURES[name](np.random.default_rng(args.seed)), args.out / f"{name}.jpg")


if __name__ == "__main__":
    main()
