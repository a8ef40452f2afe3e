"""The painter's tools: noise, colour ramps, flows, brushes and light.

Pictures are arrays (h, w, 3) in 0..1, worked at ``SCALE`` times their final size.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

Array = np.ndarray
SCALE = 2


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 4) -> Array:
    """Fractal noise of zero mean and unit deviation whose largest features span ``cell`` pixels."""
    total = np.zeros(shape, np.float32)
    for k in range(octaves):
        size = [max(2, round(s * 2**k / cell)) for s in shape]
        grid = Image.fromarray(rng.standard_normal(size).astype(np.float32))
        total += 0.55**k * np.asarray(grid.resize(shape[::-1], Image.Resampling.BICUBIC))
    return (total - total.mean()) / total.std()


def ramp(colours: str, t: Array) -> Array:
    """Colours (0..1) at the positions ``t`` (0..1) of a gradient written as hex triplets."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in colours.split()]) / 255
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(t, at, stops[:, i]) for i in range(3)], -1)


def along(psi: Array) -> Array:
    """Unit vectors (x, y) along the level lines of ``psi``."""
    gy, gx = np.gradient(psi)
    return np.stack([-gy, gx], -1) / (np.hypot(gx, gy)[..., None] + 1e-9)


def trace(flow: Array, starts: Array, steps: int, step: float) -> Array:
    """Follow ``flow`` both ways from each (x, y) start; returns paths of shape (n, 2*steps+1, 2)."""
    h, w = flow.shape[:2]
    halves = []
    for sign in (-1, 1):
        at, last, half = starts.astype(float), None, []
        for _ in range(steps):
            i, j = np.clip(at[:, 1], 0, h - 1).astype(int), np.clip(at[:, 0], 0, w - 1).astype(int)
            go = sign * flow[i, j]
            if last is not None:
                go = np.where((go * last).sum(-1, keepdims=True) < 0, -go, go)
            last = go
            at = at + step * go
            half.append(at)
        halves.append(np.stack(half, 1))
    return np.concatenate([halves[0][:, ::-1], starts[:, None], halves[1]], 1)


def scatter(rng: np.random.Generator, shape: tuple[int, int], gap: float) -> Array:
    """Points (x, y) of a jittered grid, in random order."""
    y, x = np.mgrid[gap / 2 : shape[0] : gap, gap / 2 : shape[1] : gap]
    points = np.stack([x.ravel(), y.ravel()], -1)
    return rng.permutation(points + rng.uniform(-gap / 2, gap / 2, points.shape))


def brush(
    canvas: Array, relief: Array, path: Array, width: float, pair: Array, hair: Array, tip: float = 0.5
) -> None:
    """Drag a loaded brush along ``path``, painting ``canvas`` and raising ``relief`` in place.

    Args:
        canvas: Picture (h, w, 3) in 0..1.
        relief: Paint thickness (h, w), in pixels.
        path: Points (n, 2), x first.
        width: Brush width in pixels.
        pair: Two colours (2, 3) which the hairs of the brush mix.
        hair: Streaky noise, rows along the stroke and one column a hair.
        tip: Length over which the ends of the stroke fade, in widths.
    """
    h, w = relief.shape
    run = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    ns, nt = int(run[-1] * 1.35) + 2, int(width * 1.35) + 2
    u, t = np.linspace(0, 1, ns)[:, None], np.linspace(-1, 1, nt)
    mid = np.stack([np.interp(u[:, 0] * run[-1], run, path[:, k]) for k in (0, 1)], -1)
    side = np.gradient(mid, axis=0)[:, ::-1] * (1, -1)
    side /= np.hypot(*side.T)[:, None] + 1e-9
    spread = 0.5 * width * (0.8 + 0.2 * np.sin(np.pi * u**0.7))
    spot = np.rint(mid[:, None] + side[:, None] * (spread * t)[..., None]).astype(int)
    seed = int(abs(path[0].sum()) * 7919)
    r0, c0 = seed % (hair.shape[0] - ns), seed // 7 % (hair.shape[1] - nt)
    streak = hair[r0 : r0 + ns, c0 : c0 + nt]
    ends = np.minimum(u, 1 - u) * run[-1] / (tip * width)
    body = 1.6 - 1.5 * np.abs(t) ** 4 - 1.3 * (1 - np.clip(ends, 0, 1)) ** 2 - 0.9 * u**3
    alpha = np.clip(1.5 * body + 0.75 * streak, 0, 1)
    ok = (spot[..., 0] >= 0) & (spot[..., 0] < w) & (spot[..., 1] >= 0) & (spot[..., 1] < h)
    i, j, a = spot[..., 1][ok], spot[..., 0][ok], alpha[ok][:, None]
    other = hair[r0 : r0 + ns, -c0 - nt - 1 : -c0 - 1]
    mix = np.clip(0.5 + 0.3 * other + 0.25 * t, 0, 1)[ok][:, None]
    canvas[i, j] += a * (pair[0] + (pair[1] - pair[0]) * mix - canvas[i, j])
    heap = 0.5 * np.abs(t) ** 3 + 0.28 * streak + 0.5 * np.exp(-((ends - 0.6) ** 2) * 8)
    lump = 0.16 * width * (0.55 + heap)
    relief[i, j] += a[:, 0] * (0.3 * relief[i, j] + lump[ok] - relief[i, j])


def light(rgb: Array, relief: Array, depth: float, gloss: float) -> Array:
    """Light a picture from the upper left by the slopes of its relief."""
    gy, gx = np.gradient(ndimage.gaussian_filter(relief, 0.8))
    slope = np.tanh((gx + gy) * depth)
    lit = rgb * (1 + np.where(slope > 0, 0.35, 0.5) * slope)[..., None]
    return lit + gloss * np.clip(slope - 0.35, 0, 1)[..., None] * (0.4 + rgb)
