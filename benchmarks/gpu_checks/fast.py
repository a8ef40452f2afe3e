"""How fast a GPU is, and how large a picture fits into it."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import ONE_SCALE, ChildError, seconds_of, settings, start, stepper
from step import make_limit

import neural_style_tf as nst
from gpu_checks.bench import Bench, Check, failed, row
from gpu_checks.right import FORMATS

GOALS = {("TF32", 512): 4.0, ("bfloat16", 512): 2.0}
"""Format, size → most milliseconds of an iteration with Adam on an H100."""
GOAL_OF_A_RUN = 10.0
"""Most seconds of `--preset=balanced` at 1024, without the start of Python and TensorFlow."""
AT_ONCE = 20
"""Iterations between two records."""


def checks(bench: Bench) -> list[Check]:
    """Return the checks in order."""
    names = ["float32"] if bench.quick else ["bfloat16", "TF32", "float32"]
    timed = [functools.partial(iterations, bench, name) for name in names]
    return [functools.partial(roots, bench), *timed, functools.partial(whole_runs, bench),
            functools.partial(largest, bench)]  # fmt: skip


def whole_runs(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time `--preset=balanced` from the command to the file."""
    for size in (48,) if bench.quick else (512, 1024):
        for turn in ("first time", "second time", "without cuDNN's autotuning"):
            untuned = {"TF_CUDNN_USE_AUTOTUNE": "0"} if "without" in turn else {}
            done = bench.run(*bench.flags(size), **untuned)
            if done.code:
                yield failed(f"balanced at {size}", RuntimeError(f"exit code {done.code}: {done.last_line}"))
                break
            scales: dict[int, float] = {}
            for record in done.records:
                scales.setdefault(record["scale"], record["seconds"])
            painting = done.records[-1]["seconds"]
            goal = size == 1024 and turn == "second time" and bench.has_gpu
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
    error = None
    try:
        rows = bench.call("fast.time_iterations", sizes=sizes, precision=FORMATS[name], timeout=80)
    except ChildError as problem:
        rows, error = problem.values, problem
    for found in rows:
        size, what = found["size"], found["what"]
        if "error" in found:
            yield row(f"{name}, {what} at {size}", found["error"])
            continue
        goal = GOALS.get((name, size)) if bench.has_gpu and what == "Adam" else None
        milliseconds, share = 1000 * found["seconds"], found["limit"] / found["seconds"]
        yield row(
            f"{name}, {what} at {size}",
            f"{milliseconds:.2f} ms, {size * size / 1e6 / found['seconds']:.1f} megapixel·iterations/s, "
            f"{1000 * found['alone']:.2f} ms one at a time, {share:.0%} of the convolutions' limit, "
            f"{found['peak'] / 1e9:.2f} GB, {found['first']:.1f} s until the first two are done",
            None if goal is None else milliseconds <= goal,
            **found,
        )
    if error:
        yield failed(f"iterations in {name}", error)


def roots(bench: Bench) -> Iterator[dict[str, Any]]:
    """Time the eigendecompositions that the Wasserstein loss makes."""
    try:
        rows = bench.call("fast.time_roots", sizes=[16] if bench.quick else [64, 128, 256, 512])
    except ChildError as error:
        yield failed("eigendecompositions", error)
        return
    for found in rows:
        times = ", ".join(f"{where} {1000 * s:.2f} ms" for where, s in found["seconds"].items())
        yield row(f"eigh of {found['size']}×{found['size']} in {found['dtype']}", times, **found)


def largest(bench: Bench) -> Iterator[dict[str, Any]]:
    """Find the largest square picture that is computed in one piece, and compare it with tiles."""
    sizes = [64] if bench.quick else [5760, 5824, 8192] if bench.has_gpu else [512]
    error = None
    try:
        rows = bench.call("fast.try_sizes", sizes=sizes, tile=32 if bench.quick else 2048, timeout=80)
    except ChildError as problem:
        rows, error = problem.values, problem
    for found in rows:
        check = f"one piece of {found['size']}×{found['size']}, bfloat16, Adam"
        if "error" in found:
            yield row(check, found["error"], None if "ResourceExhausted" in found["error"] else False)
            continue
        yield row(
            check,
            f"{found['seconds']:.2f} s an iteration, {found['peak'] / 1e9:.1f} GB; "
            f"its total differs by {found['difference']:.1e} from that in tiles",
            found["difference"] < 1e-2,
            **found,
        )
    if error:
        yield failed("larger pictures in one piece", error)


def median_of(function: Any, rounds: int) -> float:
    """Return the median time of a call that waits for its result."""
    return statistics.median(seconds_of(function) for _ in range(rounds))


def peak_memory() -> int:
    """Return the most bytes of the first GPU that were in use since this was last called; 0 without one."""
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return 0
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


def noise(size: int) -> nst.Inputs:
    """Return a content and a style picture of noise."""
    picture = np.random.default_rng(0).uniform(0, 255, (size, size, 3)).astype(np.float32)
    return nst.Inputs(picture, picture[:1024, :1024][::-1])


def balanced(**changes: Any) -> nst.Config:
    """Return `balanced` at one scale, as GPUs compute it."""
    return settings(convolution="direct", **ONE_SCALE, **({"tile": "none"} | changes))


def time_iterations(*, sizes: list[int], precision: str, weights: str) -> Iterator[dict[str, Any]]:
    """Time Adam and L-BFGS at each size, and the convolutions alone."""
    start()
    import tensorflow as tf

    from neural_style_tf.models.precision import compute_dtype

    loaded = nst.load_weights(weights)
    for size in sizes:
        rounds, limit = (9, None) if size <= 1024 else (3, None)
        for what, optimizer in (("Adam", "adam"), ("L-BFGS", "lbfgs")):
            try:
                session = nst.Session(loaded, keep_bytes=0)
                config = balanced(precision=precision, optimizer=optimizer, log_every=1)
                peak_memory()
                began = time.perf_counter()
                step = stepper(session, noise(size), config)
                first = time.perf_counter() - began
                alone = median_of(step, rounds)
                del step
                many = stepper(session, noise(size), config.replace(log_every=AT_ONCE))
                seconds = median_of(many, 3 if size <= 1024 else 1) / AT_ONCE
                peak = peak_memory()
                if limit is None:
                    call, _ = make_limit(size, "relu5_1", compute_dtype(precision), nst.VGG16)
                    call()
                    limit = median_of(call, rounds)
                figures = {"seconds": seconds, "alone": alone, "limit": limit, "first": first, "peak": peak}
                yield {"what": what, "size": size, **figures}
            except tf.errors.ResourceExhaustedError as error:
                yield {"what": what, "size": size, "error": _first_line(error)}
            session = many = None
            gc.collect()


def time_roots(*, sizes: list[int], weights: str) -> Iterator[dict[str, Any]]:
    """Time `tf.linalg.eigh` of a covariance on each device."""
    del weights
    start()
    import tensorflow as tf

    for size in sizes:
        for dtype in ("float32", "float64"):
            matrix = np.random.default_rng(0).normal(size=(2 * size, size)).astype(dtype)
            covariance, seconds = tf.constant(matrix.T @ matrix / len(matrix)), {}
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
    start()
    loaded = nst.load_weights(weights)
    for size in sizes:
        config = balanced(precision="bfloat16", optimizer="adam")
        try:
            peak_memory()
            run = nst.Session(loaded, keep_bytes=0).run(noise(size), config)
            total, _ = next(run).total, next(run)
            seconds, peak = seconds_of(lambda r=run: next(r)), peak_memory()
            run.close()
            gc.collect()
            pieces = nst.Session(loaded, keep_bytes=0).run(noise(size), config.replace(tile=str(tile)))
            tiled = next(pieces).total
            pieces.close()
            yield {"size": size, "seconds": seconds, "peak": peak, "difference": abs(total / tiled - 1)}
        except Exception as error:
            yield {"size": size, "error": f"{type(error).__name__}: {_first_line(error)}"}
        gc.collect()


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
