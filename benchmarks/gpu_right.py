"""Whether a GPU computes what the CPU does: generators of rows for `gpu.py`, each in a process of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import ONE_SCALE, load_pair, settings, start

import neural_style_tf as nst

EXACT = 1e-4
"""Largest difference in float32, as a share of the norm of what is compared."""
WASSERSTEIN = 5e-3
"""The same for the gradient of the Wasserstein loss. Its root of a covariance, singular where a layer has
fewer positions than channels, makes rounding of the moments up to 1/√ε = 100 times larger
(`wasserstein.RIDGE`)."""
STEPS = 10
DIRECTED = "two regions of a frame"
"""The case with two styles, masks, and what was painted before of a clip."""
FEW = ("original", "gatys", "balanced", DIRECTED)
"""Cases of precisions other than float32, and of --quick."""
Rows = Iterator[dict[str, Any]]


def row(check: str, found: str, ok: bool | None = None, **figures: Any) -> dict[str, Any]:
    """Return a row of the table; without a verdict it is a figure."""
    return {"check": check, "found": found.replace("|", "/"), "ok": ok, **figures}


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
    longest = max(512, *size)

    def pictures(pair: str) -> list[np.ndarray]:
        return [pixels[:height, :width] for pixels in load_pair(pair, longest, enlarge=longest > 512)]

    content, style = pictures("chelsea:mosaic")
    noise = np.random.default_rng(0).uniform(-20, 20, content.shape)
    initial = np.clip(content + noise, 0, 255).astype(np.float32)
    inputs = nst.Inputs(content, style, initial)
    if directed:
        from neural_style_tf.losses.temporal import Warped

        other = pictures("chelsea:strokes")[1]
        ramp = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
        left = np.clip(4 * ramp - 1.5, 0, 1)
        masks = nst.Masks(content=(left, 1 - left))
        warped = Warped(np.roll(content, 2, 1), (ramp > 0.5).astype(np.float32))
        inputs = nst.Inputs(content, (style, other), initial, masks, warped)
    return session.run(inputs, config)


def gradient_of(record: Any) -> np.ndarray:
    """Return the gradient [1, H, W, 3] at the image of a record."""
    return record.state.solver["gradient"].numpy()


def evaluate_all(size: list[int], precision: str, few: bool, weights: str) -> dict[str, np.ndarray]:
    """Return `case/what` → losses, gradient and total after some steps of every case."""
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
    return arrays


def reference(*, out: str, **arguments: Any) -> Rows:
    """Write what `against_the_cpu` compares with."""
    np.savez(out, **evaluate_all(**arguments))
    yield from ()


def against_the_cpu(*, reference: str, precision: str, **arguments: Any) -> Rows:
    """Compare losses, gradients and ten steps of each solver with the reference."""
    styles = {case: config.loss.style_loss for case, config in cases("float32").items()}
    found = evaluate_all(precision=precision, **arguments)
    expected = np.load(reference)
    for kind, limit in (("losses", EXACT), ("gradient", EXACT), ("total", 10 * EXACT)):
        keys = [key for key in found if key.endswith(f"/{kind}")]
        errors = {key.rpartition("/")[0]: difference(found[key], expected[key]) for key in keys}
        sensitive = [case for case in errors if kind != "losses" and styles[case] == "wasserstein"]
        limits = dict.fromkeys(errors, limit) | dict.fromkeys(sensitive, WASSERSTEIN)
        worst = max(errors, key=lambda case: np.nan_to_num(errors[case] / limits[case], nan=np.inf))
        label = f"total after {STEPS} steps" if kind == "total" else kind
        yield row(
            f"{precision} against the CPU in float32: {label}, {len(errors)} cases",
            f"differ by up to {errors[worst]:.1e} ({worst}; limit {limits[worst]:.0e})",
            bool(errors[worst] <= limits[worst]) if precision == "float32" else None,
        )


def tiles(*, size: list[int], tile: int, precision: str, weights: str) -> Rows:
    """Compare total and gradient in tiles with those in one piece."""
    start()
    session, config = nst.Session(nst.load_weights(weights)), cases(precision)["balanced"]
    for loss, limit in (("relative", EXACT), ("wasserstein", WASSERSTEIN)):
        records = [
            next(run(session, config.replace(style_loss=loss, tile=pieces, optimizer="adam"), size))
            for pieces in (str(tile), "none")
        ]
        totals, gradients = zip(*((record.total, gradient_of(record)) for record in records), strict=True)
        total, gradient = abs(totals[0] / totals[1] - 1), difference(*gradients)
        yield row(
            f"{precision}, {loss}: tiles of {tile}, {size[1]}×{size[0]}",
            f"gradient differs by {gradient:.1e} from that in one piece, total by {total:.1e}",
            bool(gradient <= limit if precision == "float32" else total < 1e-2),
        )


def repeat(
    *, size: list[int], deterministic: bool, precision: str, weights: str, before: list[str] | None = None
) -> Rows:
    """Run each solver twice; compare the bits of both, and with the hashes of another process."""
    start()
    loaded, before = nst.load_weights(weights), list(before or ())
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
        hashes = {hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in images}
        same = len(hashes | set(before[:1])) == 1
        where, before = "another process" if before else "the same process", before[1:]
        largest = float(np.abs(images[0] - images[1]).max())
        yield row(
            f"{STEPS} steps of {optimizer} again in {where}, --{'' if deterministic else 'no'}deterministic, "
            f"{precision}",
            f"{'the same bits' if same else f'differ, here by {largest:.2g} levels'}; {seconds:.3f} s a step",
            same if deterministic else None,
            hash=min(hashes),
        )


def replicas(*, size: list[int], weights: str) -> Rows:
    """Compare two logical devices of one GPU with one."""
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
    errors = difference(*gradients), difference(*totals)
    yield row(
        f"two logical devices of one GPU against one: gradient, and total after {STEPS} steps",
        f"differ by {errors[0]:.1e} and {errors[1]:.1e} (limit {WASSERSTEIN:.0e})",
        max(errors) <= WASSERSTEIN,
    )
