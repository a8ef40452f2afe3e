"""Run artificial-artwork with its own settings, say when each iteration ended, and keep its pictures.

    python run_artificial_artwork.py CONTENT.png STYLE.png ITERATIONS SAVE_EVERY

Its own files stretch the contrast of the mean-subtracted image; `out.png` and `out_N.png` are the image as
it is.
"""

import sys
from types import SimpleNamespace

import numpy as np
from artificial_artwork._main import create_algo_runner
from PIL import Image

MEAN_RGB = (123.68, 116.779, 103.939)

content, style, *numbers = sys.argv[1:]
iterations, save_every = map(int, numbers)


def save(matrix: np.ndarray, name: str) -> None:
    """Write an image [1, H, W, 3], mean-subtracted."""
    pixels = np.clip(np.round(matrix[0] + MEAN_RGB), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(name)


def on_progress(subject: object) -> None:
    """Tell of an iteration."""
    state = subject.state
    done = state.metrics["iterations"]
    if done == iterations:
        save(state.matrix, "out.png")
    elif done % save_every == 0:
        save(state.matrix, f"out_{done}.png")
    print(f"Iteration {done} / {iterations}", flush=True)


started = []


def on_running(subject: object) -> None:
    """Tell of the start of the loop."""
    if not started:
        print("Running optimization", flush=True)
    started.append(True)


runner = create_algo_runner(iterations=iterations, output_folder=".")
runner["subscribe_to_progress"](SimpleNamespace(update=on_progress))
runner["subscribe_to_running_flag"](SimpleNamespace(update=on_running))
runner["run"](content, style)
