"""Pictures from a browser: checked, named safely, kept beside the runs; masks from brush strokes."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from neural_style_tf.errors import UserError
from neural_style_tf.images import load_image, save_image
from neural_style_tf.images.files import PICTURES as SUFFIXES
from neural_style_tf.utils.atomic import atomic_path
from neural_style_tf.video.read import is_clip

FOLDER = "pictures"
"""In the output folder."""
LONGEST_NAME = 48
"""Of a stored picture without hash and ending, in bytes."""
HASH_DIGITS = 16
PREVIEW = 1280
"""Longest side of what is shown of a picture, in pixels."""


def safe_name(name: str) -> str:
    """Return a name of letters, digits, `_`, `.`, `+` and `-` from whatever a browser calls a file.

    Args:
        name: With folders, control characters, at any length.

    Returns:
        At most `LONGEST_NAME` bytes, without an ending; `picture` if nothing is left.
    """
    last = re.split(r"[/\\]", name)[-1]
    return clean_name(Path(last.replace("\0", "_")).stem if last else "")


def clean_name(name: str) -> str:
    """Return what `safe_name` does, of a name without folders and ending."""
    stem = re.sub(r"[^\w.+\-]+", "_", unicodedata.normalize("NFC", name))
    stem = stem.strip("._-+").encode("utf-8", "ignore")[:LONGEST_NAME].decode("utf-8", "ignore")
    return stem.strip("._-+") or "picture"


def check_picture(path: str) -> None:
    """Refuse a file that cannot be painted from.

    Raises:
        UserError: It is no picture, damaged, too large, or moves.
    """
    if is_clip(path):
        raise UserError("this picture moves: the page paints still pictures; clips are for the command line")
    load_image(path, longest=64)


def store_picture(path: str, output_dir: Path) -> Path:
    """Keep a picture beside the runs, so that they can be repeated.

    Args:
        path: A file; the same content is stored once, under its first name.
        output_dir: The folder of the runs.

    Returns:
        The path of the copy, `pictures/<hash>-<name>` in the output folder.
    """
    with Path(path).open("rb") as file:
        prefix = hashlib.file_digest(file, "sha256").hexdigest()[:HASH_DIGITS]
    folder = output_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(folder.glob(f"{prefix}-*"))
    if known:
        return known[0]
    suffix = Path(path).suffix.lower()
    target = folder / f"{prefix}-{safe_name(Path(path).name)}{suffix if suffix in SUFFIXES else '.png'}"
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
    return target


def title_of(path: Path) -> str:
    """Return what a stored picture is called, without its hash."""
    return re.sub(rf"^[0-9a-f]{{{HASH_DIGITS}}}-", "", path.stem)


def store_mask(mask: np.ndarray, name: str, output_dir: Path) -> Path:
    """Keep a mask beside the runs as a PNG.

    Args:
        mask: bool [H, W].
        name: What it is of.
        output_dir: The folder of the runs.
    """
    levels = np.where(mask, np.uint8(255), np.uint8(0))
    prefix = hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).hexdigest()[:HASH_DIGITS]
    target = output_dir / FOLDER / f"{prefix}-{clean_name(name)}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        with atomic_path(target) as temporary:
            Image.fromarray(levels).save(temporary, "PNG")
    return target


def strokes(layers: Sequence[np.ndarray], colors: Sequence[str]) -> list[np.ndarray | None]:
    """Return where each colour of a brush was used.

    Args:
        layers: uint8 [H, W, 4], the later above the earlier.
        colors: Of the brush, `#rrggbb`.

    Returns:
        bool [H, W] for each colour, None for one that was not used.
    """
    used: list[np.ndarray | None] = [None] * len(colors)
    palette = np.array([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors], np.int32)
    top = None
    for layer in layers:
        drawn = layer[..., 3] > 127
        top = np.where(drawn[..., None], layer, 0 if top is None else top)
    if top is None:
        return used
    distance = ((top[..., None, :3].astype(np.int32) - palette) ** 2).sum(-1)
    nearest, drawn = distance.argmin(-1), top[..., 3] > 127
    found = [drawn & (nearest == number) for number in range(len(colors))]
    return [mask if mask.any() else None for mask in found]


def layer_of(masks: Sequence[np.ndarray | None], colors: Sequence[str]) -> np.ndarray | None:
    """Return the brush layer uint8 [H, W, 4] of masks bool [H, W], of which `strokes` makes them again."""
    known = [(mask, color) for mask, color in zip(masks, colors, strict=False) if mask is not None]
    if not known:
        return None
    layer = np.zeros((*known[0][0].shape, 4), np.uint8)
    for mask, color in known:
        layer[mask] = [*(int(color[at : at + 2], 16) for at in (1, 3, 5)), 255]
    return layer


def key_of(path: Path, *more: object) -> str:
    """Return a name for a copy of a file, another one when the file is replaced.

    Args:
        path: The file.
        *more: What else makes the copy another one.

    Raises:
        OSError: It is not there.
    """
    stat = path.stat()
    facts = (path.absolute(), stat.st_mtime_ns, stat.st_size, *more)
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:24]


def preview(path: Path, folder: Path, *, longest: int = PREVIEW) -> Path:
    """Return a small copy of a picture that every browser shows: upright, in sRGB, on white.

    Args:
        path: Of a picture that may be replaced by a newer one at any time.
        folder: Where copies are kept; made if it is not there.
        longest: Side, in pixels.

    Raises:
        UserError: It cannot be read.
        OSError: It is not there, or there is no room.
    """
    target = folder / f"{key_of(path, longest)}.jpg"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        picture = load_image(path, longest=longest)
        opacity = 1.0 if picture.alpha is None else picture.alpha[..., np.newaxis] / np.float32(255.0)
        save_image(target, picture.pixels * opacity + 255.0 * (1.0 - opacity))
    return target
