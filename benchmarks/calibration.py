"""How large the losses of a network are, beside those that neural-style prints for VGG-19.

    python benchmarks/calibration.py [--content tubingen.jpg] [--style seated-nude.jpg] [--weights bundled]

The INSTALL.md of jcjohnson/neural-style prints the losses of iteration 1 for these two pictures, 512 pixels
long, with an image of mean colour and faint noise (0.001): the mean squared difference of features at
relu4_2, and of Gram matrices divided by their number of elements. Published loss weights depend on these
magnitudes, so the bundled VGG-16 is rescaled until it has them. Exit code 1 if one differs by more than 5 %;
relu1_1, which is not rescaled, by more than 15 %: two networks, trained apart, agree no better there.
"""

from __future__ import annotations

import sys

import numpy as np
from common import load_pair, print_header, print_row, read_options, settings, start

import neural_style_tf as nst

PUBLISHED = {
    "content/relu4_2": 418_236.0,
    "style/relu1_1": 300.2,
    "style/relu2_1": 7003.5,
    "style/relu3_1": 1530.3,
    "style/relu4_1": 124_046.0,
    "style/relu5_1": 6.569,
}
TOLERANCE, UNSCALED = 0.05, {"style/relu1_1": 0.15}
MEAN_RGB = (123.68, 116.779, 103.939)


def main() -> int:
    """Measure and compare; return the exit code."""
    quick = {"content": "chelsea", "style": "starry_night", "size": 64}
    options = read_options(
        __doc__, quick, content="tubingen.jpg", style="seated-nude.jpg", weights="bundled", size=512
    )
    start()
    pictures = load_pair(f"{options.content}:{options.style}", options.size)
    noise = np.random.default_rng(0).standard_normal(pictures[0].shape, np.float32)
    initial = np.asarray(MEAN_RGB, np.float32) + np.float32(0.001) * noise
    config = settings("original", content_weight=1, style_weight=1, tv_weight=0)
    record = next(nst.stylize(*pictures, config, weights=nst.load_weights(options.weights), initial=initial))
    ratios = {name: record.terms[name] / published for name, published in PUBLISHED.items()}
    print_header("loss", "published", "measured", "ratio")
    for name, published in PUBLISHED.items():
        print_row(name, f"{published:,.5g}", f"{record.terms[name]:,.5g}", f"{ratios[name]:.3f}")
    off = [name for name, ratio in ratios.items() if abs(ratio - 1) > UNSCALED.get(name, TOLERANCE)]
    return 0 if options.quick else int(bool(off))


if __name__ == "__main__":
    sys.exit(main())
