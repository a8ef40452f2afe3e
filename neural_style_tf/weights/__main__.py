"""Show what weight files are, or convert one: `python -m neural_style_tf.weights FILE… [--convert OUT]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from neural_style_tf.errors import UserError
from neural_style_tf.weights import Weights
from neural_style_tf.weights.export import check_output, export
from neural_style_tf.weights.provenance import Record
from neural_style_tf.weights.readers import read_with_record
from neural_style_tf.weights.registry import AGREES, OTHER, REVERSED, TRANSPOSED, orientation
from neural_style_tf.weights.structure import CONVOLUTIONS, WIDTHS

_ORIENTATIONS = {
    AGREES: "the published numbers, rows first (not transposed)",
    TRANSPOSED: "the published numbers with rows and columns swapped (TRANSPOSED)",
    REVERSED: "the published numbers with channels reversed (BGR for RGB)",
    OTHER: "not the published numbers",
}


def main(argv: Sequence[str] | None = None, *, widths: Sequence[int] = WIDTHS) -> int:
    """Run the command.

    Args:
        argv: Arguments; the process's own by default.
        widths: Filters of each of the sixteen convolutions; others than VGG-19's own for small tests.

    Returns:
        Exit code: 0, or 2 after a mistake of the user, with one line of error.
    """
    parser = argparse.ArgumentParser(prog="python -m neural_style_tf.weights", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".mat, .h5 or .npz")
    parser.add_argument("--convert", type=Path, metavar="OUT", help="write to OUT.npz, OUT.mat or OUT.h5")
    parser.add_argument("--overwrite", action="store_true", help="let --convert replace a file")
    arguments = parser.parse_args(argv)
    failed = False
    try:
        if arguments.convert:
            _convert(arguments.files, arguments.convert, arguments.overwrite, widths)
            return 0
        for path in arguments.files:
            try:
                print(describe(path, *read_with_record(path, widths=widths, keep=False)))
            except UserError as error:
                failed = True
                print(error, file=sys.stderr)
    except UserError as error:
        failed = True
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2 if failed else 0


def describe(path: Path, weights: Weights, record: Record) -> str:
    """Return what a weight file is, in lines for a terminal.

    Args:
        path: The file.
        weights: Its content.
        record: The file it first came from.

    Returns:
        Several lines.
    """
    kernel = weights.kernels["conv1_1"]
    rows = [
        ("form", record.layout),
        ("origin", f"{weights.origin}, {weights.source}"),
        ("known as", weights.generation or "unknown: not one of the published files"),
        ("SHA-256", record.sha256),
        ("MD5", record.md5),
        ("first layer", _ORIENTATIONS[orientation(kernel)]),
        ("K[0,0,:,0]", _numbers(kernel[0, 0, :, 0])),
        ("K[0,1,:,0]", _numbers(kernel[0, 1, :, 0])),
        ("K[1,0,:,0]", _numbers(kernel[1, 0, :, 0])),
        ("bias[:4]", _numbers(weights.biases["conv1_1"][:4])),
    ]
    rows += [(name, "×".join(map(str, weights.kernels[name].shape))) for name in CONVOLUTIONS]
    rows += [("note", note) for note in weights.notes]
    return "\n".join([str(path), *(f"  {name:<12} {value}" for name, value in rows)])


def _convert(files: Sequence[Path], out: Path, overwrite: bool, widths: Sequence[int]) -> None:
    if len(files) != 1:
        raise UserError(f"--convert takes one file, not {len(files)}")
    check_output(out, overwrite=overwrite)
    weights, record = read_with_record(files[0], widths=widths, keep=False)
    export(weights, record, out, overwrite=overwrite)
    for note in weights.notes:
        print(note, file=sys.stderr)
    print(f"{out}: written from {files[0]}")


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.8f}" for value in values) + ")"


if __name__ == "__main__":
    sys.exit(main())
