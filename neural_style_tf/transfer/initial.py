"""Make the initial image of a run: noise, the content picture, the style picture, or a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neural_style_tf.config.schema import SETTINGS, Config
from neural_style_tf.errors import UserError, did_you_mean
from neural_style_tf.images import load_image, resize
from neural_style_tf.models.architecture import MEAN_RGB
from neural_style_tf.utils.files import exists

WORDS = SETTINGS["init"].metadata["choices"]


def initial_pixels(config: Config, content: np.ndarray, style: np.ndarray, **reading: object) -> np.ndarray:
    """Return the initial image that `config.init` names, float32 [H, W, 3], RGB, about 0–255.

    It has the shape of `content`. Noise is normal, N(0, 1), around the network's mean colour, with the seed
    `config.seed`. A picture file is read by `load_image` with the options `reading`, and resized. A `.npy`
    array is used unchanged.
    """
    height, width, _ = content.shape
    if config.init == "noise":
        noise = np.random.default_rng(config.seed).standard_normal(content.shape, dtype=np.float32)
        return noise + np.asarray(MEAN_RGB, np.float32)
    if config.init == "content":
        return content.astype(np.float32)
    if config.init == "style":
        return resize(style, (height, width))
    if config.init.lower().endswith(".npy"):
        return load_array(config.init, content.shape)
    if not exists(config.init) and not Path(config.init).suffix:
        raise UserError(
            f"--init must be {', '.join(WORDS)}, a picture or a .npy file, "
            f"not {config.init!r}{did_you_mean(config.init, WORDS)}"
        )
    return resize(load_image(config.init, **reading).pixels, (height, width))


def enlarged(painted: np.ndarray, photo: np.ndarray, detail: float) -> np.ndarray:
    """Enlarge `painted` [h, w, 3] to the size of the next scale's `photo` [H, W, 3], both RGB 0–255.

    The share `detail` (0 to 1) of the photo's fine detail, which the coarser size could not hold, is added.
    Without this, the style losses would fill the place of small parts, such as the eyes of a face. The
    content loss would hardly bring them back, since its deep layers respond little to them. At edges the
    result may leave 0–255.

    Differs from Gatys et al., who paint at one size.
    """
    size = photo.shape[:2]
    result = resize(painted, size)
    if detail:
        # Not in place: `resize` may return `painted` itself.
        result = result + detail * (photo - resize(resize(photo, painted.shape[:2]), size))
    return result


def load_array(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array in the .npy file `path`, which must have `shape`, as float32."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        # NumPy raises some OSErrors of its own, which have only a text.
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"--init: cannot read {path!r} as a .npy array: {cause}") from None
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in "fiu":
        actual = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise UserError(f"--init: {path!r} must hold numbers {list(shape)} like the content, not {actual}")
    if not np.isfinite(array).all():
        raise UserError(f"--init: {path!r} holds values that are not finite")
    return array.astype(np.float32)
