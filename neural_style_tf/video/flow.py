"""Compute optical flow between two frames, find where it is reliable, and warp pictures along it.

Flow is an array [H, W, 2] of displacements (dx, dy) in pixels. "This frame" is the one that is being painted.
Notation of Ruder, Dosovitskiy and Brox (arXiv 1604.08610):

    ŵ   backward flow, from a pixel of this frame to its place in the earlier frame; its parts are û and v̂
    w   forward flow, from a pixel of the earlier frame to its place in this frame
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images.color_transfer import luma

Flow = Callable[[int, int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""A function `flow(earlier number, number, earlier frame, frame)` that returns ŵ and w between two frames.

The frames are [H, W, 3], RGB 0–255.
"""
CUT = 0.5
"""A new scene begins where the share of reliable pixels is below this."""
LEAST_SIDE = 16
"""Shortest side, in pixels, for which OpenCV computes flow."""
CONSISTENT_SHARE, CONSISTENT_PIXELS = 0.01, 0.5
"""Factor of the squared flows, and constant in squared pixels, in the consistency check (Eq. 4)."""
BOUNDARY_SHARE, BOUNDARY_PIXELS = 0.01, 0.002
"""Factor of the squared flow, and constant in squared pixels, in the check for motion boundaries (Eq. 5)."""
NOISE, AROUND = 5.0, 2.0
"""A root mean square change up to `NOISE` grey levels, averaged with σ `AROUND` pixels, counts as noise."""
REACH = 16
"""Pixels within this distance of a change are repainted: about the receptive field of the losses' layers."""


def dis_flow(earlier: int, now: int, before: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ŵ and w by OpenCV's dense inverse search (Kroeger et al. 2016). Frame numbers are ignored."""
    import cv2

    before, frame = (np.rint(np.clip(luma(pixels), 0, 255)).astype(np.uint8) for pixels in (before, frame))
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(frame, before, None), search.calc(before, frame, None)


class FlowFolder:
    """A `Flow` that reads `.flo` files (Middlebury's format), which another program computed.

    The files are named as by the code of Ruder et al.: `backward_<this>_<earlier>.flo` and
    `forward_<earlier>_<this>.flo`, with the numbers of the frames, from 1.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise UserError(f"--flow: {show(folder)} is not a folder of .flo files")

    def _paths(self, earlier: int, now: int) -> tuple[Path, Path]:
        names = f"backward_{now}_{earlier}.flo", f"forward_{earlier}_{now}.flo"
        return self._folder / names[0], self._folder / names[1]

    def check(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Raise `UserError` if a file is missing for one of these pairs of numbers (earlier, this)."""
        for pair in pairs:
            for path in self._paths(*pair):
                if not path.is_file():
                    raise UserError(
                        f"--flow: there is no {show(path)}; if there is only flow from frame to frame, "
                        "give --long_term=1"
                    )

    def __call__(
        self, earlier: int, now: int, before: np.ndarray, frame: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read ŵ and w, and scale them to the size of `frame`; raise `RunError` for a missing or bad file."""
        import cv2

        height, width = frame.shape[:2]
        flows = []
        for path in self._paths(earlier, now):
            flow = cv2.readOpticalFlow(str(path))
            if flow is None or not np.isfinite(flow).all():
                raise RunError(
                    f"frame {now}: --flow: {show(path)} is missing, cut short, or no .flo file of finite "
                    "values"
                )
            scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
            flows.append(cv2.resize(flow, (width, height)) * scale)
        return flows[0], flows[1]


def warp(picture: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Move a picture [H, W, C] of the earlier frame to this frame.

    The result at x is `picture` at x + ŵ(x), with ŵ = `backward`, interpolated linearly; it is float32.
    Outside of the picture its border is repeated; `reliability` is 0 there.
    """
    import cv2

    rows, columns = np.mgrid[: backward.shape[0], : backward.shape[1]].astype(np.float32)
    places = np.dstack([columns, rows]) + backward.astype(np.float32)
    picture = picture.astype(np.float32)
    return cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def reliability(backward: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Return 1 where a pixel of this frame was visible in the earlier one, else 0; float32 [H, W].

    It is 0 in three cases: the pixel was hidden, |ŵ + w(x+ŵ)|² ≥ 0.01 (|ŵ|² + |w|²) + 0.5 (Eq. 4); it lies at
    a motion boundary, |∇û|² + |∇v̂|² > 0.01 |ŵ|² + 0.002 (Eq. 5); or x + ŵ lies outside of the frame.
    """
    height, width = backward.shape[:2]
    there = warp(forward, backward)
    squares = np.square(backward).sum(-1)
    apart = np.square(backward + there).sum(-1)
    hidden = apart >= CONSISTENT_SHARE * (squares + np.square(there).sum(-1)) + CONSISTENT_PIXELS
    slopes = sum(np.square(np.gradient(backward[..., part], axis=axis)) for part in (0, 1) for axis in (0, 1))
    border = slopes > BOUNDARY_SHARE * squares + BOUNDARY_PIXELS
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
    return (~(hidden | border | outside)).astype(np.float32)


def unchanged(before: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return where two frames [H, W, 3] show the same thing at the same place, except for noise; bool [H, W].

    At such a place nothing has changed within `REACH` pixels, and nothing at the nearest place with enough
    detail to show motion: when the camera pans, an even sky looks unchanged, but moves like the things beside
    it. Flow cannot decide this, since in even areas it follows the noise.
    """
    changed = ndimage.maximum_filter(_strength(frame - before) > NOISE, 2 * REACH + 1)
    detail = frame - ndimage.gaussian_filter(frame, (AROUND, AROUND, 0))
    shows = _strength(detail) > 2 * NOISE
    if shows.any():
        nearest = ndimage.distance_transform_edt(~shows, return_distances=False, return_indices=True)
        changed |= changed[tuple(nearest)]
    return ~changed


def _strength(values: np.ndarray) -> np.ndarray:
    """Return the root mean square of `values` [H, W, 3] around each place, [H, W]."""
    return np.sqrt(ndimage.gaussian_filter(np.square(values).mean(-1), AROUND))
