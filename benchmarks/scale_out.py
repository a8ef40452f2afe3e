"""Time one iteration shared by 1, 2 … worker processes, each on a core of its own.

    python benchmarks/scale_out.py [--workers 1 2] [--megapixels 4] [--tile 1024] [--precision float32]
                                   [--rounds 2] [--quick]

Each worker is a command as a user gives it; they talk over loopback. Work per second counts iterations of the
same picture in the same tiles. The bytes are computed: an iteration sums the Gram matrices and the gradient,
and in a ring each of n workers sends 2 (n−1)/n of what is summed. "Each alone" are as many processes that
paint the whole picture at the same time, each for itself: what the machine, whose cores share its memory,
could do at best.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import print_header, print_row, read_options, run_command, scratch, settings
from PIL import Image

import neural_style_tf as nst


def bytes_sent(side: int, workers: int) -> float:
    """Return how many bytes each worker sends in an iteration of a square picture."""
    layers = [name for name, _ in settings("original").loss.style_layers]
    summed = 3 * side * side + sum(nst.VGG19.depth(layer) ** 2 for layer in layers)
    return 4 * summed * 2 * (workers - 1) / workers


def paint(folder: Path, workers: int, flags: list[str], *, alone: bool = False) -> tuple[float, float]:
    """Run workers, together or each alone; return the seconds of an iteration, and the last loss."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()

    cores = sorted(os.sched_getaffinity(0))

    def work(index: int) -> tuple[float, float]:
        # Of this thread, and of the processes that it starts.
        os.sched_setaffinity(0, {cores[index % len(cores)]})
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        shared = {} if alone or workers == 1 else {"TF_CONFIG": json.dumps(task)}
        place = folder / str(index) if alone else folder / "shared"
        ended = run_command(place, *flags, environment=shared)
        if index and shared:
            return 0.0, 0.0
        moments = [record["seconds"] for record in ended.records]
        # The first step prepares what is compiled.
        steps = [after - before for before, after in itertools.pairwise(moments)][1:]
        return statistics.median(steps), ended.records[-1]["total"]

    with ThreadPoolExecutor(workers) as pool:
        return next(pool.map(work, range(workers)))


def main() -> None:
    """Measure each number of workers, and print the table."""
    quick = {"megapixels": 0.01, "tile": 64, "rounds": 1}
    options = read_options(
        __doc__, quick, workers=[1, 2], megapixels=4.0, tile=1024, precision="float32", rounds=2
    )
    side = round((options.megapixels * 1e6) ** 0.5)
    print_header("workers", "s/iteration", "work per second", "MB sent by each")
    times: list[float] = []
    totals: list[float] = []
    with scratch() as folder:
        pixels = np.random.default_rng(0).uniform(0, 255, (side, side, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "content.png")
        # The style picture is no part of an iteration: a small one will do.
        Image.fromarray(pixels[:64, :64]).save(folder / "style.png")
        flags = [f"--{role}={folder / f'{role}.png'}" for role in ("content", "style")]
        flags += ["--image_size=0", f"--tile={options.tile}", "--log_every=1"]
        flags += [f"--precision={options.precision}", f"--iterations={options.rounds + 1}", "--save_every=0"]
        for workers in options.workers:
            seconds, total = paint(folder / f"{workers}", workers, flags)
            totals.append(total)
            times.append(seconds)
            sent = f"{bytes_sent(side, workers) / 1e6:.1f}"
            print_row(workers, f"{seconds:.2f}", f"{times[0] / seconds:.2f}", sent)
            if workers > 1:
                seconds, _ = paint(folder / f"{workers}-alone", workers, flags, alone=True)
                print_row(
                    f"{workers}, each alone", f"{seconds:.2f}", f"{workers * times[0] / seconds:.2f}", "0.0"
                )
    print(f"\n{side}² pixels, tiles of {options.tile}, {options.precision}, one core to each worker.")
    print(f"Largest relative difference of the loss: {max(abs(t / totals[0] - 1) for t in totals):.1e}.")


if __name__ == "__main__":
    main()
