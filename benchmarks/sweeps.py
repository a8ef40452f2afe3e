"""Time a sweep against the same runs as processes of their own.

    python benchmarks/sweeps.py [--size 256] [--iterations 20] [--pictures 20] [--no-ray] [--quick]

Two sweeps: of pictures of equal size, and of two weights. Each is one command, then as many single commands,
then one command on a Ray cluster of this machine that paints one run at a time with all cores. The results
are compared to the bit. What Ray adds to each run includes a share of the time in which the cluster starts.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from common import EXAMPLES, peak_megabytes, print_header, print_row, read_options, run_command, scratch
from PIL import Image, ImageChops

WEIGHTS = {"style_weight": ("1", "3", "10", "30"), "tv_weight": ("0", "1e-4", "3e-4", "1e-3", "3e-3")}


def compare(folder: Path, together: list[str], single: list[list[str]], *, ray: bool) -> list[str]:
    """Run a sweep in each way; return the cells of its row.

    Args:
        folder: For the results.
        together: Flags of the sweep.
        single: Those of each of its runs.
        ray: Also run it on Ray.
    """
    peaks: dict[int, float] = {}

    def watch(pid: int) -> None:
        done = len(list((folder / "sweep").glob("*/result.png")))
        peaks[done] = max(peaks.get(done, 0.0), peak_megabytes(pid))

    sweep = run_command(folder / "sweep", *together, watch=watch)
    alone = [run_command(folder / "alone" / str(number), *flags) for number, flags in enumerate(single)]
    on_ray = []
    if ray:
        cores = f"--ray_cpus={os.cpu_count()}"
        on_ray = [run_command(folder / "ray", *together, "--ray=local", cores)]
    pictures = [
        sorted(path.read_bytes() for path in ended.folder.parent.glob(f"{ended.folder.name}/*/result.png"))
        for ended in (sweep, *on_ray)
    ]
    pictures.append(sorted((ended.folder / "result.png").read_bytes() for ended in alone))
    seconds = sum(ended.seconds for ended in alone)
    memory = [peaks[min(peaks, key=lambda done: abs(done - 5))], max(peaks.values())]
    by_ray = [
        cell
        for ended in on_ray
        for cell in (f"{ended.seconds:.1f}", f"{(ended.seconds - sweep.seconds) / len(single):.2f}")
    ]
    return [
        *(str(len(single)), f"{sweep.seconds:.1f}", f"{seconds:.1f}", f"{seconds / sweep.seconds:.2f}"),
        "yes" if all(found == pictures[0] for found in pictures) else "no",
        *(f"{peak:.0f}" for peak in memory),
        *(by_ray or ["", ""]),
    ]


def main() -> None:
    """Time all ways, and print the table."""
    quick = {"size": 48, "iterations": 1, "pictures": 2, "ray": False}
    options = read_options(__doc__, quick, size=256, iterations=20, pictures=20, ray=True)
    weights = {"style_weight": ("1", "3"), "tv_weight": ("0",)} if options.quick else WEIGHTS
    columns = (
        "sweep",
        "runs",
        "as one, s",
        "alone, s",
        "ratio",
        "same bits",
        "peak MB after 5",
        "at the end",
    )
    print_header(*columns, "by Ray, s", "added to each run, s")
    common = [f"--style={EXAMPLES / 'ink.jpg'}", "--preset=balanced", "--scales=1", "--scale_iterations="]
    common += [f"--iterations={options.iterations}", f"--image_size={options.size}", "--save_every=0"]
    with scratch() as folder:
        photos = [folder / "photos" / f"{number}.png" for number in range(options.pictures)]
        photos[0].parent.mkdir()
        with Image.open(EXAMPLES / "coffee.jpg") as picture:
            picture = picture.resize((options.size, options.size * 2 // 3))
        for number, path in enumerate(photos):
            ImageChops.offset(picture, 7 * number, 0).save(path)
        single = [[*common, f"--content={path}"] for path in photos]
        together = [*common, f"--content={photos[0].parent}"]
        print_row("pictures", *compare(folder / "pictures", together, single, ray=options.ray))
        common.append(f"--content={photos[0]}")
        grid = itertools.product(*([f"--{name}={value}" for value in weights[name]] for name in weights))
        together = [*common, *(f"--sweep={name}={','.join(values)}" for name, values in weights.items())]
        print_row("weights", *compare(folder / "weights", together, [[*common, *flags] for flags in grid],
                                      ray=options.ray))  # fmt: skip


if __name__ == "__main__":
    main()
