"""Make clip.webp: a pan and zoom over coffee.jpg, with the astronaut walking across.

    python examples/make_clip.py [FILE] [--frames N] [--width N]

A clip of which it is known how everything moves; `benchmarks/video.py` measures with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

HERE = Path(__file__).parent
ZOOM, PAN, WALK = 0.004, 3.0, 4.0
"""Of each frame: share that the view narrows by, pixels that it moves by, and those that the person does."""


def load(name: str, mode: str = "RGB") -> Image.Image:
    """Return an example."""
    return Image.open(HERE / name).convert(mode)


def make_clip(count: int, width: int) -> list[np.ndarray]:
    """Return frames float32 [H, W, 3], RGB 0–255."""
    height = width * 3 // 4
    behind = np.asarray(load("coffee.jpg"), np.float32)
    person, mask = load("astronaut.jpg"), load("astronaut_person.png", "L")
    factor = 0.9 * height / person.height
    person = person.resize((round(person.width * factor), round(person.height * factor)))
    mask = mask.resize(person.size)
    rows, columns = np.mgrid[:height, :width]
    frames = []
    for index in range(count):
        zoom = 0.75 * behind.shape[1] / width * (1 - ZOOM * index)
        places = [
            (rows - height / 2) * zoom + behind.shape[0] / 2,
            (columns - width / 2) * zoom + 0.45 * behind.shape[1] + PAN * index,
        ]
        planes = [
            ndimage.map_coordinates(behind[..., channel], places, order=1, mode="nearest")
            for channel in range(3)
        ]
        picture = Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))
        picture.paste(person, (round(0.1 * width + WALK * width / 320 * index), height - person.height), mask)
        frames.append(np.asarray(picture, np.float32))
    return frames


def main() -> None:
    """Write the clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "clip.webp")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--width", type=int, default=320)
    options = parser.parse_args()
    frames = make_clip(options.frames, options.width)
    first, *others = [Image.fromarray(frame.astype(np.uint8)) for frame in frames]
    first.save(options.file, save_all=True, append_images=others, duration=83, loop=0, quality=90, method=6)


if __name__ == "__main__":
    main()
