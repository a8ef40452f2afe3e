"""Paint the frames of a clip one after another, each close to those before it.

The first frame of a scene is painted as a picture is. Each other one begins with what was painted before,
moved along with the scene, and is held to that wherever it can be relied on (`losses.temporal`). Source:
Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (arXiv 1604.08610).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from neural_style_tf.config.schema import Config
from neural_style_tf.images.color_transfer import match_colors
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.inputs import Inputs
from neural_style_tf.transfer.loop import STALLED, Tick
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.picture_sizes import fit_content
from neural_style_tf.transfer.records import StepRecord
from neural_style_tf.video.flow import Flow, reliability, warp
from neural_style_tf.video.read import Frame

if TYPE_CHECKING:
    from neural_style_tf.transfer.session import Session

CUT = 0.5
"""Share of reliable pixels below which a new scene begins."""
SOFT = 1.0
"""Pixels over which what is known and what is new are mixed, at the beginning of a frame."""
STEPS_TO_GAIN, GAIN = {"lbfgs": 10, "adam": 50}, 0.01
"""A frame is done when so many steps lowered its loss by less than this share."""


@dataclasses.dataclass(frozen=True, eq=False)
class Memory:
    """What later frames need of one that is painted.

    Attributes:
        number: Of the frame.
        scene: Number of the first frame of its scene.
        source: The frame itself, float32 [H, W, 3], RGB 0–255, at the size of the painting.
        painted: What it became, likewise, before `--colors`.
    """

    number: int
    scene: int
    source: np.ndarray
    painted: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class PaintedFrame:
    """A frame that is done.

    Attributes:
        frame: What was painted.
        record: The last of its steps.
        steps: That were made for it.
        reliable: Share of its pixels that were known from before; 0 at the beginning of a scene.
        memory: For the frames after it.
    """

    frame: Frame
    record: StepRecord
    steps: int
    reliable: float
    memory: Memory


def paint_clip(
    session: Session,
    frames: Iterable[Frame],
    styles: Sequence[np.ndarray],
    config: Config,
    *,
    flow: Flow,
    masks: Masks | None = None,
    initial: np.ndarray | None = None,
    before: Sequence[Memory] = (),
    tick: Tick | None = None,
) -> Iterator[PaintedFrame]:
    """Paint frames, in order.

    Args:
        session: Paints them; its network and compiled steps serve all.
        frames: The frames.
        styles: The style pictures.
        config: All settings, `video` among them.
        flow: Between two frames.
        masks: Of every frame.
        initial: What the first frame of each scene begins with; default: what `--init` names.
        before: What is known of frames that are painted already, the oldest first.
        tick: See `transfer.loop.Tick`; a frame that it ends is left out.

    Yields:
        Each frame that is done.
    """
    masks, known = masks or Masks(), list(before)
    lags = config.video.long_term
    stopped = False

    def ticked(step: int) -> bool:
        nonlocal stopped
        stopped = stopped or bool(tick is not None and tick(step))
        return stopped

    for frame in frames:
        source = fit_content(frame.pixels, config)
        found = follow(known, frame.number, source, lags, flow)
        inputs = Inputs(source, tuple(styles), initial, masks)
        settings, until = first_settings(config), None
        if found is not None:
            settings, until = next_settings(config), Enough(config.optimization.optimizer)
            start = beginning(found, source, known[-1].painted)
            inputs = dataclasses.replace(inputs, initial=start, warped=found)
        records = list(session.run(inputs, settings, tick=ticked, until=until))
        record = dataclasses.replace(records[-1], notes=tuple(notes_of(records)))
        if stopped:
            return
        scene = known[-1].scene if found is not None else frame.number
        memory = Memory(frame.number, scene, source, record.painted_rows[:])
        yield PaintedFrame(
            frame, record, record.step, 0.0 if found is None else float(found.reliable.mean()), memory
        )
        known = [*(known if found is not None else []), memory][-needed(lags) :]


def notes_of(records: Sequence[StepRecord]) -> list[str]:
    """Return what was said of a frame, but for where it ended, which is no news of a frame."""
    return [note for record in records for note in record.notes if STALLED not in note]


def needed(lags: Sequence[int]) -> int:
    """Return how many painted frames must be kept."""
    return max(lags, default=1)


def follow(
    known: Sequence[Memory], number: int, source: np.ndarray, lags: Sequence[int], flow: Flow
) -> Warped | None:
    """Return what earlier frames say of this one; None if there are none, or it begins a new scene.

    Args:
        known: Earlier frames of the scene, the oldest first.
        number: Of this frame.
        source: This frame, float32 [H, W, 3], RGB 0–255.
        lags: How many frames back is looked; where several are reliable, the first of them counts.
        flow: Between two frames.
    """
    if not known or known[-1].source.shape != source.shape:
        return None
    picture = reliable = None
    for lag in sorted(set(lags) | {1}):
        if lag > len(known):
            break
        earlier = known[-lag]
        backward, forward = flow(earlier.number, number, earlier.source, source)
        here = reliability(backward, forward)
        if reliable is None:
            if here.mean() < CUT:
                return None
            picture, reliable = warp(earlier.painted, backward), here
            continue
        new = (here > 0) & (reliable == 0)
        picture = np.where(new[..., np.newaxis], warp(earlier.painted, backward), picture)
        reliable = np.maximum(reliable, here)
    return Warped(picture, reliable)


def beginning(found: Warped, source: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Return what a frame begins with: what was painted before, and what was not seen before in its colours.

    Differs from Ruder et al., who begin everywhere with what was painted before: where something comes into
    view, the edges of what hid it would stay as ghosts.

    Args:
        found: From `follow`.
        source: The frame, [H, W, 3], RGB 0–255.
        painted: The frame before, painted, likewise.
    """
    known = ndimage.gaussian_filter(found.reliable, SOFT)[..., np.newaxis]
    # The photo's colours, moved to where those of the painting are.
    new = match_colors(source, np.clip(painted, 0.0, 255.0))
    return np.clip(known * found.picture + (1 - known) * new, 0.0, 255.0)


def first_settings(config: Config) -> Config:
    """Return the settings of the first frame of a scene."""
    return _unsaved(config.replace(iterations=config.video.first_iterations or config.iterations))


def next_settings(config: Config) -> Config:
    """Return the settings of the other frames: at the final size alone, since they begin with a painting."""
    return _unsaved(config.replace(scales=1, scale_iterations=()))


def _unsaved(config: Config) -> Config:
    return config.replace(
        save_every=0, save_minutes=0, log_every=STEPS_TO_GAIN[config.optimization.optimizer]
    )


class Enough:
    """Ends a frame whose loss hardly falls any more; see `transfer.loop.Until`.

    Args:
        optimizer: Of the frame; Adam first leaves the painting that a frame begins with, and has to get below
            its loss again.
    """

    def __init__(self, optimizer: str) -> None:
        self._before, self._leaves = float("inf"), optimizer == "adam"

    def __call__(self, record: StepRecord) -> bool:
        """Return whether the last steps gained too little."""
        gained = self._before - record.best_total
        self._before = record.best_total
        away = self._leaves and record.best_step == 0
        return record.step > 0 and not away and gained < GAIN * record.best_total
