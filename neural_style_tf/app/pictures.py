"""Check pictures from a browser, store them under safe names, and turn brush strokes into masks."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from neural_style_tf.errors import UserError
from neural_style_tf.images import load_image, save_image
from neural_style_tf.images.files import PICTURE_SUFFIXES
from neural_style_tf.utils.files import atomic_path
from neural_style_tf.video.read import is_clip

FOLDER = "pictures"
"""Name of the folder for pictures and masks in the output folder."""
LONGEST_STEM = 48
"""Longest name of a stored picture without hash and ending, in bytes."""
HASH_DIGITS = 16
PREVIEW = 1280
"""Longest side of a preview, in pixels."""


def clean_name(name: str) -> str:
    """Return `name` as a safe file or folder name of at most `LONGEST_STEM` bytes.

    Letters, digits, `_`, `.`, `+` and `-` stay; all other characters become `_`. All of these signs are
    removed from both ends. If nothing is left, the name is "picture".
    """
    stem = re.sub(r"[^\w.+\-]+", "_", unicodedata.normalize("NFC", name))
    stem = stem.strip("._-+").encode("utf-8", "ignore")[:LONGEST_STEM].decode("utf-8", "ignore")
    return stem.strip("._-+") or "picture"


def safe_name(name: str) -> str:
    """Return a safe name, without folders and ending, for a file that a browser calls `name`."""
    last = re.split(r"[/\\]", name)[-1]
    return clean_name(Path(last.replace("\0", "_")).stem if last else "")


def upload_name(name: str) -> str:
    """Return a safe file name for a picture that a browser or a program calls `name`."""
    suffix = Path(name).suffix.lower()
    return safe_name(name) + (suffix if suffix in PICTURE_SUFFIXES else ".png")


def check_picture(path: str) -> None:
    """Raise `UserError` if a file is no still picture, damaged, or too large."""
    if is_clip(path):
        raise UserError("this picture moves: the page paints still pictures; clips are for the command line")
    load_image(path, longest=64)


def store_picture(path: str, output_dir: Path) -> Path:
    """Store a copy of a picture in the output folder, so that runs can be repeated; return its path."""
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _keep(
        output_dir, digest, upload_name(Path(path).name), lambda target: shutil.copyfile(path, target)
    )


def store_mask(mask: np.ndarray, name: str, output_dir: Path) -> Path:
    """Store a mask, bool [H, W], as a PNG in the output folder; return its path."""
    levels = np.where(mask, np.uint8(255), np.uint8(0))
    digest = hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).hexdigest()
    picture = Image.fromarray(levels)
    return _keep(output_dir, digest, f"{clean_name(name)}.png", lambda target: picture.save(target, "PNG"))


def _keep(output_dir: Path, digest: str, name: str, write: Callable[[Path], object]) -> Path:
    """Write `pictures/<hash>-<name>`, unless a file with this hash exists; return the path of the file."""
    folder, prefix = output_dir / FOLDER, digest[:HASH_DIGITS]
    folder.mkdir(parents=True, exist_ok=True)
    if known := sorted(folder.glob(f"{prefix}-*")):
        return known[0]
    with atomic_path(folder / f"{prefix}-{name}") as temporary:
        write(temporary)
    return folder / f"{prefix}-{name}"


def title_of(path: Path) -> str:
    """Return the file name of a stored picture without the hash before it and the ending."""
    return re.sub(rf"^[0-9a-f]{{{HASH_DIGITS}}}-", "", path.stem)


def strokes(layer: np.ndarray | None, colors: Sequence[str]) -> list[np.ndarray | None]:
    """Return a mask for each colour of a brush: where it was used, bool [H, W], or None if it was not used.

    `layer` is what was drawn, RGBA, uint8 [H, W, 4]; None for nothing.
    """
    if layer is None:
        return [None] * len(colors)
    palette = np.array([ImageColor.getrgb(color) for color in colors], np.int32)
    nearest = ((layer[..., None, :3] - palette) ** 2).sum(-1).argmin(-1)
    masks = [(layer[..., 3] > 127) & (nearest == number) for number in range(len(colors))]
    return [mask if mask.any() else None for mask in masks]


def layer_of(masks: Sequence[np.ndarray | None], colors: Sequence[str]) -> np.ndarray | None:
    """Return the brush layer, RGBA, uint8 [H, W, 4], for masks: the inverse of `strokes`.

    None if all masks are None.
    """
    drawn = [(mask, color) for mask, color in zip(masks, colors, strict=False) if mask is not None]
    if not drawn:
        return None
    layer = np.zeros((*drawn[0][0].shape, 4), np.uint8)
    for mask, color in drawn:
        layer[mask] = ImageColor.getcolor(color, "RGBA")
    return layer


def preview(path: Path, folder: Path, *, longest: int = PREVIEW) -> Path:
    """Return the path of a small JPEG copy of a picture, which every browser can show: in sRGB, on white.

    The copy is kept in `folder`. If the picture is replaced by a newer one, a new copy is made.
    """
    stat = path.stat()
    key = f"{path.absolute()}\0{stat.st_mtime_ns}\0{stat.st_size}\0{longest}"
    target = folder / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:24]}.jpg"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        picture = load_image(path, longest=longest)
        opacity = 1.0 if picture.alpha is None else picture.alpha[..., np.newaxis] / np.float32(255.0)
        save_image(target, picture.pixels * opacity + 255.0 * (1.0 - opacity))
    return target
