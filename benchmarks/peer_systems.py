"""Install the systems that peers.py compares with, run them, and say when each evaluation ended."""

from __future__ import annotations

import dataclasses
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

FILES = Path(__file__).parent / "peer_files"
PTH, MAT = "vgg19.pth", "vgg19.mat"


@dataclasses.dataclass(frozen=True)
class Package:
    """A published system.

    Attributes:
        name: Package and version.
        pins: What goes into its environment first, with dependencies.
        objective: Its objective, as settings of ours.
        iterations: What it does when nothing is said.
    """

    name: str
    pins: tuple[str, ...]
    objective: dict[str, object]
    iterations: int


NEURAL_STYLE = Package(
    "neural-style==0.5.7",
    ("torch==2.13.0", "numpy==2.2.6", "pillow"),
    # 5 · mean of squares at relu4_2, 100 · mean of squares of Gram matrices over elements, each layer.
    {"tv_weight": 0.0},
    1000,
)
ARTIFICIAL_ARTWORK = Package(
    "artificial-artwork==2.0.0",
    ("tensorflow==2.19.1", "numpy==1.26.4", "pillow"),
    # 10 · a quarter of the mean of squares; 40 · Eq. 4; its conv4_2 is the layer after the ReLU.
    {
        "content_weight": 2.5,
        "style_weight": 40.0,
        "tv_weight": 0.0,
        "style_layers": tuple((f"relu{block}_1", 0.2) for block in range(1, 6)),
        "gram": "positions",
        "style_loss": "gatys",
        "pooling": "average",
    },
    100,
)


@dataclasses.dataclass(frozen=True)
class System:
    """A way of running a package: its label, what it starts from, and its flags."""

    label: str
    package: Package
    start: str
    flags: tuple[str, ...] = ()


SYSTEMS = (
    System("neural-style 0.5.7, L-BFGS", NEURAL_STYLE, "noise", ("-optimizer", "lbfgs")),
    System("neural-style 0.5.7, L-BFGS", NEURAL_STYLE, "content", ("-optimizer", "lbfgs", "-init", "image")),
    System("neural-style 0.5.7, Adam", NEURAL_STYLE, "noise", ("-optimizer", "adam")),
    System("artificial-artwork 2.0.0, Adam", ARTIFICIAL_ARTWORK, "0.4 content"),
)


@dataclasses.dataclass
class Run:
    """What was seen of a run; `problem` says why there is nothing.

    Attributes:
        seconds: When each evaluation had ended, since the optimisation began.
        pictures: Evaluation → the file of its picture.
        own_loss: The last total that it printed itself.
        peak_mb: The most memory that its process held.
        problem: Why it could not be run.
        points: (seconds, judged loss) of the pictures.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    pictures: dict[int, Path] = dataclasses.field(default_factory=dict)
    own_loss: float | None = None
    peak_mb: float = 0.0
    problem: str = ""
    points: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    @property
    def each(self) -> float:
        """Seconds of one evaluation, the start left out."""
        return statistics.median(np.diff(self.seconds)) if len(self.seconds) > 1 else float("nan")


def peak_megabytes(pid: int) -> float:
    """Return the most memory a process has held since its program was loaded, 0 where Linux does not tell.

    What `getrusage` says of a child begins with the size of the process that started it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0.0


def environment(package: Package, work: Path, python: str) -> Path:
    """Return the interpreter of an environment that has the package, made on first use.

    Raises:
        RuntimeError: It cannot be made; says why in one line.
    """
    name = package.name.partition("=")[0]
    folder, wanted = work / f"env-{name}", " ".join((*package.pins, package.name))
    inside, marker = folder / "bin" / "python", folder / "installed"
    if marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return inside
    print(f"installing {package.name} in {folder}", file=sys.stderr)
    pip = [str(inside), "-m", "pip", "install", "--quiet"]
    # No torchvision loads beside every torch; peer_files has what neural-style needs of it.
    alone = ["--no-deps"] if package is NEURAL_STYLE else []
    for command in (
        [python, "-m", "venv", "--clear", str(folder)],
        [*pip, *package.pins],
        [*pip, *alone, package.name],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"not installed: {_reason(done.stderr)}")
    marker.write_text(wanted, encoding="utf-8")
    return inside


def export_weights(work: Path) -> None:
    """Write the bundled network, in the shape of VGG-19, in the form of each system."""
    from neural_style_tf.models.architecture import VGG19
    from neural_style_tf.weights.resolve import load_weights

    weights = load_weights("bundled", folder=Path(__file__).parents[1] / "weights")
    kernels, biases = {}, {}
    for name, depth in VGG19.channels:
        # Where VGG-16 has no convolution an identity changes nothing, since relu(relu(x)) = relu(x).
        identity = np.zeros((3, 3, depth, depth), np.float32)
        identity[1, 1] = np.eye(depth)
        kernels[name] = weights.kernels.get(name, identity)
        biases[name] = weights.biases.get(name, np.zeros(depth, np.float32))
    _write_matconvnet(work / MAT, VGG19.layers, kernels, biases)
    arrays, index = {}, 0
    for name, kernel in kernels.items():
        # PyTorch keeps [N_out, N_in, 3, 3], this network's file BGR; an index counts ReLUs and poolings.
        index += name.endswith("_1") and name != "conv1_1"
        planes = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        arrays[f"features.{index}.weight"] = np.ascontiguousarray(planes.transpose(3, 2, 0, 1))
        arrays[f"features.{index}.bias"] = biases[name]
        index += 2
    np.savez(work / "vgg19.npz", **arrays)


def _write_matconvnet(
    path: Path, layers: tuple[str, ...], kernels: dict[str, np.ndarray], biases: dict[str, np.ndarray]
) -> None:
    cells = np.empty((1, len(layers) + 1), object)
    for at, name in enumerate((*layers, "pool5")):
        cells[0, at] = {"name": name, "type": name.rstrip("_0123456789")}
        if name in kernels:
            pair = np.empty((1, 2), object)
            pair[0, 0], pair[0, 1] = kernels[name], biases[name].reshape(-1, 1)
            cells[0, at] |= {"weights": pair, "pad": np.ones((1, 4)), "stride": np.ones((1, 2))}
    average = np.array((123.68, 116.779, 103.939), np.float32).reshape(1, 1, 3)
    meta = {"normalization": {"imageSize": [[224.0, 224.0, 3.0]], "averageImage": average}}
    scipy.io.savemat(path, {"layers": cells, "meta": meta}, oned_as="column")


def run_system(system: System, content: Path, style: Path, work: Path, **options: object) -> Run:
    """Run a peer to its end.

    Args:
        system: Which.
        content: The content picture, at the size of the result.
        style: The style picture.
        work: Has the exported weights; what is written goes here, and environments if nothing is said.
        **options: `iterations`, `save_every` and `python`, the interpreter that makes environments, in
            `environments`.

    Returns:
        The run, unjudged, or with its `problem`.
    """
    iterations, save_every = int(options["iterations"]), int(options["save_every"])
    folder = work / re.sub(r"\W+", "-", f"{system.label} {system.start}")
    folder.mkdir(exist_ok=True)
    for old in folder.glob("out*"):
        old.unlink()
    try:
        environments = Path(str(options.get("environments", work)))
        environments.mkdir(parents=True, exist_ok=True)
        python = environment(system.package, environments, str(options["python"]))
        if system.package is NEURAL_STYLE:
            subprocess.run(
                [python, FILES / "npz_to_pth.py", work / "vgg19.npz", work / PTH],
                check=True,
                capture_output=True,
            )
            # Paths are relative: what kind of network it is, it reads off the whole path of the file.
            command = [
                *(python.parent / "neural-style", "-gpu", "c", "-seed", 0, "-model_file", f"../{PTH}"),
                *("-disable_check", "-content_image", content, "-style_image", style),
                *("-image_size", options["size"], "-tv_weight", 0, "-num_iterations", iterations),
                *("-print_iter", 1, "-save_iter", save_every, "-output_image", "out.png", *system.flags),
            ]
        else:
            script = FILES / "run_artificial_artwork.py"
            command = [python, script, content, style, iterations, save_every]
        run = Run()
        for line in _lines(command, folder, run, work):
            own = re.search(r"^  Total (?:loss|Cost *) ?: (\S+)", line)
            run.own_loss = float(own[1]) if own else run.own_loss
    except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
        return Run(problem=str(error))
    for picture in folder.glob("out_*.png"):
        run.pictures[int(picture.stem.removeprefix("out_"))] = picture
    if (folder / "out.png").exists():
        run.pictures[len(run.seconds)] = folder / "out.png"
    _forget_writing(run)
    if len(run.seconds) not in run.pictures:
        run.problem = f"ended after {len(run.seconds)} evaluations without a picture"
    return run


def _lines(command: list, folder: Path, run: Run, work: Path) -> Iterator[str]:
    """Yield what a process prints, and note when each evaluation ended and the memory it took."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(FILES),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "AA_VGG_19": str(work / MAT),
    }
    log, start = folder / "log.txt", time.perf_counter()
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            now = time.perf_counter()
            if line.startswith("Running optimization"):
                start = now
            elif re.match(r"Iteration \d+ /", line):
                run.seconds.append(now - start)
                run.peak_mb = max(run.peak_mb, peak_megabytes(process.pid))
            yield line
    if process.returncode:
        raise RuntimeError(f"failed: {_reason(log.read_text(encoding='utf-8', errors='replace'))}")


def _forget_writing(run: Run) -> None:
    """Let an evaluation during which a picture was written take as long as one without."""
    steps = np.diff(run.seconds, prepend=0.0)
    written = np.array([index in run.pictures for index in range(1, len(steps) + 1)], bool)
    if written.any() and not written.all():
        steps[written] = np.median(steps[~written])
    run.seconds = np.cumsum(steps).tolist()


def _reason(text: str) -> str:
    """Return the line that tells most: the first error of pip, which is the cause, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:])[0].removeprefix("ERROR: ").replace("|", "/")[:400]
