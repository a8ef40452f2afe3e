"""Optical flow between frames, where it can be relied on, and warping along it.

Notation, after Ruder, Dosovitskiy and Brox (arXiv 1604.08610), as arrays [H, W, 2] of (dx, dy) in pixels:

    ŵ   backward flow: where a pixel of this frame was in the earlier one
    w   forward flow: where a pixel of the earlier frame is in this one
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images.color_transfer import luma

Flow = Callable[[int, int, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(number of the earlier frame, of this one, the two frames [H, W, 3]) → ŵ and w."""
CUT = 0.5
"""Share of reliable pixels below which a new scene begins."""
LEAST_SIDE = 16
"""Pixels of a side in which movement can be found."""
CONSISTENT_SHARE, CONSISTENT_PIXELS = 0.01, 0.5
"""Of ŵ there and w back may differ by: a share of their squares, and squared pixels (Eq. 4)."""
NOISE, AROUND = 5.0, 2.0
"""Grey levels up to which a change is a camera's noise: its root mean square within about so many pixels."""
REACH = 16
"""Pixels around a change that are painted anew: about as far as the layers of the losses look."""
BOUNDARY_SHARE, BOUNDARY_PIXELS = 0.01, 0.002
"""Of ŵ the squared gradient may be: a share of its square, and squared pixels (Eq. 5)."""


def dis_flow(earlier: int, now: int, before: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ŵ and w by dense inverse search (Kroeger et al. 2016), as OpenCV has it.

    Args:
        earlier: Not used.
        now: Not used.
        before: The earlier frame, float [H, W, 3], RGB 0–255.
        frame: This frame, likewise; with sides of at least `LEAST_SIDE`.
    """
    import cv2

    one, other = (np.rint(np.clip(luma(pixels), 0, 255)).astype(np.uint8) for pixels in (before, frame))
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(other, one, None), search.calc(one, other, None)


class FlowFolder:
    """Flow that another program has computed, from `.flo` files.

    Their names are those of the authors' code: `backward_<this>_<earlier>.flo` and
    `forward_<earlier>_<this>.flo`, with the numbers of the frames, from 1.

    Args:
        folder: Where they are.

    Raises:
        UserError: There is no such folder.
        RunError: A file is missing, when it is asked for.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise UserError(f"--flow: {show(folder)} is no folder of .flo files")

    def check(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Refuse a folder that lacks the flow between two frames, each (earlier, this).

        Raises:
            UserError: Naming the file.
        """
        for earlier, now in pairs:
            for name in _flow_names(earlier, now):
                if not (self._folder / name).is_file():
                    raise UserError(
                        f"--flow: there is no {show(self._folder / name)}; without flow over several frames, "
                        "give --long_term=1"
                    )

    def __call__(
        self, earlier: int, now: int, before: np.ndarray, frame: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ŵ and w; see `Flow`.

        Raises:
            RunError: A file is missing, or is no `.flo` file.
        """
        try:
            flows = [read_flo(self._folder / name) for name in _flow_names(earlier, now)]
        except UserError as error:
            raise RunError(f"frame {now}: {error}") from None
        backward, forward = (_fitted(flow, frame.shape[:2]) for flow in flows)
        return backward, forward


def _flow_names(earlier: int, now: int) -> tuple[str, str]:
    return f"backward_{now}_{earlier}.flo", f"forward_{earlier}_{now}.flo"


def read_flo(path: Path) -> np.ndarray:
    """Return the flow [H, W, 2] of a `.flo` file (Middlebury's format).

    Raises:
        UserError: It is missing, or none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"--flow: cannot read {show(path)}: {error.strerror}") from None
    width, height = np.frombuffer(data[4:12], "<i4") if len(data) >= 12 else (0, 0)
    if data[:4] != b"PIEH" or min(width, height) < 1 or len(data) != 12 + 8 * int(width) * int(height):
        raise UserError(f"--flow: {show(path)} is no .flo file, or is cut short")
    flow = np.frombuffer(data[12:], "<f4").reshape(height, width, 2)
    if not np.isfinite(flow).all():
        raise UserError(f"--flow: {show(path)} holds values that are not finite")
    return flow.astype(np.float32)


def _fitted(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a flow at another size (H, W), its vectors scaled along."""
    height, width = flow.shape[:2]
    if (height, width) == tuple(size):
        return flow
    zoomed = ndimage.zoom(
        flow, (size[0] / height, size[1] / width, 1), order=1, grid_mode=True, mode="nearest"
    )
    return (zoomed * np.array([size[1] / width, size[0] / height])).astype(np.float32)


def warp(picture: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return a picture moved along the flow: at x what `picture` has at x + ŵ(x), bilinear.

    Args:
        picture: Of the earlier frame, float [H, W] or [H, W, C].
        backward: ŵ [H, W, 2].

    Returns:
        float32, of the same shape; beyond the picture its border is repeated, see `reliability`.
    """
    height, width = backward.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    places = np.stack([rows + backward[..., 1], columns + backward[..., 0]])
    planes = picture[..., np.newaxis] if picture.ndim == 2 else picture
    moved = [
        ndimage.map_coordinates(planes[..., channel], places, order=1, mode="nearest", output=np.float32)
        for channel in range(planes.shape[-1])
    ]
    return np.stack(moved, -1).reshape(picture.shape)


def reliability(backward: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Return where a pixel of this frame was seen in the earlier one, float32 [H, W] of 0 and 1.

    0 where something was hidden before, |ŵ + w(x+ŵ)|² ≥ 0.01 (|ŵ|² + |w|²) + 0.5 (Eq. 4); at the borders of
    what moves, |∇û|² + |∇v̂|² > 0.01 |ŵ|² + 0.002 (Eq. 5); and where x + ŵ lies outside of the frame.

    Args:
        backward: ŵ [H, W, 2].
        forward: w [H, W, 2].
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
    """Return where a frame shows at the same place what an earlier one showed, but for noise; bool [H, W].

    Nothing has changed within `REACH`, nor at the nearest place with enough detail for a movement to show: in
    a pan an even sky moves along with what is beside it. Flow does not tell, since noise moves it there.

    Args:
        before: The earlier frame, float [H, W, 3], RGB 0–255.
        frame: This frame, likewise.
    """
    changed = ndimage.maximum_filter(_strength(frame - before) > NOISE, 2 * REACH + 1)
    detail = frame - ndimage.gaussian_filter(frame, (AROUND, AROUND, 0))
    shows = _strength(detail) > 2 * NOISE
    if shows.any():
        nearest = ndimage.distance_transform_edt(~shows, return_distances=False, return_indices=True)
        changed |= changed[tuple(nearest)]
    return ~changed


def _strength(values: np.ndarray) -> np.ndarray:
    """Return the root mean square of [H, W, 3] around each place, [H, W]."""
    return np.sqrt(ndimage.gaussian_filter(np.square(values).mean(-1), AROUND))
