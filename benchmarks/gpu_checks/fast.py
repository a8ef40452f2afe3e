"""How fast a GPU is, and how large a picture fits into it."""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpu_checks.bench import Bench, ChildError, failed, row
from gpu_checks.right import FORMATS
from neural_style_tf.runs.manifest import Manifest

GOALS = {("TF32", 512): 4.0, ("bfloat16", 512): 2.0}
"""Format, size → most milliseconds of an iteration with Adam on an H100."""
GOAL_OF_A_RUN = 10.0
"""Most seconds of `--preset=balanced` at 1024, without the start of Python and TensorFlow."""


def checks(bench: Bench) -> Iterator[Callable[[], Iterator[dict[str, Any]]]]:
    """Yield the checks in order."""
    yield functools.partial(roots, bench)
    for name in ("bfloat16", "TF32", "float32"):
        if name == "float32" or not bench.quick:
            yield functools.partial(iterations, bench, name)
    yield functools.partial(whole_runs, bench)
    yield functools.partial(largest, bench)


def whole_runs(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time `--preset=balanced` from the command to the file."""
    for size in (48,) if bench.quick else (512, 1024):
        flags = [
            f"--content={bench.picture('astronaut', size)}",
            f"--style={bench.picture('starry_night', size)}",
            "--preset=balanced",
            f"--image_size={size}",
            *(["--iterations=2", "--scales=1", "--scale_iterations="] if bench.quick else []),
        ]
        for turn in ("first time", "second time", "without cuDNN's autotuning"):
            untuned = {"TF_CUDNN_USE_AUTOTUNE": "0"} if "without" in turn else {}
            done = bench.run(*flags, **untuned)
            if done.code:
                yield failed(f"balanced at {size}", RuntimeError(f"exit code {done.code}: {done.last_line}"))
                break
            manifest = Manifest.from_json((done.folder / "run.json").read_text(encoding="utf-8"))
            painting = manifest.seconds
            goal = size == 1024 and turn == "second time" and bench.has_gpu
            lines = (done.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            scales: dict[int, float] = {}
            for one in map(json.loads, lines):
                scales.setdefault(one.get("scale", 0), one["seconds"])
            begun = ", ".join(f"{seconds:.1f}" for seconds in scales.values())
            yield row(
                f"balanced at {size}, command to file, {turn}",
                f"{done.seconds:.1f} s, {painting:.1f} s of it painting; scales first recorded at {begun} s",
                painting <= GOAL_OF_A_RUN if goal else None,
                seconds=done.seconds,
                painting=painting,
            )


def iterations(bench: Bench, name: str) -> Iterator[dict[str, Any]]:
    """Time iterations in one number format."""
    sizes = [48] if bench.quick else [256, 512, 1024, 2048, 4096] if bench.has_gpu else [128, 256]
    rows, error = [], None
    try:
        rows = bench.child(
            "fast.time_iterations",
            sizes=sizes,
            device_has_memory=bench.has_gpu,
            precision=FORMATS[name],
            timeout=80,
        )
    except ChildError as problem:
        rows, error = problem.found, problem
    for found in rows:
        size = found["size"]
        if "error" in found:
            yield row(f"{name}, {found['what']} at {size}", found["error"], None)
            continue
        goal = GOALS.get((name, size)) if bench.has_gpu and found["what"] == "Adam" else None
        milliseconds = 1000 * found["seconds"]
        text = f"{milliseconds:.2f} ms, {size * size / 1e6 / found['seconds']:.1f} megapixel·iterations/s"
        if "alone" in found:
            text += f", {1000 * found['alone']:.2f} ms one call at a time"
        if "limit" in found:
            text += f", {found['limit'] / found['seconds']:.0%} of the convolutions' limit"
        if found.get("peak"):
            text += f", {found['peak'] / 1e9:.2f} GB"
        if "first" in found:
            text += f", {found['first']:.1f} s until the first is done"
        ok = None if goal is None else milliseconds <= goal
        yield row(f"{name}, {found['what']} at {size}", text, ok, **found)

    if error:
        yield failed(f"iterations in {name}", error)


def roots(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time the eigendecompositions that the Wasserstein loss makes."""
    sizes = [16] if bench.quick else [64, 128, 256, 512]
    try:
        rows = bench.child("fast.time_roots", sizes=sizes)
    except RuntimeError as error:
        yield failed("eigendecompositions", error)
        return
    for found in rows:
        times = ", ".join(f"{where} {1000 * s:.2f} ms" for where, s in found["seconds"].items())
        yield row(f"eigh of {found['size']}×{found['size']} in {found['dtype']}", times, None, **found)


def largest(bench: Bench) -> Iterator[dict[str, Any]]:
    """Find the largest square picture that is computed in one piece, and compare it with tiles."""
    sizes = [64] if bench.quick else [5760, 5824, 8192] if bench.has_gpu else [512]
    error = None
    try:
        rows = bench.child("fast.try_sizes", sizes=sizes, tile=32 if bench.quick else 2048, timeout=80)
    except ChildError as problem:
        rows, error = problem.found, problem
    for found in rows:
        yield row(
            f"one piece of {found['size']}×{found['size']}, bfloat16, Adam",
            found.get("error")
            or f"{found['seconds']:.2f} s an iteration, {found['peak'] / 1e9:.1f} GB; "
            f"its total differs by {found['difference']:.1e} from that in tiles",
            (None if "ResourceExhausted" in found["error"] else False)
            if "error" in found
            else found["difference"] < 1e-2,
            **found,
        )
    if error:
        yield failed("larger pictures in one piece", error)


def median_of(function: Callable[[], Any], rounds: int) -> float:
    """Return the median time of a call that waits for its result."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_memory() -> int:
    """Return the most bytes of the first GPU that were in use since this was last called; 0 without one."""
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return 0
    found = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return found


def random_solver(config: Any, size: int, weights: Any) -> Any:
    """Return a solver of a picture of noise that has started."""
    from neural_style_tf.transfer.session import make_solver

    picture = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32)
    style = picture[: min(size, 1024), : min(size, 1024)][::-1]
    solver = make_solver([picture, style], config, weights)
    bool(solver.start())
    return solver


def one_size(precision: str, optimizer: str) -> Any:
    """Return the settings of `balanced` at one scale."""
    from neural_style_tf.config.presets import preset

    return preset("balanced").replace(
        image_size=0,
        scales=1,
        scale_iterations=(),
        precision=precision,
        optimizer=optimizer,
        convolution="direct",
        tile="none",
    )


def make_limit(size: int, deepest: str, precision: str) -> Callable[[], Any]:
    """Return a function that runs the network's convolutions alone, in one graph, and waits for them."""
    import tensorflow as tf
    from step import convolution_shapes

    from neural_style_tf.models.architecture import VGG16
    from neural_style_tf.models.precision import compute_dtype

    calls = []
    for _, side, n_in, n_out in convolution_shapes(size, deepest, VGG16):
        kernel, below, above = (
            tf.cast(tf.random.normal(shape), compute_dtype(precision))
            for shape in ((3, 3, n_in, n_out), (1, side, side, n_in), (1, side, side, n_out))
        )
        calls.append((kernel, below, above))

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        total = tf.zeros([], tf.float32)
        for kernel, below, above in calls:
            forward = tf.nn.conv2d(below, kernel, 1, "SAME")
            backward = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=below.shape,
                filter=kernel,
                out_backprop=above,
                strides=[1, 1, 1, 1],
                padding="SAME",
            )
            total += tf.cast(forward[0, 0, 0, 0], tf.float32) + tf.cast(backward[0, 0, 0, 0], tf.float32)
        return total

    return lambda: run().numpy()


def time_iterations(
    *, sizes: list[int], precision: str, device_has_memory: bool, weights: str
) -> Iterator[dict[str, Any]]:
    """Time Adam and L-BFGS at each size, the objective alone with and without XLA, and the convolutions."""
    import gc

    import tensorflow as tf

    from neural_style_tf.weights.resolve import load_weights

    loaded = load_weights(weights)
    one = tf.constant(1, tf.int64)
    for size in sizes:
        many = tf.constant(20 if size <= 1024 else 4, tf.int64)
        limit = None
        for what, optimizer in (("Adam", "adam"), ("L-BFGS", "lbfgs")):
            if optimizer == "lbfgs" and size not in (512, 1024, 2048, sizes[-1])[: 2 if size != 2048 else 3]:
                continue
            try:
                peak_memory()
                config = one_size(precision, optimizer)
                start = time.perf_counter()
                solver = random_solver(config, size, loaded)
                bool(solver.advance(one))
                first = time.perf_counter() - start
                bool(solver.advance(many))
                peak = peak_memory()
                alone = median_of(lambda s=solver: bool(s.advance(one)), 9 if size <= 1024 else 3)
                many_times = median_of(lambda s=solver, n=many: bool(s.advance(n)), 3 if size <= 1024 else 1)
                if limit is None:
                    limit = make_limit(size, "relu5_1", precision)
                    limit()
                    limit = median_of(limit, 7 if size <= 1024 else 3)
                yield {
                    "what": what,
                    "size": size,
                    "seconds": many_times / int(many),
                    "alone": alone,
                    "limit": limit,
                    "first": first,
                    "peak": peak if device_has_memory else 0,
                }
                if optimizer == "adam" and size in (sizes[0], 512):
                    yield from _objective_alone(solver, size)
            except tf.errors.ResourceExhaustedError as error:
                yield {"what": what, "size": size, "error": _first_line(error)}
            solver = None
            gc.collect()


def _objective_alone(solver: Any, size: int) -> Iterator[dict[str, Any]]:
    """Time losses and gradient without a solver; as TensorFlow's own kernels, and compiled by XLA."""
    import tensorflow as tf

    for what, xla in (("losses and gradient", False), ("losses and gradient, XLA", True)):
        try:
            function = tf.function(
                lambda image: solver.step.evaluation(image, solver.arguments),
                autograph=False,
                jit_compile=xla,
            )
            image = tf.convert_to_tensor(solver.image)
            call = lambda f=function, i=image: f(i)[0]["total"].numpy()  # noqa: E731
            call()
            yield {"what": what, "size": size, "seconds": median_of(call, 9)}
        except Exception as error:
            yield {"what": what, "size": size, "error": _first_line(error)}


def time_roots(*, sizes: list[int], weights: str) -> Iterator[dict[str, Any]]:
    """Time `tf.linalg.eigh` of a covariance on each device."""
    import tensorflow as tf

    del weights
    for size in sizes:
        for dtype in ("float32", "float64"):
            matrix = np.random.default_rng(0).normal(size=(2 * size, size)).astype(dtype)
            covariance = tf.constant(matrix.T @ matrix / len(matrix))
            seconds = {}
            for device in ("GPU", "CPU") if tf.config.list_logical_devices("GPU") else ("CPU",):
                with tf.device(f"{device}:0"):
                    function = tf.function(tf.linalg.eigh, autograph=False)
                    call = lambda f=function, c=covariance: f(c)[0].numpy()  # noqa: E731
                    try:
                        call()
                        seconds[device] = median_of(call, 7)
                    except tf.errors.OpError:
                        seconds[device] = float("nan")
            yield {"size": size, "dtype": dtype, "seconds": seconds}


def try_sizes(*, sizes: list[int], tile: int, weights: str) -> Iterator[dict[str, Any]]:
    """Make steps of larger and larger pictures in one piece, and evaluate each in tiles, too."""
    import gc

    import tensorflow as tf

    from neural_style_tf.weights.resolve import load_weights

    loaded = load_weights(weights)
    one = tf.constant(1, tf.int64)
    for size in sizes:
        try:
            peak_memory()
            config = one_size("bfloat16", "adam")
            solver = random_solver(config, size, loaded)
            total = solver.losses["total"]
            bool(solver.advance(one))
            seconds = median_of(lambda s=solver: bool(s.advance(one)), 1)
            peak = peak_memory()
            solver = None
            gc.collect()
            tiled = random_solver(config.replace(tile=str(tile)), size, loaded).losses["total"]
            difference = abs(total - tiled) / abs(tiled)
            yield {"size": size, "seconds": seconds, "peak": peak, "difference": difference}
        except Exception as error:
            solver = None
            gc.collect()
            yield {"size": size, "error": f"{type(error).__name__}: {_first_line(error)}"}


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].replace("|", "/")
