"""Paint the frames of a clip one after another, each close to those before it.

The first frame of a scene is painted as a picture is. Each other one begins with what was painted before,
moved along with the scene, and is held to that wherever it can be relied on (`losses.temporal`). With several
passes a scene is then painted over, from its end to its beginning and back. Source:
Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (arXiv 1604.08610).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from scipy import ndimage

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import RunError
from neural_style_tf.images.color_transfer import match_colors
from neural_style_tf.losses.temporal import Warped
from neural_style_tf.transfer.loop import STALLED, Tick
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import StepRecord
from neural_style_tf.transfer.scales import fit_content
from neural_style_tf.video.flow import CUT, Flow, FlowFolder, reliability, unchanged, warp
from neural_style_tf.video.memory import SPARE, Memory, needed
from neural_style_tf.video.read import Frame

if TYPE_CHECKING:
    from neural_style_tf.transfer.session import Session

SOFT = 1.0
"""Pixels over which what is known and what is new are mixed, at the beginning of a frame."""
STEPS_TO_GAIN, GAIN = {"lbfgs": 10, "adam": 50}, 0.01
"""A frame is done when so many steps lowered its loss by less than this share."""


DELTA = 0.5
"""Share of what the neighbour says where it is reliable, when a frame is painted over (δ of Ruder et al.)."""


@dataclasses.dataclass(frozen=True, eq=False)
class PaintedFrame:
    """A frame that is done.

    Attributes:
        time: Seconds from the first frame of the clip.
        record: The last of its steps, of the last pass.
        reliable: Share of its pixels that were known from before; 0 at the beginning of a scene.
        memory: For the frames after it.
    """

    time: Fraction
    record: StepRecord
    reliable: float
    memory: Memory


class Passes(Protocol):
    """Keeps what each pass but the last made of the frames of a scene, and across interruptions."""

    def read(self, turn: int, number: int) -> Memory | None:
        """Return what a pass, counted from 1, made of a frame; None if it did not, or it is damaged."""

    def write(self, turn: int, memory: Memory) -> None:
        """Keep it."""

    def forget(self, before: int) -> None:
        """Remove what was made of the frames before one."""


def paint_clip(
    session: Session,
    frames: Iterable[Frame],
    styles: Sequence[np.ndarray],
    config: Config,
    *,
    flow: Flow,
    masks: Callable[[int], Masks] | None = None,
    initial: np.ndarray | None = None,
    before: Sequence[Memory] = (),
    passes: Passes | None = None,
    tick: Tick | None = None,
) -> Iterator[PaintedFrame]:
    """Paint frames, in order.

    Args:
        session: Paints them; its network and compiled steps serve all.
        frames: The frames.
        styles: The style pictures.
        config: All settings, `video` among them.
        flow: Between two frames.
        masks: Number of a frame → its masks; asked for in order.
        initial: What the first frame of each scene begins with; default: what `--init` names.
        before: What is known of frames that are painted already, the oldest first.
        passes: Needed for several passes. What it holds already is not painted again.
        tick: See `transfer.loop.Tick`; a frame that it ends is left out.

    Yields:
        Each frame that is done; of several passes once a scene is painted in all but the last.

    Raises:
        RunError: A frame cannot be read, after those before it are done.
    """
    masks = masks or (lambda number: Masks())
    painter = _Painter(session, styles, config, flow=flow, initial=initial, tick=tick)
    turns = config.video.passes
    first = _first_pass(painter, frames, masks, before, passes if turns > 1 else None)
    if turns == 1:
        for time, memory, painting in first:
            yield PaintedFrame(time, painting.record, painting.reliable, memory)
        return
    spare = SPARE * config.video.every
    if before:
        # A run may have been killed just before it did so.
        passes.forget(before[-1].number - spare)
    for scene in _scenes(first):
        if painter.stopped:
            return
        known = before if before and before[-1].scene == scene[0].scene else ()
        for painted in _paint_over(painter, scene, masks, known, passes, turns):
            yield painted
            passes.forget(painted.memory.number - spare)
        if painter.stopped:
            return
    if not painter.stopped:
        passes.forget(sys.maxsize)


class _Painting(NamedTuple):
    """What one pass made of a frame."""

    record: StepRecord
    reliable: float
    painted: np.ndarray
    source: np.ndarray


class _Painter:
    """Paints single frames.

    Attributes:
        stopped: Whether a tick has ended a frame; its painting is of no use.
    """

    def __init__(
        self,
        session: Session,
        styles: Sequence[np.ndarray],
        config: Config,
        *,
        flow: Flow,
        initial: np.ndarray | None,
        tick: Tick | None,
    ) -> None:
        self._session, self._styles, self.config = session, tuple(styles), config
        self._flow, self._initial, self._tick = flow, initial, tick
        self.kept = needed(config.video.long_term)
        # Files lack the movement since the frame that is held; a later pass paints the source that is kept.
        holds = config.loss.temporal_weight > 0 and not isinstance(flow, FlowFolder)
        self._holds = holds and config.video.passes == 1
        self.stopped = False

    def paint(
        self,
        number: int,
        source: np.ndarray,
        masks: Masks,
        known: Sequence[Memory],
        over: np.ndarray | None = None,
    ) -> _Painting:
        """Paint a frame.

        Args:
            number: Of the frame.
            source: The frame, float32 [H, W, 3], RGB 0–255, at the size of the painting.
            masks: Of the frame.
            known: Its neighbours of this pass, the nearest last.
            over: What the pass before made of it.
        """
        cut = CUT if over is None else 0.0
        found = follow(known, number, source, self.config.video.long_term, self._flow, cut=cut)
        settings, until, initial = first_settings(self.config), None, self._initial
        kept, free = source, 1.0
        if found is not None and self._holds and not masks.moving:
            found = held(found, known[-1], source)
            free -= float(found.still.mean())
            # What is still keeps the frame that it was painted for: what creeps or fades is seen to change.
            kept = np.where(found.still[..., np.newaxis], known[-1].source, source)
        if over is not None or found is not None:
            settings, until = next_settings(self.config), Enough(self.config.optimization.optimizer, free)
        if over is not None:
            initial = over if found is None else mixed(found.picture, over, DELTA * found.reliable)
        elif found is not None:
            initial = beginning(found, source, known[-1].painted)
        inputs = Inputs(source, self._styles, initial, masks, found)
        records = list(self._session.run(inputs, settings, tick=self._ticked, until=until))
        record = dataclasses.replace(records[-1], notes=tuple(notes_of(records)))
        reliable = 0.0 if found is None else float(found.reliable.mean())
        return _Painting(record, reliable, record.painted_rows[:], kept)

    def _ticked(self, step: int) -> bool:
        self.stopped = self.stopped or bool(self._tick is not None and self._tick(step))
        return self.stopped


def _first_pass(
    painter: _Painter,
    frames: Iterable[Frame],
    masks: Callable[[int], Masks],
    before: Sequence[Memory],
    passes: Passes | None,
) -> Iterator[tuple[Fraction, Memory, _Painting | None]]:
    """Yield time, memory and painting of each frame; no painting of one that `passes` holds."""
    known = list(before)
    for frame in frames:
        memory, painting = passes.read(1, frame.number) if passes else None, None
        if memory is None:
            source, guides = fit_content(frame.pixels, painter.config), masks(frame.number)
            painting = painter.paint(frame.number, source, guides, known)
            if painter.stopped:
                return
            scene = known[-1].scene if painting.reliable else frame.number
            if passes and before and scene == before[-1].scene:
                # Its first pass was whole before the last one began.
                raise RunError(_lost(1, frame.number))
            kept = guides if passes and guides.moving else None
            memory = Memory(frame.number, scene, painting.source, painting.painted, kept)
            if passes:
                passes.write(1, memory)
        yield frame.time, memory, painting
        known = [*(known if memory.scene < memory.number else []), memory][-painter.kept :]


def _lost(turn: int, number: int) -> str:
    return f"what pass {turn} made of frame {number} cannot be read: --overwrite begins the clip anew"


class _Place(NamedTuple):
    """Where in a clip a frame is."""

    number: int
    time: Fraction
    scene: int


def _scenes(first: Iterable[tuple[Fraction, Memory, _Painting | None]]) -> Iterator[list[_Place]]:
    """Yield the frames of each scene; also of one that an error cuts short."""
    scene: list[_Place] = []
    try:
        for time, memory, _ in first:
            if scene and memory.scene != scene[-1].scene:
                yield scene
                scene = []
            scene.append(_Place(memory.number, time, memory.scene))
    except RunError:
        if scene:
            yield scene
        raise
    if scene:
        yield scene


def _paint_over(
    painter: _Painter,
    scene: Sequence[_Place],
    masks: Callable[[int], Masks],
    before: Sequence[Memory],
    passes: Passes,
    turns: int,
) -> Iterator[PaintedFrame]:
    """Paint a scene again, the last time forward, the time before it backward, and so on (Ruder et al., 5.2).

    Args:
        painter: Paints.
        scene: The frames, which the first pass has painted.
        masks: Those that do not move.
        before: What the last pass made of earlier frames of the scene.
        passes: Of the first pass, and of those that are done.
        turns: How many passes there are.

    Yields:
        The frames of the last pass.
    """
    for turn in range(2, turns + 1):
        last = turn == turns
        forward = (turns - turn) % 2 == 0
        known = list(before) if last else []
        for place in scene if forward else reversed(scene):
            memory = None if last else passes.read(turn, place.number)
            if memory is None:
                under = passes.read(turn - 1, place.number)
                if under is None:
                    raise RunError(_lost(turn - 1, place.number))
                guides = under.masks or masks(place.number)
                painting = painter.paint(place.number, under.source, guides, known, under.painted)
                if painter.stopped:
                    return
                memory = dataclasses.replace(under, painted=painting.painted)
                if last:
                    memory = dataclasses.replace(memory, masks=None)
                    yield PaintedFrame(place.time, painting.record, painting.reliable, memory)
                else:
                    passes.write(turn, memory)
            known = [*known, memory][-painter.kept :]


def notes_of(records: Sequence[StepRecord]) -> list[str]:
    """Return what was said of a frame, but for where it ended, which is no news of a frame."""
    return [note for record in records for note in record.notes if STALLED not in note]


def follow(
    known: Sequence[Memory],
    number: int,
    source: np.ndarray,
    lags: Sequence[int],
    flow: Flow,
    *,
    cut: float = CUT,
) -> Warped | None:
    """Return what neighbours say of this frame; None if there are none, or it begins a new scene.

    Args:
        known: Frames of the scene before this one, or after it, the nearest last.
        number: Of this frame.
        source: This frame, float32 [H, W, 3], RGB 0–255.
        lags: How many frames away is looked; where several are reliable, the first of them counts.
        flow: Between two frames.
        cut: Share of reliable pixels below which a new scene begins.
    """
    if not known or known[-1].source.shape != source.shape:
        return None
    picture = reliable = None
    for lag in sorted(set(lags) | {1}):
        if lag > len(known):
            break
        other = known[-lag]
        if other.number < number:
            there, back = flow(other.number, number, other.source, source)
        else:
            back, there = flow(number, other.number, source, other.source)
        here = reliability(there, back)
        if reliable is None:
            if here.mean() < cut:
                return None
            picture, reliable = warp(other.painted, there), here
            continue
        new = (here > 0) & (reliable == 0)
        picture = np.where(new[..., np.newaxis], warp(other.painted, there), picture)
        reliable = np.maximum(reliable, here)
    return Warped(picture, reliable)


def held(found: Warped, before: Memory, source: np.ndarray) -> Warped:
    """Return what neighbours say of a frame, with what was painted before where nothing changed.

    Differs from Ruder et al., who paint all of each frame: what stands still would go on to change, as a
    painting does that is painted for longer.

    Args:
        found: From `follow`.
        before: The frame before.
        source: This frame, [H, W, 3], RGB 0–255.
    """
    still = unchanged(before.source, source)
    picture = np.where(still[..., np.newaxis], before.painted, found.picture)
    return Warped(picture, np.where(still, np.float32(1), found.reliable), still)


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
    if found.still is not None:
        known = np.where(found.still[..., np.newaxis], 1.0, known)
    return np.clip(mixed(found.picture, new, known), 0.0, 255.0)


def mixed(one: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return two pictures [H, W, 3] mixed, with a share of the first, [H, W] or [H, W, 1], at each place."""
    share = share.reshape(*share.shape[:2], 1)
    return share * one + (1 - share) * other


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
        free: Share of its pixels that are not held; the others have their part of its loss, and gain nothing.
    """

    def __init__(self, optimizer: str, free: float = 1.0) -> None:
        self._before, self._leaves, self._gain = float("inf"), optimizer == "adam", free * GAIN

    def __call__(self, record: StepRecord) -> bool:
        """Return whether the last steps gained too little."""
        gained = self._before - record.best_total
        self._before = record.best_total
        away = self._leaves and record.best_step == 0
        if not self._gain:
            return True
        return record.step > 0 and not away and gained < self._gain * record.best_total
