"""A mosaic of two fish under a setting sun."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, spatial

from .tools import SCALE, Array, along, light, noise, ramp, scatter

# The colours of each region of the design, from its lowest to its highest tone.
PALETTES = {
    1: "f7e3a0 f2b544 e0762c b9402e 7c2440 4a1e4e",  # sky
    2: "fff0b0 ffc84e f0913a d4583a 94324a 5c2452",  # rays
    3: "fffbe0 ffe27a ffb32e",  # sun
    4: "0b1440 14347e 1668a8 1fa0b0 6fd0bc e8f0c8",  # water
    5: "f6f2dc d8ecd8 a8dccc",  # foam
    6: "6e1420 b8261e e4501e f58a28 fbc65a fff0d0",  # large fish
    7: "5a2a6e 9a3a8a d8609a f09a8a fbd8a0",  # small fish
    8: "f4ecd4 d0e4d4",  # their outlines
    9: "3a0f1e 5a1a22",  # fins and gills
    10: "fff6e0 fff6e0",  # eyes
    11: "120c18 120c18",  # pupils
    12: "e8b23c c8542a 7a1f2e",  # frame
    13: "141f4c 1e3a74 3a6a98",  # its borders
}


def sea(h: int, w: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """The design of the mosaic: region map, field whose level lines the rows follow, and tones."""
    y, x = np.mgrid[0:h, 0:w] / h
    soft = noise(rng, (h, w), h / 2.5)
    sun, ray = np.hypot(x - 0.93, y - 0.25), np.arctan2(y - 0.25, x - 0.93)
    top = 0.33 + 0.022 * np.sin(8 * x + 1.4) + 0.012 * np.sin(19 * x)
    water = y - top + 0.05 * np.sin(7 * x + 3 * y)
    for a, b, s in [(0.17, 0.76, 0.07), (1.08, 0.55, -0.06), (0.75, 0.93, 0.05), (0.33, 0.46, -0.04)]:
        water += 3.5 * s * np.exp(-(np.hypot(x - a, y - b) ** 2) / (2 * s * s))
    psi, tone = np.where(y < top, sun, water), 0.42 + 0.4 * np.sin(42 * water + soft) + 0.1 * soft
    region = np.where(y < top, 1 + (np.sin(18 * ray + 12 * sun) > 0.2) + (sun < 0.13), 4)
    region[(sun < 0.13) & (y < top)] = 3
    tone = np.where(y < top, np.where(sun < 0.13, sun / 0.13, sun / 0.8 + 0.06 * soft), tone)
    region[(y > top - 0.006) & (y < top + 0.017)] = 5
    for a, b, size, kind in [(0.27, 0.68, 0.74, 6), (0.66, 0.43, -0.38, 7)]:
        u = (x - a) / size
        v = (y - b - 0.05 * size * np.sin(6 * u)) / abs(size)
        bend = [0, 0.07, 0.13, 0.19, 0.185, 0.14, 0.08, 0.05, 0.11, 0.2]
        half = np.interp(u, [0, 0.04, 0.13, 0.28, 0.42, 0.58, 0.72, 0.8, 0.9, 1], bend)
        fin = 0.11 * np.clip(np.sin((u - 0.2) * np.pi / 0.42), 0, 1) * ((u > 0.2) & (u < 0.62)) * (v < 0)
        whole = (np.abs(v) < half + fin) & (u > 0) & (u < 0.9 + 0.45 * np.abs(v))
        d = ndimage.distance_transform_edt(whole) - ndimage.distance_transform_edt(~whole)
        near = (d > -10 * SCALE) & (y > top)
        psi[near], region[near] = d[near] / h, np.where(d > 0, kind, 8)[near]
        scale = 0.5 + 0.35 * np.sin(75 * (u + 1.2 * v * v)) - 1.5 * v
        tone[near] = np.where(u < 0.17, 0.8 - 2 * v, np.where(u > 0.76, 0.4 + 0.4 * np.sin(90 * v), scale))[
            near
        ]
        region[whole & ((np.abs(v) > half) | (np.abs(u - 0.17 - v * v) < 0.012))] = 9
        eye = np.hypot(u - 0.095, v + 0.03) * abs(size)
        region[eye < 0.024], region[eye < 0.012], psi[eye < 0.024] = 10, 11, eye[eye < 0.024]
    edge = np.minimum.reduce([x, y, w / h - x, 1 - y])
    frame = edge < 0.066
    psi, tone = np.where(frame, edge, psi), np.where(frame, 0.5 + 0.5 * np.sin(45 * (x - y)), tone)
    region[frame] = np.where(np.abs(edge - 0.034) < 0.015, 12, 13)[frame]
    return region, ndimage.gaussian_filter(psi * h, 3), tone


def nearest(
    where: Array, kind: Array, seeds: Array, kinds: Array, turn: Array
) -> tuple[Array, Array, Array, Array]:
    """The nearest seed of its own kind for each point, in a metric whose circles are turned squares.

    Returns:
        The seed's index, the point's offset along and across the seed's row, its lead over the next.
    """
    tree = spatial.cKDTree(np.column_stack([seeds, kinds * 1e4]))
    _, near = tree.query(np.column_stack([where, kind * 1e4]), k=6)
    gap = where[:, None] - seeds[near]
    c, s = np.cos(turn[near]), np.sin(turn[near])
    u, v = gap[..., 0] * c + gap[..., 1] * s, gap[..., 1] * c - gap[..., 0] * s
    far = (
        0.85 * np.maximum(np.abs(u), np.abs(v)) + 0.15 * np.hypot(u, v) + 1e3 * (kinds[near] != kind[:, None])
    )
    first = np.argsort(far, 1)[:, :2]
    pick = first[:, :1]
    lead = np.take_along_axis(far, first[:, 1:], 1) - np.take_along_axis(far, pick, 1)
    index, along_row, across = (np.take_along_axis(a, pick, 1)[:, 0] for a in (near, u, v))
    return index, along_row, across, lead[:, 0]


def look(grid: Array, at: Array) -> Array:
    """The values of a grid at points (x, y)."""
    limit = np.array(grid.shape[:2])[:, None] - 1
    return grid[tuple(at.T[::-1].astype(int).clip(0, limit))]


def mosaic(rng: np.random.Generator) -> Array:
    """A stone and glass mosaic: tesserae settled in rows along a design, cut at its outlines, in grout."""
    h, w = 528 * SCALE, 672 * SCALE
    region, psi, tone = sea(h, w, rng)
    flow = along(psi)
    big, small = scatter(rng, (h, w), 12 * SCALE), scatter(rng, (h, w), 8.5 * SCALE)
    seeds = np.concatenate([big[look(region, big) < 5], small[look(region, small) >= 5]])
    kinds = look(region, seeds)
    spots = np.mgrid[0:h:3, 0:w:3].reshape(2, -1)[::-1].T
    for _ in range(14):
        turn = np.arctan2(*look(flow, seeds).T[::-1])
        own = nearest(spots, look(region, spots), seeds, kinds, turn)[0]
        count = np.bincount(own, minlength=len(seeds))[:, None]
        mean = np.column_stack([np.bincount(own, spots[:, k], len(seeds)) for k in (0, 1)])
        seeds = np.where(count > 0, mean / np.maximum(count, 1), seeds)
    spots = np.mgrid[0:h, 0:w].reshape(2, -1)[::-1].T
    spots = spots + np.stack([0.8 * noise(rng, (h, w), 20 * SCALE).ravel() for _ in "xy"], -1)
    own, u, v, lead = (a.reshape(h, w) for a in nearest(spots, region.ravel(), seeds, kinds, turn))
    n = len(seeds)
    at = look(tone, seeds) + rng.normal(0, 0.07, n)
    colour = np.stack([ramp(PALETTES[k], t) for k, t in zip(kinds, at, strict=True)])
    colour *= rng.normal(1, 0.09, (n, 1))
    colour += rng.normal(0, 0.022, (n, 3)) + 0.16 * (rng.random((n, 1)) < 0.03)
    wide = ndimage.maximum_filter(region, 3) != ndimage.minimum_filter(region, 3)
    gap = np.minimum(lead / 2, ndimage.distance_transform_edt(~wide))
    grain = noise(rng, (h, w), 7, 3)
    rise = np.clip(
        (ndimage.gaussian_filter(gap, 0.7) - 1.5 - 0.5 * rng.random(n)[own] + 0.25 * grain) / 1.7, 0, 1
    )
    tilt = rng.normal(0, 0.05, (2, n))
    height = 2.6 * rise + tilt[0][own] * u + tilt[1][own] * v
    veins = noise(rng, (h, w), 24, 5) * (0.03 + 0.09 * rng.random(n) ** 2)[own]
    tiles = colour[own] * (1 + veins + 0.3 * (tilt[0][own] * u + tilt[1][own] * v))[..., None]
    grout = np.array([0.74, 0.69, 0.6]) * (0.72 + 0.07 * grain + 0.05 * noise(rng, (h, w), 60))[..., None]
    shadow = ndimage.gaussian_filter(np.roll(rise, (3, 3), (0, 1)), 2)
    solid = np.clip(rise * 3, 0, 1)[..., None]
    return light(solid * tiles + (1 - solid) * grout * (1 - 0.45 * shadow[..., None]), height, 0.5, 0.45)
