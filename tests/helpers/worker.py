"""A worker process: the command line on the narrow network.

`--seed_of_weights=N` makes it another one; `--tile_for_memory=N` is what its memory would suffice for.
"""

import sys

from narrow import make_narrow_weights

from neural_style_tf.cli import main
from neural_style_tf.jobs import machine


def take(name):
    """Remove a flag of this file's own from the arguments; return its value or 0."""
    [*found] = [argument for argument in sys.argv if argument.startswith(f"--{name}=")]
    sys.argv = [argument for argument in sys.argv if argument not in found]
    return int(found[0].partition("=")[2]) if found else 0


if __name__ == "__main__":
    weights = make_narrow_weights(seed=take("seed_of_weights"))
    machine.load_weights = lambda *given, **named: weights
    if tile := take("tile_for_memory"):
        from neural_style_tf.tiling import planner

        planner.choose_tile = lambda *given: tile
    sys.exit(main.run(sys.argv))
