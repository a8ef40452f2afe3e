"""How large the losses of a network are, beside those that neural-style prints for VGG-19.

    python benchmarks/calibration.py tubingen.jpg seated-nude.jpg [--weights bundled]

The INSTALL.md of jcjohnson/neural-style prints the losses of iteration 1 for these two pictures, 512 pixels
long, with an image of mean colour and faint noise (0.001): the mean squared difference of features at
relu4_2, and of Gram matrices divided by their number of elements. Published loss weights depend on these
magnitudes; `weights/structure.py` rescales VGG-16 until it has them. Exit code 1 if one differs by more than
5 %; relu1_1, which is not rescaled, by more than 15 %: two networks, trained apart, agree no better there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

PUBLISHED = {
    "content/relu4_2": 418_236.0,
    "style/relu1_1": 300.2,
    "style/relu2_1": 7003.5,
    "style/relu3_1": 1530.3,
    "style/relu4_1": 124_046.0,
    "style/relu5_1": 6.569,
}
SIZE, TOLERANCE, UNSCALED = 512, 0.05, {"style/relu1_1": 0.15}


def measure(content: Path, style: Path, weights: object, size: int = SIZE) -> dict[str, float]:
    """Return the losses of mean colour and faint noise, by the names of `PUBLISHED`."""
    import numpy as np

    from neural_style_tf import Config, load_image
    from neural_style_tf.models.architecture import MEAN_RGB
    from neural_style_tf.transfer.session import make_solver

    pictures = [load_image(path, longest=size).pixels for path in (content, style)]
    noise = np.random.default_rng(0).standard_normal(pictures[0].shape, np.float32)
    initial = np.asarray(MEAN_RGB, np.float32) + np.float32(0.001) * noise
    config = Config(content_weight=1, style_weight=1, tv_weight=0, image_size=size)
    solver = make_solver(pictures, config, weights, initial=initial)
    solver.start()
    return {name: solver.losses[name] for name in PUBLISHED}


def main() -> int:
    """Measure and compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("content", type=Path, nargs="?")
    parser.add_argument("style", type=Path, nargs="?")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--quick", action="store_true", help="two example pictures, compared with nothing")
    options = parser.parse_args()
    if not options.quick and not options.style:
        parser.error("name both pictures of neural-style, or --quick")
    from neural_style_tf.utils.runtime import start_tensorflow

    start_tensorflow()
    from neural_style_tf.weights.resolve import load_weights

    examples = [ROOT / "examples" / name for name in ("chelsea.jpg", "starry_night.jpg")]
    pair = examples if options.quick else (options.content, options.style)
    measured = measure(*pair, load_weights(options.weights), 64 if options.quick else SIZE)
    print("| loss | published | measured | ratio |\n|---|---|---|---|")
    for name, published in PUBLISHED.items():
        print(f"| {name} | {published:,.5g} | {measured[name]:,.5g} | {measured[name] / published:.3f} |")
    if options.quick:
        return 0
    ratios = {name: measured[name] / value for name, value in PUBLISHED.items()}
    return int(any(abs(ratio - 1) > UNSCALED.get(name, TOLERANCE) for name, ratio in ratios.items()))


if __name__ == "__main__":
    sys.exit(main())
