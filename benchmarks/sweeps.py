"""Time a sweep against the same runs as processes of their own.

    python benchmarks/sweeps.py [--size 256] [--iterations 20] [--pictures 20] [--no-ray] [--quick]

Two sweeps: of a batch of pictures of equal size, and of two weights. Each is one command, then as many single
commands, then one command on a Ray cluster of this machine that paints one run at a time with all cores. The
results are compared to the bit, and the memory of the sweep's process is shown as its runs end. What Ray adds
to each run includes a share of the time that the cluster takes to start.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from peer_systems import peak_megabytes
from PIL import Image, ImageChops

WEIGHTS = {"style_weight": ("1", "3", "10", "30"), "tv_weight": ("0", "1e-4", "3e-4", "1e-3", "3e-3")}


def run(arguments: list[str], results: Path | None = None) -> tuple[float, list[float]]:
    """Run a command line; return its seconds, and its peak megabytes whenever another result was there."""
    start, peaks, seen = time.monotonic(), [], 0
    command = [sys.executable, "run.py", "--weights=bundled", "--quiet", "--save_every=0", *arguments]
    with subprocess.Popen(command, cwd=ROOT) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal seen
            while not ended.wait(0.2):
                found = len(list(results.glob("*/result.png"))) if results else 0
                if found > seen:
                    seen = found
                    peaks.append(peak_megabytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        ended.set()
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}")
    return time.monotonic() - start, peaks


def main() -> None:
    """Time both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--ray", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--quick", action="store_true", help="two tiny runs of each, without Ray")
    options = parser.parse_args()
    weights = dict(WEIGHTS)
    if options.quick:
        options.size, options.iterations, options.pictures, options.ray = 48, 1, 2, False
        weights = {"style_weight": ("1", "3"), "tv_weight": ("0",)}
    folder = Path(tempfile.mkdtemp())
    columns = [
        "sweep",
        "runs",
        "as one, s",
        "alone, s",
        "ratio",
        "same bits",
        "peak MB after 5",
        "at the end",
    ]
    columns += ["by Ray, s", "added to each run, s"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    try:
        photos = folder / "photos"
        photos.mkdir()
        with Image.open(ROOT / "examples" / "coffee.jpg") as picture:
            picture = picture.resize((options.size, options.size * 2 // 3))
        for number in range(options.pictures):
            ImageChops.offset(picture, 7 * number, 0).save(photos / f"{number}.png")
        common = [f"--style={ROOT / 'examples' / 'ink.jpg'}", "--preset=balanced", "--scales=1"]
        common += [
            "--scale_iterations=",
            f"--iterations={options.iterations}",
            f"--image_size={options.size}",
        ]
        grid = [
            [f"--{name}={value}" for name, value in zip(weights, values, strict=True)]
            for values in itertools.product(*weights.values())
        ]
        jobs = {
            "pictures": (
                [f"--content={photos}"],
                [([f"--content={photos / f'{n}.png'}"], f"content={n}") for n in range(options.pictures)],
            ),
            "weights": (
                [f"--content={photos / '0.png'}"]
                + [f"--sweep={name}={','.join(values)}" for name, values in weights.items()],
                [
                    ([f"--content={photos / '0.png'}", *flags], ",".join(flag[2:] for flag in flags))
                    for flags in grid
                ],
            ),
        }
        for name, (together, single) in jobs.items():
            root = folder / name
            one, peaks = run([*common, *together, f"--output_dir={root}"], root)
            alone, same = 0.0, True
            for flags, where in single:
                target = folder / "alone" / where
                alone += run([*common, *flags, f"--output_dir={target}"])[0]
                files = [base / where / "result.png" for base in (root, folder / "alone")]
                same = same and files[0].read_bytes() == files[1].read_bytes()
            early, late = peaks[min(4, len(peaks) - 1)], peaks[-1]
            by_ray = ["", ""]
            if options.ray:
                there = folder / f"{name}-ray"
                flags = [f"--output_dir={there}", "--ray=local", f"--ray_cpus={os.cpu_count()}"]
                seconds, _ = run([*common, *together, *flags])
                by_ray = [f"{seconds:.1f}", f"{(seconds - one) / len(single):.2f}"]
                for _, where in single:
                    files = [base / where / "result.png" for base in (there, root)]
                    same = same and files[0].read_bytes() == files[1].read_bytes()
            row = [name, len(single), f"{one:.1f}", f"{alone:.1f}", f"{alone / one:.2f}"]
            row += ["yes" if same else "no", f"{early:.0f}", f"{late:.0f}", *by_ray]
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
