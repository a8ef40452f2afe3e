"""Make the initial image: noise, content, style, or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neural_style_tf.config.schema import SETTINGS, Config
from neural_style_tf.errors import UserError, did_you_mean
from neural_style_tf.images import load_image, resize
from neural_style_tf.models.architecture import MEAN_RGB
from neural_style_tf.utils.files import exists

WORDS = SETTINGS["init"].metadata["choices"]

_NPY = b"\x93NUMPY"


def initial_pixels(config: Config, content: np.ndarray, style: np.ndarray, **reading: object) -> np.ndarray:
    """Return the picture that `config.init` names, float32 [H, W, 3], RGB 0–255, of the shape of `content`.

    `noise` is N(0, 1) about the network's mean colour, from `config.seed`. A picture file is read by
    `load_image` with the options `reading`, and resized; a `.npy` array is used exactly.
    """
    height, width, _ = content.shape
    if config.init == "noise":
        noise = np.random.default_rng(config.seed).standard_normal(content.shape, dtype=np.float32)
        return noise + np.asarray(MEAN_RGB, np.float32)
    if config.init == "content":
        return content.astype(np.float32)
    if config.init == "style":
        return resize(style, (height, width))
    if _is_array(config.init):
        return load_array(config.init, content.shape)
    if not exists(config.init) and not Path(config.init).suffix:
        raise UserError(
            f"--init must be {', '.join(WORDS)}, a picture or a .npy file, "
            f"not {config.init!r}{did_you_mean(config.init, WORDS)}"
        )
    return resize(load_image(config.init, **reading).pixels, (height, width))


def enlarged(painted: np.ndarray, photo: np.ndarray, detail: float) -> np.ndarray:
    """Enlarge a painting [h, w, 3] to the size of the next scale's photo [H, W, 3], both RGB 0–255.

    The share `detail` of the photo's finer detail, which the coarser size could not hold, is added.
    Otherwise small parts, such as the eyes of a face, would have to come back through the content loss, after
    the style losses have filled their place; its deep layers hardly respond to them. Edges may leave 0–255.

    Differs from Gatys et al., who paint at one size.
    """
    size = photo.shape[:2]
    result = resize(painted, size)
    if detail:
        # Not in place: `resize` may return `painted` itself.
        result = result + detail * (photo - resize(resize(photo, painted.shape[:2]), size))
    return result


def _is_array(path: str) -> bool:
    """Return whether a file is a .npy array by its first bytes, or by its name if it is unreadable."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_NPY)) == _NPY or path.endswith(".npy")
    except (OSError, ValueError):
        return path.endswith(".npy")


def load_array(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array of a .npy file as float32; refuse another shape, and numbers that are not finite."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise UserError(f"--init: cannot read {path!r} as a .npy array: {error}") from None
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in "fiu":
        actual = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(f"--init: {path!r} must hold numbers {list(shape)} like the content, not {actual}")
    if not np.isfinite(array).all():
        raise UserError(f"--init: {path!r} holds values that are not finite")
    return array.astype(np.float32)
