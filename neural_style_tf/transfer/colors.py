"""`--colors`: change the colours of the pictures before they are painted, and those of the painting after."""

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
"""A larger share of values beyond 0–255 gets a note."""
LOSSES = {
    "content": "--colors=content: the losses are those of the painting in the style's colours, before the "
    "photo's are put on it",
    "match": "--colors=match: the losses are those towards the style in the photo's colours",
    "luminance": "--colors=luminance: the losses are those of grey pictures",
}


def change_colors(
    colors: str, content: np.ndarray, styles: list[np.ndarray], masks: Masks
) -> tuple[np.ndarray, list[np.ndarray], tuple[str, ...]]:
    """Return content and styles, each [H, W, 3], RGB 0–255, as --colors wants them, and notes on clipping.

    Colours are matched by the statistics of what is inside the masks.
    """
    if colors in ("style", "content"):
        return content, styles, ()
    visible = None if masks.alpha is None else fit_mask(masks.alpha, content.shape[:2])
    in_gray = colors == "luminance"
    target, change = (to_gray(content), match_luma) if in_gray else (content, match_colors)
    changed, notes = [], []
    for style, mask in zip(styles, masks.style or (None,) * len(styles), strict=True):
        where = None if mask is None else fit_mask(mask, style.shape[:2])
        # Rounding gives a grey JPEG a little colour, which would be amplified to that of the photo.
        source = to_gray(style) if in_gray or is_gray(style) else style
        matched = change(source, target, where=where, of=visible)
        if (share := clipped_share(matched)) > CLIPPED_NOTE:
            notes.append(f"{share:.0%} of the style's values leave 0–255 by --colors, and are clipped")
        changed.append(np.clip(matched, 0.0, 255.0))
    return target, changed, tuple(notes)


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """The last touch on a painting: the photo's colours, or the photo itself outside of all masks."""

    photo: np.ndarray  # [H, W, 3], RGB 0–255, at the size of the painting
    recolor: bool  # whether the painting gets the photo's colours
    cover: np.ndarray | None  # [H, W], opacity of the painting over the photo, 0–1; None for 1 everywhere

    def __call__(self, rows: np.ndarray, top: int) -> np.ndarray:
        """Return the rows [h, W, 3] that begin at row `top`, finished; they may leave 0–255."""
        part = slice(top, top + len(rows))
        rows = with_colors_of(self.photo[part], rows) if self.recolor else rows
        return rows if self.cover is None else covered(rows, self.photo[part], self.cover[part])


def covered(image: np.ndarray, photo: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Blend: `cover` [H, W] is the opacity of an image [H, W, 3] over the photo."""
    return photo + cover[..., np.newaxis] * (image - photo)
