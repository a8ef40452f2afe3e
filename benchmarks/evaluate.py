"""How long `neural-style-tf-evaluate` takes for a pair, and each of its measures.

    python benchmarks/evaluate.py [--sizes 512 …] [--pairs 4] [--quick]

A pair has a photo, a style picture and one painting of each of two systems; two controls are measured with
them. Paintings are mixtures of photo and style picture. Each pair has a photo of its own, and all have one
style picture, as in a test set of a paper. `features` is one pass of the network and its statistics.
"""

from __future__ import annotations

import time

import numpy as np
from common import (
    PAIRS,
    load_pair,
    peak_megabytes,
    print_header,
    print_row,
    read_options,
    scratch,
    seconds_of,
    start,
)
from PIL import Image

import neural_style_tf as nst
from neural_style_tf.evaluation.columns import MEASURES
from neural_style_tf.evaluation.comparison import compare
from neural_style_tf.evaluation.looks import Trial, Viewer, judged_size
from neural_style_tf.evaluation.pairs import PairedPainting, System
from neural_style_tf.images import resize


def main() -> None:
    """Measure, and print the tables."""
    options = read_options(__doc__, {"sizes": [64], "pairs": 2}, sizes=[512], pairs=8)
    device = start()
    weights = nst.load_weights("bundled")
    print_header("size", "s/pair", "s/painting", "peak MiB")
    tables = []
    for size in options.sizes:
        photo, style = (
            resize(side, judged_size(side.shape, size)) for side in load_pair(PAIRS[0], size, enlarge=True)
        )
        viewer = Viewer(weights)
        viewer.look(photo)
        seconds = {"features": seconds_of(lambda: viewer.look(photo))}  # noqa: B023 - called at once
        seen = viewer.look(photo), viewer.look(style)
        mixture = 0.5 * photo + 0.5 * resize(style, photo.shape[:2])
        look = viewer.look(mixture)
        for measure in MEASURES:
            # What one measure has computed is not there for the next.
            trial = Trial(look, *seen)
            seconds[measure.name] = seconds_of(lambda: measure.function(trial))  # noqa: B023
        tables.append((size, seconds))
        with scratch() as folder:
            paintings = []
            files = {"style": style}
            for number in range(options.pairs):
                files[f"photo{number}"] = np.roll(photo, 5 * number, 1)
                for name, share in (("near", 0.3), ("far", 0.7)):
                    mixture = (1 - share) * files[f"photo{number}"] + share * resize(style, photo.shape[:2])
                    files[f"{name}{number}"] = mixture
                    paths = [folder / f"{one}.png" for one in (f"{name}{number}", f"photo{number}", "style")]
                    paintings.append(PairedPainting(System(name), *paths))
            for name, pixels in files.items():
                Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(folder / f"{name}.png")
            begun = time.perf_counter()
            compare(paintings, viewer, size=size)
            took = time.perf_counter() - begun
        each = took / options.pairs
        print_row(size, f"{each:.3g}", f"{each / 2:.3g}", f"{peak_megabytes():.0f}")
    print()
    print_header("part", *(f"s at {size}" for size, _ in tables))
    for part in tables[0][1]:
        print_row(part, *(f"{seconds[part]:.3g}" for _, seconds in tables))
    print(f"\n{options.pairs} pairs, two paintings of each, on {device}.")


if __name__ == "__main__":
    main()
