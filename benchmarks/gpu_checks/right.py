"""Whether a GPU computes what the CPU does."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import ONE_SCALE, ChildError, load_pair, settings, start

import neural_style_tf as nst
from gpu_checks.bench import Bench, Check, failed, row

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
FEW = ("original", "gatys", "balanced", DIRECTED)
"""Cases of formats other than float32, and of --quick."""


def checks(bench: Bench) -> list[Check]:
    """Return the checks in order."""
    return [functools.partial(check, bench) for check in (against_the_cpu, tiles, bits, replicas)]


def formats(bench: Bench) -> dict[str, str]:
    """Return the formats that are compared."""
    return {"float32": "float32"} if bench.quick else FORMATS


def against_the_cpu(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare losses, gradients and ten steps of each solver."""
    size = [40, 56] if bench.quick else [150, 200]
    styles = {case: config.loss.style_loss for case, config in cases("float32").items()}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for name, precision in {"reference": "float32", **formats(bench)}.items():
        out = str(bench.folder / f"{name}.npz")
        device = "CPU" if name == "reference" else "GPU"
        try:
            few = bench.quick or precision != "float32"
            bench.call("right.evaluate_all", device, size=size, out=out, precision=precision, few=few)
            arrays[name] = dict(np.load(out))
        except (ChildError, OSError) as error:
            yield failed(f"{name} against the CPU", error)
            if name == "reference":
                return
    expected = arrays.pop("reference")
    for name, found in arrays.items():
        for kind, limit in (("losses", EXACT), ("gradient", EXACT), ("total", 10 * EXACT)):
            errors = {
                key.removesuffix(f"/{kind}"): difference(found[key], expected[key])
                for key in found
                if key.endswith(f"/{kind}")
            }
            sensitive = kind != "losses"
            limits = {
                case: WASSERSTEIN if sensitive and styles[case] == "wasserstein" else limit for case in errors
            }
            worst = max(errors, key=lambda case: np.nan_to_num(errors[case] / limits[case], nan=np.inf))
            label = f"total after {STEPS} steps" if kind == "total" else kind
            yield row(
                f"{name} against the CPU in float32: {label}, {len(errors)} cases",
                f"differ by up to {errors[worst]:.1e} ({worst}; limit {limits[worst]:.0e})",
                bool(errors[worst] <= limits[worst]) if name == "float32" else None,
                errors=errors,
            )


def tiles(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare the gradient in tiles with that in one piece."""
    size, tile = ([70, 90], 32) if bench.quick else ([500, 700], 256)
    for name, precision in formats(bench).items():
        try:
            errors = dict(bench.call("right.compare_tiles", size=size, tile=tile, precision=precision))
        except ChildError as error:
            yield failed(f"{name}: tiles", error)
            continue
        for loss, error in errors.items():
            limit = WASSERSTEIN if loss == "wasserstein" else EXACT
            yield row(
                f"{name}, {loss}: gradient in tiles of {tile}, {size[1]}×{size[0]}",
                f"differs by {error:.1e} from that in one piece",
                error <= limit if name == "float32" else None,
                error=error,
            )


def bits(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare a run with its repetition, in one process and in another."""
    size = [40, 56] if bench.quick else [300, 400]
    for deterministic in (True, False):
        for precision in ("float32",) if bench.quick else ("float32", "bfloat16"):
            label = f"the same flags twice, --{'' if deterministic else 'no'}deterministic, {precision}"
            arguments = {"size": size, "deterministic": deterministic, "precision": precision}
            try:
                processes = [
                    bench.call("right.repeat", **arguments) for _ in range(2 if deterministic else 1)
                ]
            except ChildError as error:
                yield failed(label, error)
                continue
            results = [dict(zip(("adam", "lbfgs"), values, strict=True)) for values in processes]
            same = all(
                len({image for result in results for image in result[solver]["images"]}) == 1
                for solver in ("adam", "lbfgs")
            )
            largest = max(value["difference"] for result in results for value in result.values())
            yield row(
                f"{label}: {STEPS} steps of each solver",
                f"the same bits, in {len(results)} process(es)"
                if same
                else f"differ, by {largest:.2g} grey levels at most within a process",
                same if deterministic else None,
                seconds={solver: value["seconds"] for solver, value in results[0].items()},
            )


def replicas(bench: Bench) -> Iterator[dict[str, Any]]:
    """Compare two replicas with one device."""
    if not bench.has_gpu:
        yield row("two replicas", "only with a GPU; tests/distributed has it on the CPU")
        return
    try:
        [errors] = bench.call("right.compare_replicas", size=[300, 400])
    except ChildError as error:
        yield failed("two logical devices of one GPU", error)
        return
    yield row(
        f"two logical devices of one GPU against one: gradient, and total after {STEPS} steps",
        f"differ by {errors['gradient']:.1e} and {errors['total']:.1e} (limit {WASSERSTEIN:.0e})",
        max(errors.values()) <= WASSERSTEIN,
    )


def difference(found: Any, expected: Any) -> float:
    """Return ‖found − expected‖ / ‖expected‖ for gradients, the largest relative difference for losses."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.ndim == 1:
        return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-30)))
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def cases(precision: str) -> dict[str, Any]:
    """Return the settings to compare, by name: every preset, and every style loss."""
    fixed = {"precision": precision, "convolution": "direct", "tile": "none", **ONE_SCALE}
    configs = {name: settings(name, **fixed) for name in nst.PRESETS}
    base = configs["balanced"]
    for loss in ("gatys", "mean", "moments", "relative", "wasserstein"):
        if loss != base.loss.style_loss:
            configs[f"style_loss={loss}"] = base.replace(style_loss=loss)
    # What of `balanced` a GPU computes in another way.
    configs["padding=zero"] = base.replace(padding="zero")
    configs[DIRECTED] = base
    return configs


def run(session: nst.Session, config: Any, size: list[int], *, directed: bool = False) -> Iterator[Any]:
    """Return a run of examples [H, W, 3]; if directed with two styles, regions and a frame before."""
    height, width = size
    content, style = (pixels[:height, :width] for pixels in load_pair("chelsea:mosaic", 512))
    noise = np.random.default_rng(0).uniform(-20, 20, content.shape)
    initial = np.clip(content + noise, 0, 255).astype(np.float32)
    inputs = nst.Inputs(content, style, initial)
    if directed:
        from neural_style_tf.losses.temporal import Warped

        other = load_pair("chelsea:strokes", 512)[1][:height, :width]
        ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
        left = np.clip(4 * ramp - 1.5, 0, 1)
        masks = nst.Masks(content=(left, 1 - left))
        warped = Warped(np.roll(content, 2, 1), (ramp > 0.5).astype(np.float32))
        inputs = nst.Inputs(content, (style, other), initial, masks, warped)
    return session.run(inputs, config)


def gradient_of(record: Any) -> np.ndarray:
    """Return the gradient [1, H, W, 3] at the image of a record."""
    return record.state.solver["gradient"].numpy()


def evaluate_all(*, size: list[int], precision: str, few: bool, out: str, weights: str) -> Iterator[str]:
    """Write losses, gradient and total after some steps of every case to an .npz file; yield its name."""
    start()
    session, arrays = nst.Session(nst.load_weights(weights)), {}
    for name, config in cases(precision).items():
        if few and name not in FEW:
            continue
        steps = run(session, config.replace(log_every=STEPS), size, directed=name == DIRECTED)
        record = next(steps)
        arrays[f"{name}/losses"] = np.array(list(record.terms.values()))
        arrays[f"{name}/gradient"] = gradient_of(record)
        if name in nst.PRESETS:
            arrays[f"{name}/total"] = np.array([next(steps).total])
    np.savez(out, **arrays)
    yield out


def compare_tiles(*, size: list[int], tile: int, precision: str, weights: str) -> Iterator[tuple[str, float]]:
    """Yield style loss and how far its gradient in tiles is from that in one piece."""
    start()
    session, config = nst.Session(nst.load_weights(weights)), cases(precision)["balanced"]
    for loss in ("relative", "wasserstein"):
        changed = config.replace(style_loss=loss)
        gradients = [
            gradient_of(next(run(session, changed.replace(tile=pieces), size)))
            for pieces in (str(tile), "none")
        ]
        yield loss, difference(*gradients)


def repeat(*, size: list[int], deterministic: bool, precision: str, weights: str) -> Iterator[dict[str, Any]]:
    """Run each solver twice; yield hashes of both images, how they differ, and the seconds of a step."""
    start()
    loaded = nst.load_weights(weights)
    for optimizer in ("adam", "lbfgs"):
        changes = {"optimizer": optimizer, "deterministic": deterministic, "log_every": STEPS}
        config = cases(precision)["balanced"].replace(**changes)
        images = []
        for _ in range(2):
            steps = run(nst.Session(loaded, keep_bytes=0), config, size)
            next(steps)
            began = time.perf_counter()
            images.append(next(steps).image)
            seconds = (time.perf_counter() - began) / STEPS
        hashes = [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images]
        largest = float(np.abs(images[0] - images[1]).max())
        yield {"images": hashes, "difference": largest, "seconds": seconds}


def compare_replicas(*, size: list[int], weights: str) -> Iterator[dict[str, float]]:
    """Yield how far two logical devices of one GPU are from one."""
    import tensorflow as tf

    from neural_style_tf.distributed.replicas import Cluster

    [gpu, *_] = tf.config.list_physical_devices("GPU")
    half = tf.config.LogicalDeviceConfiguration(memory_limit=8192)
    tf.config.set_logical_device_configuration(gpu, [half, half])
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    # NCCL refuses two ranks on one card.
    strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    config = cases("float32")["balanced"].replace(optimizer="adam", log_every=STEPS)
    gradients, totals = [], []
    for cluster in (Cluster(), Cluster(strategy)):
        steps = run(nst.Session(nst.load_weights(weights), cluster=cluster), config, size)
        gradients.append(gradient_of(next(steps)))
        totals.append([next(steps).total])
    yield {"gradient": difference(*gradients), "total": difference(*totals)}
