"""Run published systems and ours on the same network, pictures and objective, and compare.

    python benchmarks/peers.py [--pair coffee:starry_night] [--size 256] [--plot FILE.png] [--quick]

Each system is installed into an environment of its own on first use. All run on the CPU, on the bundled
network, written in each one's own form, and on the same two PNG files: the content picture reduced once and
cropped to multiples of 16 (there all ways of pooling agree), the style picture cropped to the same size (one
system asks for that). neural-style runs without its total variation, the one term that ours cannot express.

A loss is that of a picture as it is saved, clipped and in 8 bits, by one float32 objective: the peer's, in
our evaluator. Seconds count from the start of the optimisation, without loading Python and the weights; for
ours they include building the network, its targets and compiling. Writing pictures counts for none. Run it on
an idle machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common import locate, precisions, print_header, print_row, read_options, scratch, start
from curves import LBFGS, Run, make_judge, run_ours
from peer_systems import ARTIFICIAL_ARTWORK, NEURAL_STYLE, SYSTEMS, Package, export_weights, run_system
from PIL import Image, ImageOps
from sheets import read, sheet

OURS = {**LBFGS, "convolution": "auto", "log_every": 2}
COLUMNS = ("system", "from", "evaluations", "s each", "peak MiB", "last loss", "after")
COLUMNS += ("ours there, bfloat16", "ours there, float32", "ours each, float32")
Row = tuple[str, str, Run]
"""Label, what it starts from, and the run."""


def prepare(pair: str, size: int, folder: Path) -> list[Path]:
    """Write the content and style pictures of a pair, as every system gets them."""
    shape, paths = None, []
    for role, name in zip(("content", "style"), pair.split(":"), strict=True):
        with Image.open(locate(name)) as picture:
            if shape is None:
                scale = min(1.0, size / max(picture.size))
                shape = tuple(max(16, int(side * scale) // 16 * 16) for side in picture.size)
            ImageOps.fit(picture.convert("RGB"), shape, Image.Resampling.LANCZOS).save(folder / f"{role}.png")
        paths.append(folder / f"{role}.png")
    return paths


def compare(package: Package, files: list[Path], folder: Path, size: int, *, quick: bool) -> list[Row]:
    """Run a package, in each of its ways, and ours on its objective."""
    judge, rows = make_judge(*files, package.objective), []
    for number, system in enumerate(SYSTEMS):
        if system.package is not package:
            continue
        run = Run(problem="not installed")
        if not quick:
            print(f"{system.label} from {system.start}", file=sys.stderr)
            save_every = max(5, package.iterations // 20)
            run = run_system(system, *files, folder / f"peer{number}", size=size, save_every=save_every)
        rows.append((system.label, system.start, run))
    starts = {"content"} | ({start for _, start, _ in rows} & {"noise"})
    for precision in ["float32"] if quick else precisions():
        for start_ in ["content"] if quick else sorted(starts):
            changes = {**package.objective, **OURS, "init": start_, "precision": precision}
            changes |= {"iterations": 5} if quick else {}
            place = folder / f"{package.name.partition('=')[0]}-{start_}-{precision}"
            rows.append((f"ours, L-BFGS, {precision}", start_, run_ours(*files, changes, place)))
    for _, _, run in rows:
        run.judge(judge)
    return rows


def print_table(rows: list[Row]) -> None:
    """Print a row for each run of a package and of ours; the peers are beside ours from the same start."""
    ours = {(label, start): run for label, start, run in rows if label.startswith("ours") and run.points}
    for label, start_, run in rows:
        if run.problem or not run.points:
            print_row(label, start_, run.problem, *["—"] * (len(COLUMNS) - 3))
            continue
        last, loss = run.points[-1]
        cells = [f"{run.each:.3g}", f"{run.peak_mb:.0f}", f"{loss:.4g}", f"{last:.3g} s"]
        for precision in ("bfloat16", "float32"):
            name = f"ours, L-BFGS, {precision}"
            other = (
                None if label.startswith("ours") else ours.get((name, start_), ours.get((name, "content")))
            )
            there = other and other.time_to(loss)
            missed = "—" if other is None else f"not reached, {other.best[-1][1]:.4g}"
            cells.append(f"{there:.3g} s ({last / there:.1f} ×)" if there else missed)
        cells.append("—" if other is None else f"{run.each / other.each:.2f} ×")
        print_row(label, start_, len(run.seconds), *cells)


def plot(results: list[list[Row]], files: list[Path], path: Path) -> None:
    """Put the last pictures side by side, a package and ours on its objective in a row.

    Ours is shown where it is first at the least loss of the package, or below it.
    """
    page = [[read(f"{role}={file}", 240) for role, file in zip(("content", "style"), files, strict=True)]]
    for rows in results:
        losses = [run.points[-1][1] for label, _, run in rows if run.points and not label.startswith("ours")]
        cells = []
        for label, start_, run in (row for row in rows if row[2].points):
            loss = min(losses, default=0.0) if label.startswith("ours") else run.points[-1][1]
            pictures = zip(run.points, (run.pictures[key] for key in sorted(run.pictures)), strict=True)
            for (seconds, value), file in pictures:
                if value <= loss or file == run.pictures[max(run.pictures)]:
                    cells.append(read(f"{label}, {start_}, {seconds:.0f} s={file}", 240))
                    break
        page.append(cells)
    sheet([row for row in page if row], 240).save(path)


def main() -> None:
    """Compare."""
    options = read_options(__doc__, {"size": 48}, pair="coffee:starry_night", size=256, plot=Path)
    device = start()
    if not options.quick:
        export_weights()
    with scratch() as folder:
        files, results = prepare(options.pair, options.size, folder), []
        with Image.open(files[0]) as picture:
            width, height = picture.size
        print_header(*COLUMNS)
        for package in (NEURAL_STYLE,) if options.quick else (NEURAL_STYLE, ARTIFICIAL_ARTWORK):
            results.append(compare(package, files, folder, max(width, height), quick=options.quick))
            print_table(results[-1])
        print(f"\n{options.pair} at {width}×{height} on {device}.")
        print("In brackets, and in the last column: the time of the system over that of ours.")
        if options.plot:
            plot(results, files, options.plot)


if __name__ == "__main__":
    main()
