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

MUCH = 0.02
"""Share of values beyond 0–255 from which on a note says so."""
LOSSES = {
    "content": "--colors=content: the losses are those of the painting in the style's colours, before the "
    "photo's are put on it",
    "match": "--colors=match: the losses are those towards the style in the photo's colours",
    "luminance": "--colors=luminance: the losses are those of grey pictures",
}


def change_colors(
    colors: str, content: np.ndarray, styles: list[np.ndarray], masks: Masks
) -> tuple[np.ndarray, list[np.ndarray], tuple[str, ...]]:
    """Return content and styles in the colours in which they are painted, and lines for the user.

    Args:
        colors: `--colors`.
        content: [H, W, 3], RGB 0–255.
        styles: Each [h, w, 3], likewise.
        masks: The parts of the pictures whose mean colours are matched.
    """
    notes = [LOSSES[colors]] if colors in LOSSES else []
    if colors in ("style", "content"):
        return content, styles, tuple(notes)
    visible = None if masks.alpha is None else fit_mask(masks.alpha, content.shape[:2])
    in_gray = colors == "luminance"
    target, change = (to_gray(content), match_luma) if in_gray else (content, match_colors)
    changed = []
    for style, mask in zip(styles, masks.style or (None,) * len(styles), strict=True):
        where = None if mask is None else fit_mask(mask, style.shape[:2])
        # A grey JPEG has a little colour, which would be made as strong as the photo's.
        source = to_gray(style) if in_gray or is_gray(style) else style
        matched = change(source, target, where=where, of=visible)
        if (share := clipped_share(matched)) > MUCH:
            notes.append(f"  {share:.0%} of the style's values leave 0–255 by that, and are clipped")
        changed.append(np.clip(matched, 0.0, 255.0))
    return target, changed, tuple(notes)


@dataclasses.dataclass(frozen=True, eq=False)
class Finish:
    """Puts the photo's colours, or the photo where nothing is painted, on the rows of a painting.

    Attributes:
        photo: [H, W, 3], RGB 0–255, at the size of the painting.
        recolor: Whether the painting gets the photo's colours.
        cover: [H, W], 0–1, how much of each place is painted; the rest is the photo. None for all of it.
    """

    photo: np.ndarray
    recolor: bool
    cover: np.ndarray | None

    def __call__(self, rows: np.ndarray, top: int) -> np.ndarray:
        """Return finished rows [h, W, 3] of the painting, from row `top` on; not clipped to 0–255."""
        part = slice(top, top + len(rows))
        rows = with_colors_of(self.photo[part], rows) if self.recolor else rows
        return rows if self.cover is None else covered(rows, self.photo[part], self.cover[part])


def covered(image: np.ndarray, photo: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Return an image [H, W, 3] where `cover` [H, W] is 1, the photo where it is 0, and a mixture between."""
    return photo + cover[..., np.newaxis] * (image - photo)
