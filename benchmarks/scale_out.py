"""Time one iteration shared by 1, 2 … worker processes, each on a core of its own.

    python benchmarks/scale_out.py [--workers 1 2] [--megapixels 4] [--tile 1024] [--precision float32]
                                   [--rounds 2] [--alone] [--json FILE] [--quick]

The workers talk over loopback. Work per second counts iterations of the same picture in the same tiles. The
bytes are computed: an iteration sums the Gram matrices and a few numbers, then the gradient, and in a ring
each of n workers sends 2 (n−1)/n of what is summed. With more workers than cores they take turns on them.
With --alone, as many processes also paint the whole picture at the same time, each for itself: what the
machine, whose cores share its memory, could do at best.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.utils.runtime import start_tensorflow

MACHINES, SIDE, BYTES_PER_SECOND = 8, 20_000, 10e9 / 8
"""Of the projection: 400 megapixels, 10 Gbit/s."""


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Measure in this process, one of the workers."""
    cores = sorted(os.sched_getaffinity(0))
    place = find_worker("auto", os.environ)
    os.sched_setaffinity(0, {cores[options.core % len(cores)]})
    clusters = []

    def join_workers() -> None:
        from neural_style_tf.distributed.replicas import join

        clusters.append(join("auto", place, timeout=600, say=print))

    device = start_tensorflow(join=join_workers)
    import numpy as np

    from neural_style_tf.tiling.grid import plan_shares, window_area
    from neural_style_tf.transfer.session import make_solver
    from neural_style_tf.weights.resolve import load_weights

    side = round((options.megapixels * 1e6) ** 0.5)
    config = Config(image_size=0, tile=str(options.tile), precision=options.precision)
    picture = np.random.default_rng(0).uniform(0, 255, (side, side, 3)).astype(np.float32)
    # The style's share of the targets is no part of an iteration: a small picture will do.
    solver = make_solver([picture, picture[:64, :64]], config, load_weights("bundled"), cluster=clusters[0])
    solver.start()
    times = []
    # Prepares what is compiled.
    solver.advance()
    for _ in range(options.rounds):
        begun = time.perf_counter()
        solver.advance()
        times.append(time.perf_counter() - begun)

    def areas(length: int, workers: int, tile: int) -> list[int]:
        stride, halo = solver.step.evaluation.alignment
        shares = plan_shares(length, length, tile=tile, replicas=workers, stride=stride, halo=halo)
        return [sum(map(window_area, share)) for share in shares]

    return {
        "device": device,
        "workers": place.workers,
        "side": side,
        "seconds": statistics.median(times),
        "total": solver.losses["total"],
        "areas": areas(side, place.workers, options.tile),
        "projected_area": max(areas(SIDE, MACHINES, max(1024, options.tile))),
    }


def bytes_sent(side: int, workers: int) -> float:
    """Return what each worker sends in an iteration."""
    config = Config()
    grams = sum(VGG19.depth(name) ** 2 for name, _ in config.loss.style_layers)
    terms = 4 + len(config.loss.style_layers) + 2 * len(config.loss.content_layers) + 2
    return 4 * (grams + terms + 3 * side * side) * 2 * (workers - 1) / workers


def start(workers: int, arguments: list[str], *, alone: bool = False) -> dict[str, object]:
    """Run workers, together or each alone; return what the first measured."""
    sockets = [socket.socket() for _ in range(workers)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(workers):
        group, rank = (addresses[index : index + 1], 0) if alone else (addresses, index)
        cluster = {"cluster": {"worker": group}, "task": {"type": "worker", "index": rank}}
        environment = os.environ | {"TF_CONFIG": json.dumps(cluster)}
        command = [sys.executable, __file__, "--child", f"--core={index}", *arguments]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"a worker failed: {[process.returncode for process in processes]}")
    return json.loads(outputs[0].splitlines()[-1])


def project(row: dict[str, object]) -> str:
    """Return what one worker's time makes of eight machines and 400 megapixels, as a sentence."""
    computing = row["seconds"] / sum(row["areas"]) * row["projected_area"]
    sending = bytes_sent(SIDE, MACHINES) / BYTES_PER_SECOND
    return (
        f"On paper: {MACHINES} machines, each as fast as one worker here, {SIDE**2 / 1e6:.0f} megapixels, "
        f"10 Gbit/s: {computing:.0f} s of computing and {sending:.1f} s of sending "
        f"({bytes_sent(SIDE, MACHINES) / 1e9:.1f} GB from each) per iteration; with machines N times as "
        f"fast {computing:.0f}/N + {sending:.1f} s."
    )


def main() -> None:
    """Measure each number of workers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--megapixels", type=float, default=4)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tiny picture, to see that this script works")
    parser.add_argument("--alone", action="store_true", help="also as many processes that share nothing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.megapixels, options.tile, options.rounds = 0.01, 64, 1
    if options.child:
        print(json.dumps(measure(options)))
        return
    passed_on = ("megapixels", "tile", "precision", "rounds")
    arguments = [f"--{name}={getattr(options, name)}" for name in passed_on] + ["--quick"] * options.quick
    print("| workers | s/iteration | work per second | MB sent by each | largest share |")
    print("|---|---|---|---|---|")
    rows = []
    for workers in options.workers:
        row = start(workers, arguments)
        rows.append(row | {"bytes": bytes_sent(row["side"], workers)})
        share = max(row["areas"]) / sum(row["areas"])
        print(
            f"| {workers} | {row['seconds']:.2f} | {rows[0]['seconds'] / row['seconds']:.2f} "
            f"| {rows[-1]['bytes'] / 1e6:.1f} | {share:.3f} |",
            flush=True,
        )
        if options.alone and workers > 1:
            seconds = start(workers, arguments, alone=True)["seconds"]
            rows[-1]["alone_seconds"] = seconds
            best = workers * rows[0]["seconds"] / seconds
            print(f"| {workers}, each alone | {seconds:.2f} | {best:.2f} | 0.0 | |", flush=True)
    print(f"\n{rows[0]['side']}² pixels, tiles of {options.tile}, {options.precision}; {rows[0]['device']}.")
    off = max(abs(row["total"] / rows[0]["total"] - 1) for row in rows)
    print(f"Largest relative difference of the loss: {off:.1e}.")
    print(project(rows[0]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
