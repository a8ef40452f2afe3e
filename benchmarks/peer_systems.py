"""Install the systems that we compare with, run them, and say when each evaluation ended."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_megabytes, run_process
from curves import Run

import neural_style_tf as nst

FILES = Path(__file__).parent / "peer_files"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neural-style-tf-peers"
"""Has the environments of the systems, and the weights in their forms."""
MAT, NPZ, PTH = CACHE / "vgg19.mat", CACHE / "vgg19.npz", CACHE / "vgg19.pth"


@dataclasses.dataclass(frozen=True)
class Package:
    """A published system.

    Attributes:
        name: Package and version.
        pins: What goes into its environment first, with dependencies.
        objective: Its objective, as settings of ours.
        iterations: How many it makes by default.
    """

    name: str
    pins: tuple[str, ...]
    objective: dict[str, Any]
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


PLAIN = ("-tv_weight", "0", "-optimizer")
SYSTEMS = (
    System("neural-style 0.5.7, L-BFGS", NEURAL_STYLE, "noise", (*PLAIN, "lbfgs")),
    System("neural-style 0.5.7, L-BFGS", NEURAL_STYLE, "content", (*PLAIN, "lbfgs", "-init", "image")),
    System("neural-style 0.5.7, Adam", NEURAL_STYLE, "noise", (*PLAIN, "adam")),
    System("artificial-artwork 2.0.0, Adam", ARTIFICIAL_ARTWORK, "0.4 content"),
)


def install(package: Package) -> Path:
    """Return the interpreter of an environment that has the package, made on first use.

    Raises:
        RuntimeError: It cannot be made; says why in one line.
    """
    folder, contents = (
        CACHE / f"env-{package.name.partition('=')[0]}",
        " ".join((*package.pins, package.name)),
    )
    python, marker = folder / "bin" / "python", folder / "installed"
    if marker.exists() and marker.read_text(encoding="utf-8") == contents:
        return python
    print(f"installing {package.name} in {folder}", file=sys.stderr)
    pip = (python, "-m", "pip", "install", "--quiet")
    # No torchvision loads beside every torch; peer_files has what neural-style needs of it.
    alone = ("--no-deps",) if package is NEURAL_STYLE else ()
    for command in (
        (sys.executable, "-m", "venv", "--clear", folder),
        (*pip, *package.pins),
        (*pip, *alone, package.name),
    ):
        ended = run_process(command)
        if ended.code:
            raise RuntimeError(f"not installed: {_reason(ended.output)}")
    marker.write_text(contents, encoding="utf-8")
    return python


def export_weights() -> None:
    """Write the bundled network in the form of each system, with VGG-19's layers.

    Where VGG-16 lacks a convolution stands an identity: relu(relu(x)) = relu(x).
    """
    import scipy.io

    weights, arrays, layers = nst.load_weights("bundled"), {}, []
    CACHE.mkdir(parents=True, exist_ok=True)
    # An index of PyTorch counts convolutions, ReLUs and poolings.
    for index, name in enumerate((*nst.VGG19.layers, "pool5")):
        if not name.startswith("conv"):
            layers.append({"name": name, "type": name[:4]})
            continue
        depth = nst.VGG19.depth(name)
        identity = np.zeros((3, 3, depth, depth), np.float32)
        identity[1, 1] = np.eye(depth)
        kernel = weights.kernels.get(name, identity)
        bias = weights.biases.get(name, np.zeros(depth, np.float32))
        layers.append({"name": name, "type": "conv", "weights": _cell(kernel, bias.reshape(-1, 1))})
        # PyTorch keeps [N_out, N_in, 3, 3], this network's file BGR.
        planes = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        arrays[f"features.{index}.weight"] = np.ascontiguousarray(planes.transpose(3, 2, 0, 1))
        arrays[f"features.{index}.bias"] = bias
    scipy.io.savemat(MAT, {"layers": _cell(*layers)}, oned_as="column")
    np.savez(NPZ, **arrays)


def _cell(*items: Any) -> np.ndarray:
    """Return a cell of MATLAB."""
    cell = np.empty((1, len(items)), object)
    for index, item in enumerate(items):
        cell[0, index] = item
    return cell


def run_system(
    system: System, content: Path, style: Path, folder: Path, *, size: int, save_every: int = 0
) -> Run:
    """Run a peer to its end, as many iterations as it makes by itself.

    Args:
        system: Which; its weights are written already.
        content: The content picture, at the size of the result.
        style: The style picture.
        folder: What is written goes here.
        size: The longest side of the result.
        save_every: Evaluations between two pictures; 0: the last alone.
    """
    iterations, run = system.package.iterations, Run()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        python = install(system.package)
        if system.package is NEURAL_STYLE:
            subprocess.run([python, FILES / "npz_to_pth.py", NPZ, PTH], check=True, capture_output=True)
            # Paths are relative: it reads the kind of network off the whole path of the file.
            command = [
                *(python.parent / "neural-style", "-gpu", "c", "-seed", 0),
                *("-model_file", os.path.relpath(PTH, folder), "-disable_check"),
                *("-content_image", content, "-style_image", style, "-image_size", size),
                *("-num_iterations", iterations, "-print_iter", 1, "-save_iter", save_every),
                *("-output_image", "out.png", *system.flags),
            ]
        else:
            script = FILES / "run_artificial_artwork.py"
            command = [python, script, content, style, iterations, save_every or iterations]
        _follow(command, folder, run)
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


def _follow(command: list, folder: Path, run: Run) -> None:
    """Run a program; note when each evaluation ended, and the memory that it took."""
    variables = {"PYTHONPATH": str(FILES), "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    log, began = folder / "log.txt", time.perf_counter()
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env={**os.environ, **variables, "AA_VGG_19": str(MAT)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        for line in process.stdout:
            now = time.perf_counter()
            if line.startswith("Running optimization"):
                began = now
            elif re.match(r"Iteration \d+ /", line):
                run.seconds.append(now - began)
                run.peak_mb = max(run.peak_mb, peak_megabytes(process.pid))
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
