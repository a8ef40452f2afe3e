"""`--colors`: change the colours of the pictures before painting, and those of the painting afterwards."""

from __future__ import annotations

import dataclasses

import numpy as np

from neural_style_tf.images import is_gray
from neural_style_tf.images.color_transfer import (
    clipped_share,
    match_colors,
    match_luma,
    to_gray,
    with_colors_of,
)
from neural_style_tf.images.masks import fit_mask
from neural_style_tf.transfer.masks import Masks

CLIPPED_NOTE = 0.02
"""If a larger share of values is outside 0–255, a note tells the user."""
LOSSES = {
    "content": "--colors=content: the losses are those of the painting in the style's colours, before the "
    "photo's are put on it",
    "match": "--colors=match: the losses are those towards the style in the photo's colours",
    "luminance": "--colors=luminance: the losses are those of grey pictures",
}


def change_colors(
    colors: str, content: np.ndarray, styles: list[np.ndarray], masks: Masks
) -> tuple[np.ndarray, list[np.ndarray], tuple[str, ...]]:
    """Change the colours of the pictures, RGB 0–255, as `--colors` says; also return notes on clipped values.

    Only what is inside the masks counts for the mean and covariance of the colours.
    """
    if colors in ("style", "content"):
        return content, styles, ()
    visible = None if masks.alpha is None else fit_mask(masks.alpha, content.shape[:2])
    in_gray = colors == "luminance"
    target, change = (to_gray(content), match_luma) if in_gray else (content, match_colors)
    changed, notes = [], []
    for style, mask in zip(styles, masks.style or (None,) * len(styles), strict=True):
        where = None if mask is None else fit_mask(mask, style.shape[:2])
        # Rounding gives a grey JPEG a little colour, which matching would amplify to the photo's colours.
        source = to_gray(style) if in_gray or is_gray(style) else style
        matched = change(source, target, where=where, of=visible)
        if (share := clipped_share(matched)) > CLIPPED_NOTE:
            notes.append(f"{share:.0%} of the style's values leave 0–255 by --colors, and are clipped")
        changed.append(np.clip(matched, 0.0, 255.0))
    return target, changed, tuple(notes)


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """Finishes a painting: gives it the photo's colours, or shows the photo outside of all masks."""

    photo: np.ndarray  # [H, W, 3], RGB 0–255, at the size of the painting
    recolor: bool  # whether the painting gets the photo's colours
    cover: np.ndarray | None  # [H, W], opacity of the painting over the photo, 0–1; None for 1 everywhere

    def __call__(self, rows: np.ndarray, top: int) -> np.ndarray:
        """Return the finished `rows` [h, W, 3], of which the first is row `top`; values may leave 0–255."""
        part = slice(top, top + len(rows))
        rows = with_colors_of(self.photo[part], rows) if self.recolor else rows
        return rows if self.cover is None else covered(rows, self.photo[part], self.cover[part])


def covered(image: np.ndarray, photo: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Blend `image` over `photo`, both [H, W, 3]. `cover` [H, W], 0–1, is the opacity of `image`."""
    return photo + cover[..., np.newaxis] * (image - photo)
