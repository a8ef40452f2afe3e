"""How long the scales of a run take to begin: with one compiled step for all, and with one for each.

    python benchmarks/start.py [--size 384] [--steps 8] [--rounds 2] [--quick]

And with one for all that TensorFlow's optimiser of graphs has not seen. Each is a process of its own, in
turn; `balanced`, a few steps at each scale. What a scale begins with is all but its steps: tracing,
compiling, the targets. The last column is the time of one step at the last scale.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from neural_style_tf.utils.runtime import start_tensorflow

KINDS = {"one": "one", "each": "one for each scale", "traced": "one, as traced"}


def child(kind: str, size: int, steps: int) -> None:
    """Paint, and print the seconds after which each record came, by scale."""
    start_tensorflow()
    import tensorflow as tf

    from neural_style_tf import Inputs, Session, load_image
    from neural_style_tf.config.presets import preset
    from neural_style_tf.transfer import session as runs
    from neural_style_tf.weights.resolve import load_weights

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": kind == "traced"})
    if kind == "each":
        runs.serves_all_sizes = lambda config: False
    paths = [ROOT / "examples" / f"{name}.jpg" for name in ("chelsea", "strokes")]
    pictures = [load_image(path, longest=size, enlarge=True).pixels for path in paths]
    settings = {"image_size": 0, "save_every": 0, "log_every": 1, "convolution": "direct"}
    config = preset("balanced").replace(**settings, iterations=steps, scale_iterations=(steps,) * 3)
    session, seconds = Session(load_weights("bundled")), {}
    begun = time.perf_counter()
    for record in session.run(Inputs(*pictures), config):
        seconds.setdefault(record.scale, []).append(time.perf_counter() - begun)
    print(json.dumps(list(seconds.values())))


def measure(kind: str, size: int, steps: int) -> tuple[float, float]:
    """Return the seconds that all scales take to begin, and those of a step at the last one."""
    command = [sys.executable, __file__, "--child", kind, "--size", str(size), "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    scales = json.loads(done.stdout.splitlines()[-1])
    paces = [statistics.median(b - a for a, b in itertools.pairwise(s[1:])) for s in scales]
    # The steps at the pace of all but the first, which compiles.
    stepping = sum(pace * steps for pace in paces)
    return scales[-1][-1] - stepping, paces[-1]


def main() -> None:
    """Measure all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny picture, to see that this script works")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.size, options.steps)
        return
    size, steps, rounds = (64, 3, 1) if options.quick else (options.size, options.steps, options.rounds)
    found = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            found[kind].append(measure(kind, size, steps))
    print("| compiled steps | seconds that all scales take to begin | s/step at the last |\n|---|---|---|")
    for kind, words in KINDS.items():
        begin, pace = (min(values) for values in zip(*found[kind], strict=True))
        print(f"| {words} | {begin:.1f} | {pace:.3f} |")


if __name__ == "__main__":
    main()
