"""Whether a GPU computes what the CPU does."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpu_checks.bench import Bench, failed, row

EXACT = 1e-4
"""Largest difference in float32, as a share of the norm of what is compared."""
WASSERSTEIN = 5e-3
"""The same for the gradient of the Wasserstein loss. Its root of a covariance, singular where a layer has
fewer positions than channels, makes rounding of the moments up to 1/√ε = 100 times larger
(`wasserstein.RIDGE`)."""
STEPS = 10
DIRECTED = "two regions of a frame"
"""The case with two styles, masks, and what was painted before of a clip."""
FORMATS = {"float32": "float32", "TF32": "tf32", "bfloat16": "bfloat16"}
"""Name → `--precision`."""


def checks(bench: Bench) -> Iterator[Callable[[], Iterator[dict[str, Any]]]]:
    """Yield the checks in order."""
    yield functools.partial(against_the_cpu, bench)
    yield functools.partial(tiles, bench)
    yield functools.partial(bits, bench)
    yield functools.partial(replicas, bench)


def against_the_cpu(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare losses, gradients and ten steps of each solver."""
    size = [40, 56] if bench.quick else [150, 200]
    reference = str(bench.folder / "reference.npz")
    styles = {case: config.loss.style_loss for case, config in cases("float32").items()}
    try:
        bench.child("right.evaluate_all", device="CPU", size=size, out=reference, precision="float32")
        expected = dict(np.load(reference))
    except (RuntimeError, OSError) as error:
        yield failed("reference on the CPU", error)
        return
    for name, precision in list(FORMATS.items())[: 1 if bench.quick else None]:
        out = str(bench.folder / f"{name}.npz")
        try:
            bench.child("right.evaluate_all", size=size, out=out, precision=precision)
            found = dict(np.load(out))
        except (RuntimeError, OSError) as error:
            yield failed(f"{name} against the CPU", error)
            continue
        exact = name == "float32"
        for kind, label, limit in (
            ("losses", "losses", EXACT),
            ("gradient", "gradient", EXACT),
            ("total", f"total after {STEPS} steps", 10 * EXACT),
        ):
            limits = dict.fromkeys(styles, limit)
            if kind != "losses":
                limits |= {case: WASSERSTEIN for case, style in styles.items() if style == "wasserstein"}
            errors = {
                key.removesuffix(f"/{kind}"): difference(found[key], value)
                for key, value in expected.items()
                if key.endswith(f"/{kind}")
            }
            worst = max(errors, key=lambda key: np.nan_to_num(errors[key] / limits[key], nan=np.inf))
            yield row(
                f"{name} against the CPU in float32: {label}, {len(errors)} cases",
                f"differ by up to {errors[worst]:.1e} ({worst}; limit {limits[worst]:.0e})",
                bool(errors[worst] <= limits[worst]) if exact else None,
                errors=errors,
            )


def tiles(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare the gradient in tiles with that in one piece."""
    size, tile = ([70, 90], 32) if bench.quick else ([500, 700], 256)
    for name, precision in list(FORMATS.items())[: 1 if bench.quick else None]:
        try:
            found = dict(bench.child("right.compare_tiles", size=size, tile=tile, precision=precision))
        except RuntimeError as error:
            yield failed(f"{name}: tiles", error)
            continue
        for loss, error in found.items():
            limit = WASSERSTEIN if loss == "wasserstein" else EXACT
            yield row(
                f"{name}, {loss}: gradient in tiles of {tile}, {size[1]}×{size[0]}",
                f"differs by {error:.1e} from that in one piece",
                error <= limit if name == "float32" else None,
                error=error,
            )


def bits(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare a run with its repetition."""
    size = [40, 56] if bench.quick else [300, 400]
    for deterministic in (True, False):
        label = "with --deterministic" if deterministic else "without --deterministic"
        try:
            runs = [
                run
                for precision in ("float32", "bfloat16")[: 1 if bench.quick else None]
                for _ in range(2 if deterministic else 1)
                for run in bench.child(
                    "right.repeat", size=size, deterministic=deterministic, precision=precision
                )
            ]
        except RuntimeError as error:
            yield failed(f"the same flags twice, {label}", error)
            continue
        for precision in dict.fromkeys(run["precision"] for run in runs):
            mine = [run for run in runs if run["precision"] == precision]
            images = [run[turn] for run in mine for turn in ("images", "again")]
            same = all(image == images[0] for image in images)
            largest = max(value for run in mine for value in run["difference"].values())
            yield row(
                f"the same flags twice, {label}, {precision}: {STEPS} steps of each solver",
                f"the same bits, in {len(mine)} process(es)"
                if same
                else f"differ, by {largest:.2g} grey levels at most within a process",
                same if deterministic else None,
                seconds=mine[0]["seconds"],
            )


def replicas(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare two replicas with one device."""
    size = [70, 90] if bench.quick else [300, 400]
    if not bench.has_gpu:
        yield row("two replicas", "only with a GPU; tests/distributed has it on the CPU")
        return
    try:
        [found] = bench.child("right.compare_replicas", start=False, size=size)
    except RuntimeError as error:
        yield failed("two logical devices of one GPU", error)
        return
    yield row(
        f"two logical devices of one GPU against one: gradient, and total after {STEPS} steps",
        f"differ by {found['gradient']:.1e} and {found['total']:.1e} (limit {WASSERSTEIN:.0e})",
        max(found["gradient"], found["total"]) <= WASSERSTEIN,
    )


def difference(found: Any, expected: Any) -> float:
    """Return ‖found − expected‖ / ‖expected‖ for gradients, the largest relative difference for losses."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.ndim == 1:
        return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-30)))
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def cases(precision: str) -> dict[str, Any]:
    """Return the settings to compare, by name: every preset, and every style loss."""
    from neural_style_tf.config.presets import PRESETS

    one_size = {
        "image_size": 0,
        "scales": 1,
        "scale_iterations": (),
        "precision": precision,
        "convolution": "direct",
        "tile": "none",
    }
    found = {name: config.replace(**one_size) for name, config in PRESETS.items()}
    base = found["balanced"]
    for loss in ("gatys", "mean", "moments", "relative", "wasserstein"):
        if loss != base.loss.style_loss:
            found[f"style_loss={loss}"] = base.replace(style_loss=loss)
    # What of `balanced` a GPU computes in another way.
    found["padding=zero"] = base.replace(padding="zero")
    found[DIRECTED] = base
    return found


def pictures(size: list[int]) -> list[np.ndarray]:
    """Return content, two styles, and an initial picture, of examples, [H, W, 3]."""
    from gpu_checks.bench import ROOT
    from neural_style_tf.images import load_image, resize

    content, *styles = (
        resize(load_image(str(ROOT / "examples" / f"{name}.jpg")).pixels, tuple(size))
        for name in ("chelsea", "mosaic", "strokes")
    )
    noise = np.random.default_rng(0).uniform(-20, 20, content.shape)
    return [np.asarray(p, np.float32) for p in (content, *styles, np.clip(content + noise, 0, 255))]


def directions(size: list[int], frame: np.ndarray, config: Any) -> dict[str, Any]:
    """Return regions with a soft border, and half of the frame known from before, for `make_solver`."""
    from neural_style_tf.losses.temporal import Warped
    from neural_style_tf.transfer.masks import Masks

    ramp = np.tile(np.linspace(0, 1, size[1], dtype=np.float32), (size[0], 1))
    left = np.clip(4 * ramp - 1.5, 0, 1)
    masks = Masks(content=(left, 1 - left)).check(2, config)
    warped = Warped(np.roll(frame, 2, 1), (ramp > 0.5).astype(np.float32))
    return {"guidance": masks.at(tuple(size), [tuple(size)] * 2, config), "warped": warped}


def make(config: Any, weights: Any, size: list[int], *, cluster: Any = None, directed: bool = False) -> Any:
    """Return a solver that has started."""
    from neural_style_tf.transfer.session import make_solver

    content, *styles, initial = pictures(size)
    directing = directions(size, content, config) if directed else {}
    given = [content, *styles[: 2 if directed else 1]]
    solver = make_solver(given, config, weights, cluster=cluster, initial=initial, **directing)
    if not solver.start():
        raise RuntimeError("the first losses are not finite")
    return solver


def evaluate_all(*, size: list[int], precision: str, out: str, weights: str) -> Iterator[str]:
    """Write losses, gradient and total after some steps of every case to an .npz file; yield its name."""
    from neural_style_tf.config.presets import PRESETS
    from neural_style_tf.weights.resolve import load_weights

    loaded, found = load_weights(weights), {}
    for name, config in cases(precision).items():
        if precision != "float32" and name not in ("original", "gatys", "balanced", DIRECTED):
            continue
        solver = make(config, loaded, size, directed=name == DIRECTED)
        found[f"{name}/losses"] = solver.state["values"].numpy()
        found[f"{name}/gradient"] = solver.state["gradient"].numpy()
        if name in PRESETS:
            solver.advance(STEPS)
            found[f"{name}/total"] = solver.state["values"].numpy()[:1]
    np.savez(out, **found)
    yield out


def compare_tiles(*, size: list[int], tile: int, precision: str, weights: str) -> Iterator[tuple[str, float]]:
    """Yield style loss and how far its gradient in tiles is from that in one piece."""
    from neural_style_tf.weights.resolve import load_weights

    config, loaded = cases(precision)["balanced"], load_weights(weights)
    for loss in ("relative", "wasserstein"):
        config = config.replace(style_loss=loss)
        solvers = [make(config.replace(tile=t), loaded, size) for t in (str(tile), "none")]
        yield loss, difference(*(solver.state["gradient"].numpy() for solver in solvers))


def repeat(*, size: list[int], deterministic: bool, precision: str, weights: str) -> Iterator[dict[str, Any]]:
    """Run each solver twice; yield hashes of both images, and how they differ."""
    import time

    import tensorflow as tf

    from neural_style_tf.weights.resolve import load_weights

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    loaded = load_weights(weights)
    found: dict[str, Any] = {
        "precision": precision,
        "images": {},
        "again": {},
        "difference": {},
        "seconds": {},
    }
    for name in ("adam", "lbfgs"):
        config = cases(precision)["balanced"].replace(optimizer=name, deterministic=deterministic)
        images = []
        for _ in range(2):
            solver = make(config, loaded, size)
            start = time.perf_counter()
            solver.advance(STEPS)
            images.append(solver.image.numpy())
            found["seconds"][name] = (time.perf_counter() - start) / STEPS
        hashes = [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images]
        found["images"][name], found["again"][name] = hashes
        found["difference"][name] = float(np.abs(images[0] - images[1]).max())
    yield found


def compare_replicas(*, size: list[int], weights: str) -> Iterator[dict[str, float]]:
    """Yield how far two logical devices of one GPU are from one."""
    import tensorflow as tf

    from neural_style_tf.distributed.replicas import Cluster
    from neural_style_tf.weights.resolve import load_weights

    gpu = tf.config.list_physical_devices("GPU")[0]
    half = tf.config.LogicalDeviceConfiguration(memory_limit=8192)
    tf.config.set_logical_device_configuration(gpu, [half, half])
    loaded, config = load_weights(weights), cases("float32")["balanced"].replace(optimizer="adam")
    solvers = []
    devices = tf.config.list_logical_devices("GPU")
    # NCCL refuses two ranks on one card.
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in devices], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    for cluster in (Cluster(), Cluster(strategy)):
        solver = make(config, loaded, size, cluster=cluster)
        gradient = solver.state["gradient"].numpy()
        solver.advance(STEPS)
        solvers.append((gradient, solver.state["values"].numpy()[:1]))
    (one_gradient, one_total), (gradient, total) = solvers
    yield {"gradient": difference(gradient, one_gradient), "total": difference(total, one_total)}
