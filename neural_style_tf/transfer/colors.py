"""`--colors`: what is done to the pictures before they are painted, and to the painting when it is read."""

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

MUCH = 0.02
"""Share of values beyond 0–255 that the user is told of."""
LOSSES = {
    "content": "--colors=content: the losses are those of the painting in the style's colours, before the "
    "photo's are put on it",
    "match": "--colors=match: the losses are those towards the style in the photo's colours",
    "luminance": "--colors=luminance: the losses are those of grey pictures",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What is painted, after `prepare`.

    Attributes:
        content: [H, W, 3], RGB 0–255.
        styles: Each [h, w, 3], likewise.
        photo: The photo as it was.
        recolor: Whether the result gets its colours.
        notes: Lines that the user should see.
    """

    content: np.ndarray
    styles: list[np.ndarray]
    photo: np.ndarray
    recolor: bool = False
    notes: tuple[str, ...] = ()


def prepare(colors: str, content: np.ndarray, styles: list[np.ndarray], masks: Masks) -> Prepared:
    """Return the pictures as they are painted.

    Args:
        colors: `--colors`.
        content: [H, W, 3], RGB 0–255.
        styles: Each [h, w, 3], likewise.
        masks: Whose parts of the pictures count for their mean colours.
    """
    if colors == "style":
        return Prepared(content, styles, content)
    notes = [LOSSES[colors]]
    if colors == "content":
        return Prepared(content, styles, content, True, tuple(notes))
    seen = None if masks.alpha is None else fit_mask(masks.alpha, content.shape[:2])
    gray = colors == "luminance"
    target, change = (to_gray(content), match_luma) if gray else (content, match_colors)
    changed = []
    for style, mask in zip(styles, masks.style or (None,) * len(styles), strict=True):
        where = None if mask is None else fit_mask(mask, style.shape[:2])
        # What little colour JPEG leaves in a grey style would be made as strong as that of the photo.
        found = change(to_gray(style) if gray or is_gray(style) else style, target, where=where, of=seen)
        if (share := clipped_share(found)) > MUCH:
            notes.append(f"  {share:.0%} of the style's values leave 0–255 by that, and are clipped")
        changed.append(np.clip(found, 0.0, 255.0))
    return Prepared(target, changed, content, gray, tuple(notes))


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """What is done to the rows of a painting when they are read.

    Attributes:
        photo: [H, W, 3], RGB 0–255, at the size of the painting.
        recolor: Whether the painting gets the photo's colours.
        cover: [H, W], 0–1, how much of each place is painted; the rest is the photo. None for all of it.
    """

    photo: np.ndarray
    recolor: bool
    cover: np.ndarray | None

    def __call__(self, rows: np.ndarray, top: int) -> np.ndarray:
        """Return rows [h, W, 3] of the painting, from row `top` on, as they are shown; not clipped."""
        here = slice(top, top + len(rows))
        rows = with_colors_of(self.photo[here], rows) if self.recolor else rows
        return rows if self.cover is None else covered(rows, self.photo[here], self.cover[here])


def covered(image: np.ndarray, photo: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Return an image [H, W, 3] where `cover` [H, W] is 1, the photo where it is 0, and a mixture between."""
    return photo + cover[..., np.newaxis] * (image - photo)
