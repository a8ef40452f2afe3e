"""Poppies and cornflowers in watercolour over a loose pencil drawing."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from .tools import SCALE, Array, brush, light, noise, ramp

Colours = tuple[str, str]


class Sheet:
    """A sheet of rough paper that takes transparent washes, one over another."""

    def __init__(self, h: int, w: int, rng: np.random.Generator) -> None:
        """Stretch a sheet of ``h`` by ``w`` pixels and mix the noises its washes are broken with."""
        self.rng, self.shape = rng, (h, w)
        self.page = np.ones((h, w, 3)) * (0.985, 0.97, 0.935)
        tooth = noise(rng, (h, w), 7, 2) + 0.5 * noise(rng, (h, w), 15, 3)
        self.tooth = tooth / tooth.std()
        self.grain = np.clip(self.tooth + 0.7 * rng.standard_normal((h, w)), -2, 2.5)
        self.noises = {cell: noise(rng, (h + 300, w + 300), cell, 4) for cell in (240, 80, 24)}
        self.hair = ndimage.gaussian_filter(rng.standard_normal((1500, 700)), (3, 0.6)) * 4
        self.relief = np.zeros((h, w))
        self.painted, self.kept = np.zeros((h, w)), np.zeros((h, w))

    def patch(self, cell: int, shape: tuple[int, int]) -> Array:
        """A piece of the noise of a scale, from a random place."""
        field = self.noises[cell]
        i, j = (int(self.rng.integers(0, n - m)) for n, m in zip(field.shape, shape, strict=True))
        return field[i : i + shape[0], j : j + shape[1]]

    def keep(self) -> None:
        """From now on paint around all that is painted, as behind a flower."""
        self.kept = np.maximum(self.kept, np.clip(self.painted, 0, 0.95))

    def pool(self, lo: Array, hi: Array, noises: tuple[Array, ...], heart: Array | None) -> Array:
        """Where the pigment settles in a box: in veins from a flower's heart, or behind a backrun's front."""
        fine, mid, broad = noises
        y, x = np.mgrid[lo[1] : hi[1], lo[0] : hi[0]]
        pool = np.clip(0.62 + 0.24 * mid + 0.22 * broad, 0.12, 1.6)
        if heart is not None:
            angle = np.arctan2(y - heart[1], x - heart[0]) * 7
            veins = np.sin(3.1 * angle + 1.5 * mid) * np.sin(1.7 * angle + 2 + broad)
            return pool * (1 + 0.3 * veins) + 0.45 * np.exp(-np.hypot(x - heart[0], y - heart[1]) / 28)
        centre = self.rng.uniform(lo, hi)
        front = np.hypot(x - centre[0], y - centre[1]) + 9 * fine + 14 * mid
        front -= self.rng.uniform(0.1, 0.3) * max(hi - lo)
        paler = 0.4 / (1 + np.exp(np.clip(front / 3, -30, 30)))
        return pool * (1 - paler + 0.4 * np.exp(-((front / 4) ** 2)) * (front < 6))

    def wash(
        self,
        outline: Array,
        colours: Colours,
        strength: float = 1.0,
        wet: float = 0.0,
        heart: Array | None = None,
    ) -> None:
        """Lay one wash: pigment pools, grains in the paper's hollows and gathers at the drying edge.

        Args:
            outline: Corners (n, 2) of the shape, x first.
            colours: Two colours that run into one another.
            strength: How much pigment.
            wet: Width in pixels of the blurred edge of a wash on wet paper; 0 paints on dry paper.
            heart: A point that veins radiate from, if any.
        """
        h, w = self.shape
        pad = int(10 + 3 * wet)
        lo = np.maximum(outline.min(0) - pad, 0).astype(int)
        hi = np.minimum(outline.max(0) + pad, (w, h)).astype(int)
        if (hi - lo < 4).any():
            return
        image = Image.new("1", tuple((hi - lo).tolist()))
        ImageDraw.Draw(image).polygon([tuple(p) for p in (outline - lo).tolist()], fill=1)
        mask = np.asarray(image)
        size = mask.shape
        inside = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
        fine, mid, broad = (self.patch(cell, size) for cell in (24, 80, 240))
        inside += 1.3 * fine + (1.2 + 0.8 * wet) * mid
        box = (slice(lo[1], hi[1]), slice(lo[0], hi[0]))
        grain = self.grain[box]
        body = 1 / (1 + np.exp(-np.clip((inside + 0.35 * grain) / (0.7 + 0.45 * wet), -40, 40)))
        shore = np.clip(inside, 0, None)
        rim = 0.75 * np.exp(-((shore / 2.4) ** 2)) + 0.3 * np.exp(-np.abs(inside) / 11)
        pool = self.pool(lo, hi, (fine, mid, broad), heart) + rim * (wet < 2)
        blend = np.clip(0.5 + 0.45 * self.patch(80, size) + 0.35 * broad, 0, 1)
        pigment = -np.log(np.clip(ramp(" ".join(colours), blend), 0.015, 0.995))
        density = strength * body * pool * np.clip(1 + 0.17 * grain, 0.2, 2)
        self.painted[box] = np.maximum(self.painted[box], body)
        density *= 1 - self.kept[box]
        self.page[box] *= np.exp(-density[..., None] * pigment)

    def pencil(self, path: Array, width: float = 2.2) -> None:
        """Draw a soft grey line."""
        pair = np.array([[0.36, 0.34, 0.36], [0.5, 0.48, 0.5]])
        brush(self.page, self.relief, path, width, pair, self.hair - 0.9, tip=10)


def curve(points: list, n: int = 40) -> Array:
    """A quadratic curve through three control points (x, y)."""
    a, b, c = np.array(points, float)
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c


def blade(sheet: Sheet, points: list, width: float, colours: Colours, strength: float = 1.0) -> None:
    """A stem, a blade of grass or a leaf: a curve which swells in its middle."""
    mid = curve(points)
    side = np.gradient(mid, axis=0)[:, ::-1] * (1, -1)
    side /= np.hypot(*side.T)[:, None] + 1e-9
    t = np.linspace(0, 1, len(mid))[:, None]
    half = width * (0.25 + np.sin(np.pi * t) ** 0.8)
    half *= 1 + 0.6 * ndimage.gaussian_filter1d(sheet.rng.standard_normal(t.shape), 2, axis=0)
    sheet.wash(np.concatenate([mid + half * side, (mid - half * side)[::-1]]), colours, strength)


def poppy(sheet: Sheet, x: float, y: float, size: float, colours: Colours) -> None:
    """A poppy seen from a little above: overlapping petals glazed one by one, then its dark heart."""
    rng, heart = sheet.rng, np.array([x, y])
    tilt, flat = rng.uniform(-0.4, 0.4), rng.uniform(0.5, 0.95)
    spin = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    first = rng.uniform(0, 7)
    for k in rng.permutation(5):
        middle, reach = first + k * 2 * np.pi / 5 + rng.normal(0, 0.15), size * rng.uniform(0.85, 1.1)
        a = np.linspace(-1, 1, 60)
        ruffle = ndimage.gaussian_filter1d(rng.standard_normal(60), 3) * 0.22
        r = reach * ((1 - a**4) ** 0.45 * (0.95 + ruffle) + 0.04)
        angle = middle + a * rng.uniform(0.7, 0.95)
        outline = np.stack([r * np.cos(angle), r * np.sin(angle) * flat], -1) @ spin + heart
        sheet.wash(outline, colours, rng.uniform(0.7, 1.2), heart=heart)
        sheet.pencil(outline[4:-4] + rng.normal(0, 2, 2))
    turn = np.linspace(0, 2 * np.pi, 30)[:-1]
    ring = np.stack([np.cos(turn), np.sin(turn) * flat], -1)
    sheet.wash(heart + ring * size * 0.2, ("4a2460", "1a1024"), 0.65, wet=4)
    for a in rng.uniform(0, 7, int(size / 4)):
        end = heart + np.array([np.cos(a), np.sin(a) * flat]) * size * rng.uniform(0.2, 0.36)
        blade(sheet, [heart, (heart + end) / 2 + rng.normal(0, 2, 2), end], 0.7, ("20122e", "20122e"), 0.9)
        sheet.wash(end + ring[::4] * rng.uniform(1.5, 3.2), ("1a0e22", "3a1440"), 0.9)
    sheet.wash(heart + ring * size * 0.085, ("a8b83a", "5c7a2a"), 1.0)


def cornflower(sheet: Sheet, x: float, y: float, size: float) -> None:
    """A cornflower: a burst of narrow blue petals."""
    rng = sheet.rng
    for a in np.linspace(0, 2 * np.pi, 15) + rng.normal(0, 0.12, 15):
        end = np.array([x + np.cos(a) * size, y + np.sin(a) * size * 0.8]) + rng.normal(0, size * 0.1, 2)
        blade(sheet, [(x, y), (x, y - 3), end], size * 0.14, ("2a3fc4", "7a4ac8"), rng.uniform(0.5, 1))
    turn = np.linspace(0, 2 * np.pi, 20)[:-1]
    sheet.wash(
        np.stack([x + np.cos(turn) * size * 0.25, y + np.sin(turn) * size * 0.2], -1),
        ("3a1468", "5a1a70"),
        1.0,
    )


def background(sheet: Sheet) -> None:
    """Loose washes on wet paper: sky, a warm light, distant flowers and the green of the meadow."""
    h = sheet.shape[0]
    rng, turn = sheet.rng, np.linspace(0, 2 * np.pi, 50)[:-1]
    spots = [
        (0.1, 0.1, 0.5, "8fc4e8 7aa0dc"),
        (0.62, 0.06, 0.5, "a8d4ee c0b0e0"),
        (1.2, 0.2, 0.4, "88b8e4 b09cd8"),
    ]
    spots += [
        (0.75, 0.42, 0.4, "ffe08a f8c8a0"),
        (0.15, 0.5, 0.35, "fbe6a0 d8e08a"),
        (1.15, 0.6, 0.35, "f4dc80 b8d890"),
    ]
    spots += [
        (0.2, 0.95, 0.5, "5c9a4a 2f7a6a"),
        (0.7, 1.0, 0.5, "8cb84a 3a8a6e"),
        (1.15, 0.95, 0.45, "4a8a5a 2a6a80"),
    ]
    for a, b, r, colours in spots:
        ring = np.stack([a + r * np.cos(turn), b + 0.6 * r * np.sin(turn)], -1) * h
        sheet.wash(ring, tuple(colours.split()), 0.75, wet=26)
    for _ in range(34):
        a, b, r = rng.uniform(0, 1.3), rng.uniform(0.4, 0.95), rng.uniform(0.01, 0.035)
        ring = np.stack([a + r * np.cos(turn), b + 0.6 * r * np.sin(turn)], -1) * h
        colours = ("f0583a", "f49a5a") if rng.random() < 0.6 else ("6a6ad0", "9a7ad0")
        sheet.wash(ring, colours, rng.uniform(0.4, 0.9), wet=rng.uniform(3, 9))


def watercolour(rng: np.random.Generator) -> Array:
    """A meadow in watercolour: flowers, then stems, grasses and wet background around them, then splashes."""
    h, w = 528 * SCALE, 672 * SCALE
    sheet = Sheet(h, w, rng)
    greens = [("3f7f3a", "8fb03a"), ("2a6a5a", "5a9a4a"), ("1f5a3a", "3a8a7a"), ("a0a83a", "6a8a2a")]
    reds = [("e02a1a", "f4702a"), ("c8142e", "ee4a2a"), ("f0602a", "fbb04a"), ("d8305a", "f58a7a")]
    spots = [(0.2, 0.3, 0.13), (0.5, 0.47, 0.17), (0.87, 0.26, 0.15), (1.08, 0.55, 0.14), (0.17, 0.66, 0.12)]
    spots += [(0.75, 0.74, 0.13), (0.6, 0.16, 0.08), (0.42, 0.8, 0.08), (1.16, 0.84, 0.1)]
    blues = [(0.36, 0.2), (0.7, 0.55), (1.17, 0.36), (0.05, 0.45), (0.32, 0.62), (0.95, 0.8), (1.02, 0.12)]
    for x, y in blues:
        cornflower(sheet, x * h, y * h, h * rng.uniform(0.04, 0.06))
    sheet.keep()
    for n, (x, y, size) in enumerate(spots):
        poppy(sheet, x * h, y * h, size * h, reds[n % 4])
        sheet.keep()
    sheet.keep()
    for x, y, *_ in [*spots, *blues]:
        foot = x + rng.normal(0, 0.06)
        blade(sheet, list(np.array([(foot, 1.05), (foot, (y + 1) / 2), (x, y)]) * h), 4, greens[2], 0.9)
    sheet.keep()
    for _ in range(130):
        x, base, top = rng.uniform(-0.05, 1.32), rng.uniform(0.95, 1.1), rng.uniform(0.45, 0.95)
        lean = rng.normal(0, 0.08)
        points = np.array([(x, base), (x + lean * 0.2, (base + top) / 2), (x + lean, top)]) * h
        blade(sheet, list(points), rng.uniform(1.5, 7), greens[rng.integers(4)], rng.uniform(0.35, 0.9))
    background(sheet)
    sheet.kept[:] = 0
    turn = np.linspace(0, 2 * np.pi, 14)[:-1]
    for _ in range(110):
        at, r = rng.uniform((0, 0), (w, h)), rng.gamma(1.3, 2.2) + 1
        colours = [("e8402a", "f4902a"), ("4a8a4a", "2a6a6a"), ("4a5ad0", "8a6ad8")][rng.integers(3)]
        sheet.wash(at + np.stack([np.cos(turn), np.sin(turn)], -1) * r, colours, rng.uniform(0.4, 0.9))
    return light(sheet.page, sheet.tooth, 0.06, 0)
