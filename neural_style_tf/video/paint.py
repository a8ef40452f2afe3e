"""Paint the frames of a clip in order, each consistent with the frames before it.

The first frame of a scene is painted like a single picture. Each later frame begins with the painting of the
frame before, warped along the optical flow. Where the flow is reliable, a loss keeps the frame close to this
warped painting (`losses.temporal`). Source: Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos"
(arXiv 1604.08610).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from neural_style_tf.config.optimizers import facts_of
from neural_style_tf.config.schema import Config
from neural_style_tf.images.color_transfer import match_colors
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.loop import STALLED, Tick
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import FrameRecord, FrameState, StepRecord
from neural_style_tf.transfer.scales import fit_content
from neural_style_tf.video.flow import CUT, Flow, FlowFolder, reliability, unchanged, warp
from neural_style_tf.video.read import Frame

if TYPE_CHECKING:
    from neural_style_tf.transfer.session import Session

SOFT = 1.0
"""Standard deviation, in pixels, of the blur between warped and new pixels in a frame's initial picture."""
GAIN = 0.01
"""A frame is done when `steps_to_gain` steps of the optimiser lower its loss by less than this share."""


def paint_clip(
    session: Session,
    frames: Iterable[Frame],
    styles: Sequence[np.ndarray],
    config: Config,
    *,
    flow: Flow,
    masks: Callable[[Frame], Masks] = lambda frame: Masks(),
    initial: np.ndarray | None = None,
    before: Sequence[FrameState] = (),
    tick: Tick = lambda step: False,
) -> Iterator[FrameRecord]:
    """Paint the frames of a clip; yield the record of each frame when it is done.

    Args:
        session: The session whose network and compiled steps all frames use.
        frames: The frames to paint, in order.
        styles: The style pictures, each [h, w, 3], RGB 0–255.
        config: All settings, `video` among them.
        flow: Function that computes the optical flow between two frames.
        masks: Function that returns the masks of a frame; called in order.
        initial: Picture that the first frame of each scene begins with; default: what `--init` names.
        before: The state of frames that are painted already, the oldest first.
        tick: See `transfer.loop.Tick`. If it stops a frame, this frame is not yielded, and painting ends.
    """
    known, stopped, optimizer = list(before), False, facts_of(config.optimization.optimizer)
    config = config.replace(save_every=0, save_minutes=0, log_every=optimizer.steps_to_gain)
    # With a folder of flow nothing is held still: it lacks the flow from the frame for which a still place
    # was first painted.
    holds = config.loss.temporal_weight > 0 and not isinstance(flow, FlowFolder)

    def ticked(step: int) -> bool:
        nonlocal stopped
        stopped = stopped or bool(tick(step))
        return stopped

    for frame in frames:
        number, source, guides = frame.number, fit_content(frame.pixels, config), masks(frame)
        kept, scene, reliable = source, number, 0.0
        settings, begin, until = config, initial, None
        warped = follow(known, number, source, config.video.long_term, flow)
        if warped is not None:
            free = 1.0
            if holds and not guides.moving:
                warped = held(warped, known[-1], source)
                free -= float(warped.still.mean())
                # At a still place, the next frame is compared with the frame for which the place was painted.
                # So slow changes add up, until the place counts as changed.
                kept = np.where(warped.still[..., np.newaxis], known[-1].source, source)
            scene, reliable = known[-1].scene, float(warped.reliable.mean())
            # Only at the final size, since the frame begins with a painting.
            settings = config.replace(scales=1, scale_iterations=())
            until = Enough(leaves=optimizer.leaves, free=free)
            begin = beginning(warped, source, known[-1].painted)
        elif config.video.first_iterations:
            settings = config.replace(iterations=config.video.first_iterations)
        inputs = Inputs(source, tuple(styles), begin, guides, warped)
        records = list(session.run(inputs, settings, tick=ticked, until=until))
        if stopped:
            return
        last = records[-1]
        state = FrameState(number, scene, kept, last.painted_rows[:])
        yield FrameRecord(
            step=number,
            terms=last.terms,
            planned=number,
            seconds=last.seconds,
            # Most frames end because their loss no longer falls, so a note about this is left out.
            notes=tuple(note for record in records for note in record.notes if STALLED not in note),
            image_rows=last.best_rows,
            time=frame.time,
            iterations=last.step,
            reliable=reliable,
            state=state,
        )
        known = [*(known if scene < number else []), state][-max(config.video.long_term) :]


def follow(
    known: Sequence[FrameState], number: int, source: np.ndarray, lags: Sequence[int], flow: Flow
) -> Warped | None:
    """Return earlier paintings warped to this frame; None if there are none, or if this frame begins a scene.

    Each pixel comes from the nearest earlier painting to which its flow is reliable. `known` are the painted
    frames of the scene, the nearest last; of them those `lags` before this frame, `source`, are used.
    """
    if not known or known[-1].source.shape != source.shape:
        return None
    picture, reliable = np.zeros_like(source), np.zeros(source.shape[:2], np.float32)
    for lag in sorted(set(lags) | {1}):
        if lag > len(known):
            break
        earlier = known[-lag]
        backward, forward = flow(earlier.number, number, earlier.source, source)
        here = reliability(backward, forward)
        if lag == 1:
            if here.mean() < CUT:
                return None
            picture, reliable = warp(earlier.painted, backward), here
        else:
            new = (here > 0) & (reliable == 0)
            picture = np.where(new[..., np.newaxis], warp(earlier.painted, backward), picture)
            reliable = np.maximum(reliable, here)
    return Warped(picture, reliable)


def held(warped: Warped, before: FrameState, source: np.ndarray) -> Warped:
    """Return `warped`, the result of `follow`, with the painting of frame `before` where nothing changed.

    Differs from Ruder et al., who repaint all of each frame. There, still parts keep changing from frame to
    frame, since each frame adds iterations to them.
    """
    still = unchanged(before.source, source)
    picture = np.where(still[..., np.newaxis], before.painted, warped.picture)
    return Warped(picture, np.where(still, np.float32(1), warped.reliable), still)


def beginning(warped: Warped, source: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Return a frame's initial picture: the warped painting, or where it is not reliable, the frame itself.

    Differs from Ruder et al., who begin with the warped painting everywhere. Where something comes into view,
    the edges of what hid it would then stay as ghosts. The frame (`source`) gets the colours of the last
    painting (`painted`).
    """
    known = ndimage.gaussian_filter(warped.reliable, SOFT)
    if warped.still is not None:
        known = np.where(warped.still, 1.0, known)
    known = known[..., np.newaxis]
    new = match_colors(source, np.clip(painted, 0.0, 255.0))
    return np.clip(known * warped.picture + (1 - known) * new, 0.0, 255.0)


class Enough:
    """Ends a frame whose loss hardly falls any more; see `transfer.loop.Until`.

    If the optimiser `leaves` the initial picture for a higher loss, as Adam does, a frame ends only after the
    loss has fallen below the initial loss. Pixels that are held still add to the loss but cannot lower it, so
    the required gain is multiplied by the share of pixels that are `free`.
    """

    def __init__(self, *, leaves: bool, free: float = 1.0) -> None:
        self._before, self._leaves, self._gain = float("inf"), leaves, free * GAIN

    def __call__(self, record: StepRecord) -> bool:
        """Return whether the loss fell too little since the last call."""
        gained, self._before = self._before - record.best_total, record.best_total
        if not self._gain:
            return True
        away = self._leaves and record.best_step == 0
        return record.step > 0 and not away and gained < self._gain * record.best_total
