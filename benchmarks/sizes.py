"""Do a small and a large painting of one pair look alike? Their distances, shrunk to one size.

    python benchmarks/sizes.py [OUT.jpg] [--pairs PHOTO:STYLE …] [--sizes 256 512 …] [--scales 0 3] [--quick]

Each pair is painted at each size, with `balanced` and each number of scales. All results are shrunk to the
smallest size and compared with the first: by Gaussians of layers that no preset takes style from, and by
colours, each as a share of the distance between photo and style picture. 0 is the same painting. Photos are
enlarged where they are too small, style pictures are not, as in a run: beyond their size strokes get smaller.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import distances
from compare import PAIRS, locate
from sheets import sheet

from neural_style_tf.utils.runtime import start_tensorflow

LANCZOS = Image.Resampling.LANCZOS


def paint(session: object, pair: str, size: int, scales: int, *, quick: bool) -> Image.Image:
    """Paint a pair; a photo that is too small is enlarged. Of 0 scales, as the preset has them."""
    from neural_style_tf import Inputs, load_image
    from neural_style_tf.config.presets import preset
    from neural_style_tf.images import to_picture

    content, style = (str(locate(name)) for name in pair.split(":"))
    config = preset("balanced").replace(image_size=0, save_every=0)
    if scales:
        counts = (120, 100, 100, 100)[: scales - 1]
        config = config.replace(scales=scales, scale_iterations=counts)
    if quick:
        config = config.replace(iterations=1, scale_iterations=(1,) * len(config.sizes.scale_iterations))
    pictures = [
        load_image(content, longest=size, enlarge=True).pixels,
        load_image(style, longest=size).pixels,
    ]
    *_, record = session.run(Inputs(*pictures), config)
    return to_picture(record.best)


class Apart:
    """How far paintings of a pair are from the first of them, as shares of how far photo and style are.

    Args:
        pair: `PHOTO:STYLE`.
        first: The painting that others are compared with, at whose size all are.
        features: From `distances.make_features`.
    """

    def __init__(self, pair: str, first: Image.Image, features: Callable) -> None:
        self._features = features
        ends = (Image.open(locate(name)).convert("RGB").resize(first.size) for name in pair.split(":"))
        photo, style = map(self._look, ends)
        self._first = self._look(first)
        self._whole = self._distances(photo, style)

    def __call__(self, painting: Image.Image) -> tuple[float, float]:
        """Return the mean distance by Gaussians of the layers, and that by colours."""
        *layers, colours = self._distances(self._look(painting), self._first) / self._whole
        return float(np.mean(layers)), float(colours)

    def _look(self, picture: Image.Image) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        pixels = np.asarray(picture, np.float32)
        return pixels, self._features(pixels)

    def _distances(self, one: tuple, other: tuple) -> np.ndarray:
        layers = [distances.gaussian_w2(one[1][name], other[1][name]) for name in distances.STYLE_LAYERS]
        return np.array([*layers, distances.colour_distance(one[0], other[0])])


def main() -> None:
    """Paint, compare, print the table, write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--pairs", nargs="+", default=PAIRS[1:4], metavar="PHOTO:STYLE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--scales", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--quick", action="store_true", help="one tiny pair, to see that this script works")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.sizes, options.scales = PAIRS[:1], [48, 64], [0]
    start_tensorflow()
    from neural_style_tf import Session
    from neural_style_tf.weights.resolve import load_weights

    weights = load_weights("bundled")
    features, session, rows = distances.make_features(weights), Session(weights), []
    print("| pair | scales | size | gaussians | colours |\n|---|---|---|---|---|")
    for pair in options.pairs:
        for scales in options.scales:
            shrunk: list[Image.Image] = []
            for size in options.sizes:
                painted = paint(session, pair, size, scales, quick=options.quick)
                if not shrunk:
                    measure = Apart(pair, painted, features)
                shrunk.append(painted.resize(shrunk[0].size if shrunk else painted.size, LANCZOS))
                gaussians, colours = measure(shrunk[-1])
                row = (pair, scales, size, f"{gaussians:.3f}", f"{colours:.3f}")
                print("| " + " | ".join(map(str, row)) + " |", flush=True)
            named = zip(shrunk, options.sizes, strict=True)
            rows.append([(one, f"{pair}, scales {scales}, {size} px") for one, size in named])
    if options.out:
        height = 240
        cells = [
            [(one.resize((round(one.width * height / one.height), height)), text) for one, text in row]
            for row in rows
        ]
        sheet(cells, height).save(options.out, quality=88)


if __name__ == "__main__":
    main()
