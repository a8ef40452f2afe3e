"""How near the losses and gradients of each precision are to those in float32.

    python benchmarks/precision.py [--pairs coffee:starry_night …] [--size 320] [--quick]

Of the objective of `original`, at noise and at the content picture: the cosine between a gradient and the one
in float32 with convolutions as defined, and how much the total loss differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from loss_over_time import PAIRS

from neural_style_tf.utils.runtime import start_tensorflow

VARIANTS = [(precision, method) for precision in ("float32", "bfloat16") for method in ("direct", "winograd")]


def cosine(one: object, other: object) -> float:
    """Return the cosine of the angle between two tensors."""
    import numpy as np

    one, other = (np.asarray(tensor, np.float64).ravel() for tensor in (one, other))
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def evaluate(pair: str, size: int, init: str, weights: object) -> dict[str, tuple[float, object]]:
    """Return variant → (total loss, gradient) of one pair's initial image."""
    from neural_style_tf import Config, load_image
    from neural_style_tf.transfer.session import make_solver

    paths = [ROOT / "examples" / f"{name}.jpg" for name in pair.split(":")]
    found = {}
    for precision, convolution in VARIANTS:
        pictures = [load_image(path, longest=size).pixels for path in paths]
        config = Config(image_size=size, init=init, precision=precision, convolution=convolution)
        solver = make_solver(pictures, config, weights)
        solver.start()
        found[f"{precision}, {convolution}"] = solver.losses["total"], solver.state["gradient"].numpy()
    return found


def main() -> None:
    """Compare on every pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=PAIRS)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--quick", action="store_true", help="one tiny pair")
    options = parser.parse_args()
    start_tensorflow()
    from neural_style_tf.weights.resolve import load_weights

    weights = load_weights("bundled")
    pairs, size = (PAIRS[:1], 48) if options.quick else (options.pairs, options.size)
    print("| pair | from | precision | cosine | loss |\n|---|---|---|---|---|")
    for pair in pairs:
        for init in ("noise", "content"):
            (total, gradient), *others = (found := evaluate(pair, size, init, weights)).values()
            for name, (loss, other) in zip(list(found)[1:], others, strict=True):
                row = f"{cosine(gradient, other):.5f} | {100 * (loss / total - 1):+.3f} %"
                print(f"| {pair} | {init} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
