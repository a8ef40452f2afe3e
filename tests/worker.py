"""A worker process: the command line on the narrow network; `--seed_of_weights=N` makes it another one."""

import sys

from narrow import make_narrow_weights

from neural_style_tf import cli

if __name__ == "__main__":
    seeds = [argument for argument in sys.argv if argument.startswith("--seed_of_weights=")]
    weights = make_narrow_weights(seed=int(seeds[0].partition("=")[2]) if seeds else 0)
    cli.load_weights = lambda *given, **named: weights
    sys.exit(cli.run([argument for argument in sys.argv if argument not in seeds]))
