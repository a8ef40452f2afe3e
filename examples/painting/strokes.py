"""An impasto night landscape."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .tools import SCALE, Array, along, brush, light, noise, ramp, scatter, trace


def night(h: int, w: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """The landscape of the strokes: its region map, its flow and its tones."""
    y, x = np.mgrid[0:h, 0:w] / h
    soft = noise(rng, (h, w), h / 3)
    psi = y + 0.05 * np.sin(4.3 * x + 1) + 0.012 * soft
    glow = np.zeros((h, w))
    lamps = [
        (1.04, 0.17, 0.085),
        (0.67, 0.11, 0.04),
        (0.86, 0.24, 0.025),
        (0.4, 0.21, 0.045),
        (0.09, 0.1, 0.04),
    ]
    for a, b, s in [*lamps, (0.07, 0.41, 0.03), (1.21, 0.4, 0.03)]:
        r = np.hypot(x - a, y - b)
        near = np.exp(-((r / s / 3) ** 4))
        psi += near * (b - psi) + 4 * s * np.exp(-((r / s) ** 2) / 4)
        rings = 0.55 * np.exp(-r / (1.5 * s)) * (1 + 0.5 * np.cos(5.5 * r / s))
        glow = np.maximum(glow, np.exp(-((r / s) ** 4) * 3) + rings)
    curl, twist = np.zeros((h, w)), np.zeros((h, w))
    for a, b, s in [(0.62, 0.37, 0.095), (0.93, 0.45, 0.07), (0.43, 0.49, 0.04)]:
        r = np.hypot(x - a, y - b)
        inside = np.exp(-((r / s / 1.7) ** 4))
        psi += inside * (b - psi) + 4 * s * np.exp(-(r**2) / (2 * s * s))
        twist += 0.3 * inside
        curl += inside * np.sin(2 * np.arctan2(y - b, x - a) - 2 * np.log(r + 1e-4) / np.tan(0.3))
    bands = (1 - twist / 0.3) * np.sin(62 * psi + soft) + 1.3 * curl
    tone = 0.27 + 0.19 * bands + 0.09 * soft + glow + 0.25 * twist + 0.5 * np.clip(y - 0.35, 0, 1)
    region = np.zeros((h, w), int)
    far = 0.63 + 0.05 * np.sin(3.6 * x + 3.3) + 0.016 * np.sin(11 * x)
    near = 0.73 + 0.035 * np.sin(2.9 * x + 0.4) + 0.01 * np.sin(9 * x)
    field = 0.82 + 0.03 * np.sin(2.2 * x + 2.2)
    furrow = np.arctan2(x - 0.95, y - 0.66) + 0.03 * soft + 0.05 * np.sin(9 * y)
    stem = 0.235 + 0.012 * np.sin(9 * y + 1)
    cypress = np.abs(x - stem) / (0.075 * np.clip((y - 0.13) * 1.5, 0, 1) ** 0.75 + 1e-6)
    stem2 = 0.355 + 0.01 * np.sin(12 * y)
    cypress2 = np.abs(x - stem2) / (0.05 * np.clip((y - 0.42) * 2, 0, 1) ** 0.75 + 1e-6)
    fringe = 1 + 0.25 * noise(rng, (h, w), h / 25)
    layers = [
        (y > far, y - far + 0.07 * np.sin(6 * x + 9 * y), 90),
        (y > near, y - near + 0.05 * np.sin(9 * x - 7 * y), 80),
        (y > field, furrow, 26),
        (cypress < fringe, (x - stem) / (0.3 + y) + 0.008 * np.sin(30 * y), 170),
        (cypress2 < fringe, (x - stem2) / (0.2 + y) + 0.006 * np.sin(36 * y), 170),
    ]
    for k, (mask, lines, rate) in enumerate(layers, 1):
        region[mask], psi[mask] = k, lines[mask]
        tone[mask] = (0.45 + 0.24 * np.sin(rate * lines + soft) + 0.12 * soft)[mask]
    flow = along(ndimage.gaussian_filter(psi, 2))
    turned = np.stack([-flow[..., 1], flow[..., 0]], -1)
    twist = (twist * (region == 0))[..., None]
    return region, np.cos(twist) * flow + np.sin(twist) * turned, tone


def strokes(rng: np.random.Generator) -> Array:
    """An impasto night landscape: layers of bristly strokes, coarse to fine, along swirling lines."""
    h, w = 528 * SCALE, 672 * SCALE
    region, flow, tone = night(h, w, rng)
    green = "041312 0b2a22 14432c 2f6638 6f7c2e 7a4a22"
    palettes = [
        "0a0a34 1c1e6e 2350a4 3b93b4 7fb9b4 9a7cc4 e58ba0 ffb75c ffe486 fff6d2",
        "17184c 2c2f86 5450aa 8d7cc2 e0a0b4",
    ]
    palettes += [
        "0c2c3c 12564f 2c7f5c 80b25a d9d66a",
        "5c2416 a2481a d9842a f0b93c fae488 86a04a",
        green,
        green,
    ]
    canvas = np.ones((h, w, 3)) * (0.35, 0.2, 0.14)
    relief = np.zeros((h, w))
    hair = ndimage.gaussian_filter(rng.standard_normal((1500, 700)), (14, 0.9))
    hair /= hair.std()
    detail = ndimage.gaussian_gradient_magnitude(tone, 6)
    detail = detail / np.percentile(detail, 90) + 1.5 * (tone > 0.8) + 0.6 * (region > 3)
    for width, length, gap, share in [(38, 150, 17, 9), (21, 95, 13, 9), (12, 62, 10, 0.5), (7, 40, 8, 0.22)]:
        starts = scatter(rng, (h, w), gap)
        i, j = np.clip(starts.T[::-1].astype(int), 0, [[h - 1], [w - 1]])
        keep = rng.random(len(i)) < share * detail[i, j] + (share > 1)
        starts, i, j = starts[keep], i[keep], j[keep]
        order = np.argsort(region[i, j], kind="stable")
        paths = trace(flow, starts, 8, length / 16)
        for n in order:
            k, path = region[i[n], j[n]], paths[n]
            at = np.clip(path.astype(int), 0, (w - 1, h - 1))
            path = path[region[at[:, 1], at[:, 0]] == k]
            if len(path) < 5:
                continue
            t = tone[i[n], j[n]] + rng.normal(0, 0.06) + np.array([0, rng.normal(0, 0.13)])
            brush(
                canvas,
                relief,
                path,
                width * rng.uniform(0.7, 1.25),
                ramp(palettes[k], t) + rng.normal(0, 0.03, 3),
                hair,
            )
    return light(canvas, relief, 0.7, 0.4)
