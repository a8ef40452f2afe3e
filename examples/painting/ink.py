"""A still life in pen, brown and red ink, over charcoal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .tools import SCALE, Array, along, brush, noise, scatter, trace

SUN = np.array([-0.55, -0.5, 0.67])
# Turned things, back to front: centre, top, tilt and darkness, whether red, then (height, radius) pairs.
THINGS = [
    (
        0.52,
        0.1,
        0.0,
        0.6,
        0,
        "0 .03 .02 .034 .04 .032 .05 .03 .24 .032 .3 .05 .36 .085 .42 .093 .64 .09 .68 .075",
    ),
    (
        0.3,
        0.26,
        0.0,
        0.1,
        0,
        "0 .085 .02 .09 .05 .075 .1 .068 .16 .09 .25 .14 .34 .155 .44 .13 .53 .085 .56 .09",
    ),
    (0.73, 0.46, 0.08, 0.2, 1, "0 .004 .03 .045 .08 .055 .14 .07 .22 .115 .3 .128 .36 .105 .4 .045"),
    (0.97, 0.6, -0.1, 0.3, 1, "0 .03 .02 .08 .07 .115 .14 .128 .2 .115 .25 .08 .28 .03"),
    (0.575, 0.69, 0.1, 0.3, 1, "0 .03 .015 .06 .06 .095 .11 .105 .17 .092 .2 .065 .225 .02"),
]


def turned(x: Array, y: Array, thing: tuple) -> tuple[Array, Array, Array]:
    """A thing turned on a lathe: its mask, how dark the light leaves it, and its latitude lines."""
    cx, top, tilt, dark, _, profile = thing
    at, radius = np.array(profile.split(), float).reshape(-1, 2).T
    x, y = (
        (x - cx) * np.cos(tilt) - (y - top) * np.sin(tilt),
        (y - top) * np.cos(tilt) + (x - cx) * np.sin(tilt),
    )
    fine = np.linspace(0, at[-1], 400)
    r = ndimage.gaussian_filter1d(np.interp(fine, at, radius), 7, mode="nearest")
    r[-12:] *= np.sqrt(np.linspace(1, 0.1, 12))
    half, slope = np.interp(y, fine, r), np.interp(y, fine, np.gradient(r, fine))
    mask = (np.abs(x) < half) & (y > 0) & (y < at[-1])
    u = np.clip(x / (half + 1e-6), -1, 1)
    front = np.sqrt(1 - u * u)
    lit = (u * SUN[0] - slope * SUN[1] + front * SUN[2]) / np.sqrt(1 + np.clip(slope, -3, 3) ** 2)
    shade = dark + (1 - dark) * np.clip(0.95 - 1.15 * lit, 0, 1) ** 1.15 - 0.22 * np.clip(u - 0.75, 0, 1) * 4
    shade -= 0.9 * np.clip(lit - 0.93, 0, 1) / 0.07 * (dark < 0.45)
    shade -= 0.65 * np.exp(-(((u + 0.5) / 0.09) ** 2)) * (dark > 0.45)
    return mask, shade, y - 0.32 * half * front


def scene(h: int, w: int, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """The still life: region map, darkness (0..1), field whose level lines the pen follows, redness."""
    y, x = np.mgrid[0:h, 0:w] / h
    soft = noise(rng, (h, w), h / 3)
    fold = np.arctan2(x - 1.45, y + 0.5) + 0.02 * soft
    wave = np.sin(34 * fold + 1.2 * soft)
    dark = 0.56 + 0.27 * wave - 0.15 * (x - 0.5) + 0.06 * soft + 0.12 * (y > 0.5)
    psi = y + 0.25 * x + 0.014 * np.sin(34 * fold + 1.2 * soft + 1.3) + 0.01 * soft
    edge = 0.64 + 0.01 * np.sin(5 * x) + 0.004 * soft
    table = y > edge
    crease = np.abs(noise(rng, (h, w), h / 2.2, 2))
    cloth = 0.1 + 0.3 * np.exp(-crease * 8) + 0.04 * soft + np.clip(y - 0.9, 0, 1)
    shadow = np.zeros((h, w))
    for cx, top, _, _, _, profile in THINGS:
        at, radius = np.array(profile.split(), float).reshape(-1, 2).T
        foot, wide = top + at[-1], radius.max()
        long = 0.5 * at[-1] + wide
        along_it = (x - cx) * 0.96 + (y - foot) * 0.28
        across = (y - foot + 0.02) * 0.96 - (x - cx) * 0.22
        reach = np.hypot((along_it - 0.5 * long) / (0.62 * long), across / (0.42 * wide))
        shadow = np.maximum(shadow, 0.72 / (1 + np.exp((reach - 1) * 14)))
        shadow = np.maximum(
            shadow, 0.95 * np.exp(-((np.hypot(x - cx, (y - foot + 0.01) * 3) / wide / 0.85) ** 4))
        )
    dark = np.where(table, np.maximum(cloth, shadow), dark)
    psi = np.where(table, y - 0.1 * x + 0.03 * soft, psi)
    region, red = table.astype(int), np.zeros((h, w))
    ring = np.hypot((x - 0.15) / 0.085, (y - 0.47) / 0.12)
    grip = np.abs(ring - 1) < 0.2
    lobe = np.clip((ring - 1) / 0.2, -1, 1)
    dark = np.where(grip, np.clip(0.35 + 0.5 * lobe * np.sign(0.5 - y + 0.2 * (x - 0.15)), 0.05, 0.9), dark)
    psi, region[grip] = np.where(grip, np.arctan2(y - 0.47, x - 0.15) * 0.1 + 0.05 * lobe**2, psi), 2
    for k, thing in enumerate(THINGS, 3):
        mask, shade, lines = turned(x, y, thing)
        region[mask], dark, psi = k, np.where(mask, shade, dark), np.where(mask, lines, psi)
        red[mask] = thing[4]
    mouth = np.hypot((x - 0.3) / 0.07, (y - 0.272) / 0.017) < 1
    dark[mouth], region[mouth] = 0.9, 20
    return region, np.clip(dark, 0, 1), psi * h, red


def hatch(page: Array, want: Array, region: Array, flow: Array, rng: np.random.Generator, look: dict) -> None:
    """Lay pen strokes along ``flow`` until the page is as dark as wanted; ``look`` says how they are."""
    h, w = region.shape
    cell = 7
    have = np.zeros((h // cell + 1, w // cell + 1))
    goal = ndimage.zoom(ndimage.uniform_filter(want, cell), 1 / cell, order=1)
    goal = np.pad(goal, ((0, have.shape[0] - goal.shape[0]), (0, have.shape[1] - goal.shape[1])), "edge")
    starts = np.concatenate([scatter(rng, (h, w), look["gap"]) for _ in range(look["passes"])])
    paths = trace(flow, starts.clip(0, (w - 1, h - 1)), 9, look["length"] / 18)
    bow = rng.normal(0, look["length"] / 60, (len(paths), 1, 2)) * np.linspace(-1, 1, 19)[:, None] ** 2
    paths += bow
    for path in paths:
        at = np.clip(path.astype(int), 0, (w - 1, h - 1))
        mine = (region[at[:, 1], at[:, 0]] == region[at[9, 1], at[9, 0]]) & (want[at[:, 1], at[:, 0]] > 0.03)
        first = 9 - np.argmin(np.append(mine[9::-1], False))
        last = 9 + np.argmin(np.append(mine[9:], False))
        if last - first < 6:
            continue
        path, at = path[first + 1 : last], at[first + 1 : last] // cell
        spot = (at[:, 1], at[:, 0])
        width = look["width"] * rng.uniform(0.75, 1.3)
        if (goal[spot] - have[spot]).mean() < 0.5 * width / cell:
            continue
        np.add.at(have, spot, width * look["length"] / 18 / cell**2)
        tint = look["inks"][int(rng.random() * len(look["inks"]))]
        brush(page, look["relief"], path, width, np.array([tint, tint]), look["hair"], tip=look["tip"])


def outline(page: Array, region: Array, red: Array, rng: np.random.Generator, look: dict) -> None:
    """Go over the edges of the things two or three times with a searching, slightly missing line."""
    for k in np.unique(region)[1:]:
        soft = ndimage.gaussian_filter((region == k).astype(float), 5)
        i, j = np.nonzero((soft > 0.42) & (soft < 0.58))
        pick = rng.choice(len(i), max(3, len(i) // 210))
        paths = trace(along(soft), np.column_stack([j, i])[pick].astype(float), 10, rng.uniform(5, 10))
        paths += rng.normal(0, 1.6, (len(paths), 1, 2)) + 0.9 * rng.normal(0, 1, paths.shape).cumsum(1) / 2
        for path, a, b in zip(paths, i[pick], j[pick], strict=True):
            near = red[max(a - 6, 0) : a + 7, max(b - 6, 0) : b + 7].any()
            tint = (0.42, 0.12, 0.06) if near and rng.random() < 0.6 else (0.11, 0.08, 0.08)
            pair = np.array([tint, tint])
            brush(page, look["relief"], path, rng.uniform(2.2, 4.4), pair, look["hair"], tip=12)


def ink(rng: np.random.Generator) -> Array:
    """Bottle, jug and pears: rubbed charcoal, then hatching and cross-hatching, then outlines."""
    h, w = 528 * SCALE, 672 * SCALE
    region, dark, psi, red = scene(h, w, rng)
    tooth = noise(rng, (h, w), 5, 2) + 0.6 * noise(rng, (h, w), 16, 3)
    page = (
        np.ones((h, w, 3))
        * (0.95, 0.915, 0.84)
        * (1 + 0.012 * tooth + 0.02 * noise(rng, (h, w), h / 2))[..., None]
    )
    smoke = ndimage.gaussian_filter(dark, 9) ** 1.3
    grip = np.clip(0.5 + 0.7 * (tooth * 0.5 + 2.4 * smoke - 0.9), 0, 1) * smoke
    tint = np.where(red[..., None] > 0, (0.5, 0.2, 0.1), (0.24, 0.22, 0.22))
    page += (0.8 * grip)[..., None] * (tint - page)
    hair = ndimage.gaussian_filter(rng.standard_normal((1500, 700)), (6, 0.7))
    hair /= hair.std()
    look = {
        "hair": hair,
        "relief": np.zeros((h, w)),
        "gap": 8,
        "passes": 4,
        "length": 110,
        "width": 2.6,
        "tip": 9,
    }
    waver = 0.1 * noise(rng, (h, w), 90, 3)
    lines = along(ndimage.gaussian_filter(psi, 3))
    for turn, floor, top in [(0, 0.07, 0.5), (0.95, 0.34, 0.5), (-0.75, 0.52, 0.5), (0.35, 0.72, 0.5)]:
        c, s = np.cos(turn + waver)[..., None], np.sin(turn + waver)[..., None]
        flow = c * lines + s * np.stack([-lines[..., 1], lines[..., 0]], -1)
        want = np.clip((dark - floor) * 1.7, 0, top)
        for is_red, inks in (
            (0, [(0.13, 0.09, 0.08), (0.2, 0.12, 0.08), (0.1, 0.1, 0.13)]),
            (1, [(0.55, 0.17, 0.08)]),
        ):
            hatch(page, np.where(red == is_red, want, 0), region, flow, rng, {**look, "inks": inks})
    outline(page, region, red, rng, look)
    for x, y, dx, dy in [
        (0.727, 0.465, 0.03, -0.075),
        (0.985, 0.615, 0.035, -0.055),
        (0.558, 0.7, -0.03, -0.05),
    ]:
        for _ in range(5):
            t = np.linspace(0, 1, 12)[:, None]
            path = np.array([x, y]) + t * (dx, dy) + t * t * (0.3 * dy, 0) + rng.normal(0, 0.002, 2)
            brush(page, look["relief"], path * h, 4.5, np.full((2, 3), 0.1), hair, tip=4)
    return page
