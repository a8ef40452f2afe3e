"""Read damaged pictures by the thousand, and count what became of them.

    python benchmarks/fuzz.py [--cases 17000] [--seed 0]

Each case is a good picture with a few bytes changed, cut out or repeated; checksums of PNG are repaired, so
that the changes reach the decoder. A case must be accepted, or refused in one line, within 10 seconds, with
1 GB. Exit code 1 if a single one failed; `damaged(format, seed, number)` makes it again.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import resource
import signal
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import ChildError, call, print_header, print_row, read_options
from PIL import Image

from neural_style_tf import load_image
from neural_style_tf.errors import UserError

SECONDS, BYTES = 10, 2**30
FORMATS = {"png": {}, "jpeg": {}, "webp": {}, "tiff": {"compression": "tiff_lzw"}, "gif": {}, "bmp": {}}
MODES = ("RGB", "L", "RGBA", "P")
RESULTS = ("accepted", "refused", "traceback", "crash", "hang")


@functools.cache
def originals(kind: str) -> list[bytes]:
    """Return undamaged pictures of a format, one for each mode that it has."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8).repeat(2, 0)
    good = []
    for mode in MODES:
        file = io.BytesIO()
        with contextlib.suppress(OSError):
            Image.fromarray(pixels).convert(mode).save(file, kind, **FORMATS[kind])
            good.append(file.getvalue())
    return good


def damaged(kind: str, seed: int, number: int) -> bytes:
    """Return a case: the same bytes for the same arguments."""
    rng = random.Random(f"{kind} {seed} {number}")
    data = bytearray(rng.choice(originals(kind)))
    for _ in range(rng.randint(1, 2)):
        # Most formats say at their beginning what they hold.
        at = rng.randrange(min(len(data), rng.choice((64, 512, len(data)))))
        length = rng.choice((1, 2, 4, 4, 64))
        changes = (
            bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 : at + length],
            rng.randbytes(length),
            rng.choice((b"\0", b"\xff", b"\x7f")) * length,
            data[at : at + length] * 2,
            b"",
        )
        data[at : at + length] = rng.choice(changes)
    if not rng.randrange(6):
        del data[rng.randrange(16, len(data)) :]
    return with_checksums(bytes(data)) if kind == "png" else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the right checksums."""
    out, at = bytearray(data), 8
    while (end := at + 8 + int.from_bytes(out[at : at + 4], "big")) + 4 <= len(out):
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def attempt(path: Path) -> str:
    """Read one picture; return which of `RESULTS` comes of it."""
    try:
        load_image(path)
        return "accepted"
    except Exception as error:
        return "refused" if isinstance(error, UserError) and str(error).isprintable() else "traceback"


def work(kind: str, seed: int, first: int, cases: int) -> Iterator[str]:
    """Read cases one after the other in this process, which a bad one may end; yield what comes of each."""
    # What decoders print belongs to no user.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case.{kind}"
        for number in range(first, cases):
            path.write_bytes(damaged(kind, seed, number))
            signal.alarm(SECONDS)
            result = attempt(path)
            signal.alarm(0)
            yield result


def outcomes(kind: str, seed: int, cases: int) -> list[str]:
    """Return the result of each case; a process that ends is followed by another."""
    results: list[str] = []
    while len(results) < cases:
        try:
            results += call("fuzz.work", kind=kind, seed=seed, first=len(results), cases=cases)
        except ChildError as error:
            results += [*error.values, "hang" if error.code == -signal.SIGALRM else "crash"]
    return results


def main() -> int:
    """Read the cases and print the table; return 1 if a case failed."""
    options = read_options(__doc__, {"cases": 40}, cases=17_000, seed=0)
    failed = 0
    print_header("format", *RESULTS)
    for kind in FORMATS:
        results = outcomes(kind, options.seed, options.cases)
        for number, result in enumerate(results):
            if result not in ("accepted", "refused"):
                failed += 1
                print(f"{kind} {number}: {result}", file=sys.stderr)
        counts = Counter(results)
        print_row(kind, *(f"{counts[result]:,}" for result in RESULTS))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
