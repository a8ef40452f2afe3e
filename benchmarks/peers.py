"""Run published systems and ours on the same network, pictures and objective, and compare.

    python benchmarks/peers.py [--pair coffee:starry_night] [--size 512] [--iterations N] [--only WORD …]
                               [--ours WORD …] [--work FOLDER] [--plot FILE.png] [--json FILE] [--quick]

Each system is installed into an environment of its own under --work on first use. All run on the CPU, on the
bundled network, written in each one's own form, and on the same two PNG files: the content picture reduced
once and cropped to multiples of 16 (there all ways of pooling agree), the style picture cropped to the same
size (one system asks for that). neural-style runs without its total variation, the one term that ours cannot
say.

A loss is that of a picture as it is saved, clipped and in 8 bits, told by one float32 objective: the peer's,
in our evaluator. Ours runs until it is below the last loss of every peer. Seconds count from the start of the
optimisation, without loading Python and the weights; for ours they include building the network, its targets
and compiling, but not judging; for the peers not the writing of the pictures that are judged. Run it on an
idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from in_turn import precisions
from judging import make_judge, time_to
from peer_systems import SYSTEMS, Package, Run, System, export_weights, peak_megabytes, run_system
from sheets import read, sheet

from neural_style_tf.utils.runtime import start_tensorflow

LBFGS = {"optimizer": "lbfgs", "history": 40, "clamp": True, "convolution": "auto"}
LBFGS |= {"log_every": 2, "save_every": 0, "image_size": 0}
FLOAT32, AUTO = "ours, L-BFGS, float32", "ours, L-BFGS, auto"
OURS = {
    AUTO: {**LBFGS, "init": "content", "precision": "auto"},
    FLOAT32: {**LBFGS, "init": "content"},
    "ours, L-BFGS from noise, float32": {**LBFGS, "init": "noise"},
    "ours, L-BFGS from noise, auto": {**LBFGS, "init": "noise", "precision": "auto"},
}
OURS_FROM = {
    (changes["init"], changes.get("precision", "float32")): setting for setting, changes in OURS.items()
}
"""Start and precision → setting: a peer is compared with ours from the same start, else from content."""
COLUMNS = (
    "system",
    "from",
    "evaluations",
    "s each",
    "peak MiB",
    "last loss",
    "after",
    "ours there",
    "ours there, float32",
    "ours each, float32",
)
PACKAGES = {system.package.name: system.package for system in SYSTEMS}
Judge = Callable[[Path], float]


def prepare(pair: str, size: int, folder: Path) -> tuple[Path, Path]:
    """Write the content and style pictures of a pair of examples, as every system gets them."""
    names = pair.split(":")
    shape, paths = None, []
    for role, name in zip(("content", "style"), names, strict=True):
        with Image.open(ROOT / "examples" / f"{name}.jpg") as picture:
            if shape is None:
                scale = min(1.0, size / max(picture.size))
                shape = tuple(max(16, int(side * scale) // 16 * 16) for side in picture.size)
            ImageOps.fit(picture.convert("RGB"), shape, Image.Resampling.LANCZOS).save(folder / f"{role}.png")
        paths.append(folder / f"{role}.png")
    return paths[0], paths[1]


def pixels_of(path: Path) -> np.ndarray:
    """Return a picture as float32 [H, W, 3]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def child(package: str, setting: str, iterations: int, folder: Path) -> None:
    """Run ours in this process; after each record write the picture, tell, and wait for leave to go on."""
    import time

    start_tensorflow()
    from neural_style_tf import Config, load_weights, save_image, stylize

    config = Config(**{**PACKAGES[package].objective, **OURS[setting]}, iterations=iterations)
    content, style = (pixels_of(folder / f"{role}.png") for role in ("content", "style"))
    weights, waiting = load_weights("bundled"), 0.0
    for record in stylize(content, style, config, weights=weights):
        told = time.monotonic()
        save_image(folder / "ours.png", record.image)
        evaluations = 1 + int(record.state.solver["optimizer"]["evaluations"])
        print(json.dumps([record.seconds - waiting, evaluations]), flush=True)
        if input() == "stop":
            return
        waiting += time.monotonic() - told


def run_ours(
    package: Package, setting: str, iterations: int, folder: Path, judge: Judge, until: float
) -> Run:
    """Run ours in a process of its own until a judged loss, or to its end."""
    command = [sys.executable, __file__, "--child", package.name, setting, str(iterations), str(folder)]
    variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    run, counts = Run(), []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
    ) as process:
        for line in process.stdout:
            seconds, evaluations = json.loads(line)
            run.points.append((seconds, judge(folder / "ours.png")))
            counts.append(evaluations)
            run.peak_mb = peak_megabytes(process.pid)
            over = run.points[-1][1] <= until
            print("stop" if over else "go", file=process.stdin, flush=True)
            if over:
                break
    if process.returncode or not counts:
        return Run(problem=f"failed with exit code {process.returncode}")
    # Records are some evaluations apart, so that when each ended is known in between only on average.
    moments = [seconds for seconds, _ in run.points]
    run.seconds = np.interp(np.arange(1, counts[-1] + 1), counts, moments).tolist()
    kept = folder / f"{package.name.partition('=')[0]}-{list(OURS).index(setting)}.png"
    run.pictures[counts[-1]] = (folder / "ours.png").replace(kept)
    return run


def judge_run(run: Run, judge: Judge) -> None:
    """Add the judged loss of each picture of a peer."""
    for evaluation, path in sorted(run.pictures.items()):
        run.points.append((run.seconds[evaluation - 1], judge(path)))


def compare(package: Package, options: argparse.Namespace, folder: Path) -> list[tuple[str, str, Run]]:
    """Run a package, in each of its ways, and ours on its objective; return (label, start, run)."""
    from neural_style_tf import Config, load_weights

    content, style = (pixels_of(folder / f"{role}.png") for role in ("content", "style"))
    config = Config(**package.objective)
    judge_pixels = make_judge(content, style, config, load_weights("bundled"))
    judge: Judge = lambda path: judge_pixels(pixels_of(path))  # noqa: E731
    rows = []
    for system in options.systems:
        if system.package is package:
            run = run_peer(system, options, folder)
            judge_run(run, judge)
            rows.append((system.label, system.start, run))
    goals = [run.points[-1][1] for _, _, run in rows if run.points and np.isfinite(run.points[-1][1])]
    for setting in options.settings:
        until = min(goals, default=0.0)
        run = run_ours(package, setting, options.ours_iterations, folder, judge, until)
        rows.append((setting, OURS[setting]["init"], run))
    return rows


def run_peer(system: System, options: argparse.Namespace, folder: Path) -> Run:
    """Run a peer, unless this is the quick form."""
    if options.quick:
        return Run(problem="not installed")
    iterations = options.iterations or system.package.iterations
    print(f"{system.label} from {system.start}: {iterations} iterations", file=sys.stderr)
    return run_system(
        system,
        folder / "content.png",
        folder / "style.png",
        options.work,
        iterations=iterations,
        save_every=max(5, iterations // 20),
        size=max(pixels_of(folder / "content.png").shape),
        python=options.python,
    )


def cells(label: str, start: str, run: Run, ours: dict[str, Run]) -> list[str]:
    """Return a row of the table; peers are compared with `ours`, setting → run."""
    if run.problem:
        return [label, start, run.problem] + ["—"] * (len(COLUMNS) - 3)
    last, loss = run.points[-1]
    row = [label, start, str(len(run.seconds)), f"{run.each:.3g}", f"{run.peak_mb:.0f}"]
    row += [f"{loss:.4g}", f"{last:.3g} s"]
    if label in OURS:
        return row + ["—"] * 3
    for precision in ("auto", "float32"):
        setting = OURS_FROM.get((start, precision)) or OURS_FROM["content", precision]
        # Where `auto` is float32, both are one run.
        setting = setting if setting in ours else setting.replace("auto", "float32")
        points = ours[setting].points if setting in ours else []
        there = time_to(points, loss)
        missed = f"not reached, {min(value for _, value in points):.4g}" if points else "—"
        row.append(f"{there:.3g} s ({last / there:.1f} ×)" if there else missed)
    return [*row, f"{run.each / ours[FLOAT32].each:.2f} ×" if FLOAT32 in ours else "—"]


def print_table(results: dict[str, list[tuple[str, str, Run]]]) -> None:
    """Print one row for each run; a package is followed by ours on its objective."""
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for rows in results.values():
        ours = {label: run for label, _, run in rows if label in OURS and not run.problem}
        for row in rows:
            print("| " + " | ".join(cells(*row, ours)) + " |")


def told(results: dict[str, list[tuple[str, str, Run]]]) -> dict[str, list[dict]]:
    """Return the results as JSON keeps them."""
    return {
        name: [
            {"system": label, "from": start, "each": run.each}
            | {key: value for key, value in vars(run).items() if key != "pictures"}
            for label, start, run in rows
        ]
        for name, rows in results.items()
    }


def plot(results: dict[str, list[tuple[str, str, Run]]], content: Path, style: Path, path: Path) -> None:
    """Put the last pictures side by side, a package and ours on its objective in a row."""
    page = [[read(f"content={content}", 240), read(f"style={style}", 240)]]
    for rows in results.values():
        page.append(
            [
                read(f"{label}, {start}, {run.points[-1][0]:.0f} s={run.pictures[max(run.pictures)]}", 240)
                for label, start, run in rows
                if run.points and run.pictures
            ]
        )
    sheet([row for row in page if row], 240).save(path)


def parse() -> argparse.Namespace:
    """Read the command line."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neural-style-tf-peers"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="coffee:starry_night", help="two of the examples")
    parser.add_argument("--size", type=int, default=512, help="longest side of the result")
    parser.add_argument("--iterations", type=int, help="of the peers; default: what each does by itself")
    parser.add_argument("--ours_iterations", type=int, default=500, help="at most, of ours")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="the systems whose label or start has a WORD"
    )
    parser.add_argument("--ours", nargs="+", metavar="WORD", help="likewise, of our settings; default: all")
    parser.add_argument("--work", type=Path, default=cache, help="folder for environments and weights")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that makes environments")
    parser.add_argument("--plot", type=Path, help="write the pictures side by side")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="tiny, and ours only; the peers are not installed"
    )
    options = parser.parse_args()
    words, ours = options.only or [""], options.ours or [""]
    options.systems = [
        one for one in SYSTEMS if any(word in f"{one.label} from {one.start}" for word in words)
    ]
    options.settings = [setting for setting in OURS if any(word in setting for word in ours)]
    if len(precisions()) == 1:
        options.settings = [one for one in options.settings if OURS[one].get("precision") != "auto"]
    if options.quick:
        options.size, options.ours_iterations, options.settings = 48, 5, [FLOAT32]
    return options


def main() -> None:
    """Compare."""
    if sys.argv[1:2] == ["--child"]:
        package, setting, iterations, folder = sys.argv[2:]
        child(package, setting, int(iterations), Path(folder))
        return
    options = parse()
    device = start_tensorflow()
    if not options.quick:
        options.work = options.work.resolve()
        options.work.mkdir(parents=True, exist_ok=True)
        export_weights(options.work)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content, style = prepare(options.pair, options.size, folder)
        packages = {system.package.name: system.package for system in options.systems}
        packages = list(packages.values())[: 1 if options.quick else None]
        results = {package.name: compare(package, options, folder) for package in packages}
        print_table(results)
        width, height = Image.open(content).size
        from neural_style_tf.models.precision import has_bfloat16

        precision = "bfloat16" if has_bfloat16() else "float32"
        print(f"\n{options.pair} at {width}×{height} on {device}; auto is {precision} here.")
        print("In brackets, and in the last column: the time of the system over that of ours.")
        if options.json:
            options.json.write_text(json.dumps(told(results), indent=1) + "\n", encoding="utf-8")
        if options.plot:
            plot(results, content, style, options.plot)


if __name__ == "__main__":
    main()
