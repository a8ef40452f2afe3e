"""One run of the command line whose content is a clip: a run whose steps are frames."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config, Job, VideoConfig, numbered
from neural_style_tf.errors import RunError, UserError, reason, show
from neural_style_tf.images import Picture, fit_size, resize
from neural_style_tf.images.color_transfer import luma
from neural_style_tf.images.files import expand_files
from neural_style_tf.images.masks import mask_of
from neural_style_tf.jobs.painting import FAILURE, SUCCESS, Run
from neural_style_tf.runs.manifest import Manifest, ManifestWriter
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.outputs import check_not_read, check_not_there, output_of
from neural_style_tf.runs.resume import newest_metric, trim_metrics
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs, Plan
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.utils.console import duration
from neural_style_tf.video.read import INSTALL, Clip, Frame, has_video_library, is_clip, open_clip
from neural_style_tf.video.write import check_clip_output, write_clip
from neural_style_tf.weights import Weights

if TYPE_CHECKING:
    from neural_style_tf.transfer.loop import Tick
    from neural_style_tf.video.flow import Flow

CLIP_FILES = ("frame_rate", "flow", "pixel_format")
"""Settings of `Job` that are about clips."""
MOST_SPANS = 6
"""Of damaged frames that are named."""
ALMOST = 0.98
"""Share of its frames that a file has at least: what it says of their number is not exact."""


class ClipRun(Run):
    """One run that paints a clip; see `painting.Run`.

    Attributes:
        clip: The clip.
        flow: Between two of its frames: `--flow`, or OpenCV.
    """

    def _content(self) -> Picture:
        """Return the first frame to paint, for what is checked of a photo."""
        from neural_style_tf.video.flow import LEAST_SIDE, FlowFolder, dis_flow

        job, config = self.job, self.config
        if not has_video_library():
            raise UserError(f"{show(job.content)} is a clip, for which OpenCV and PyAV are needed: {INSTALL}")
        if self._worker.workers > 1:
            raise UserError(
                "a clip is painted on one machine: give several of them --start_frame and --end_frame"
            )
        if job.bits == "16":
            raise UserError("--bits=16 is about pictures, and the frames of a clip have 8: leave it out")
        here = self._supplies.files.get(job.content, job.content)
        self.clip: Clip = open_clip(here, frames=job.frames, rate=job.frame_rate, **job.reading)
        self.machine.repeats = True
        self._moving: dict[str, Clip] = {}
        self.flow: Flow = FlowFolder(job.flow) if job.flow else dis_flow
        try:
            first = next(self.frames(), None)
        except RunError as error:
            raise UserError(f"--content: {error}") from None
        if first is None:
            raise UserError(f"--start_frame={config.video.start_frame}: {show(job.content)} is not that long")
        if job.flow:
            lags, every, start = config.video.long_term, config.video.every, first.number
            count = self.clip.planned(start, config.video.end_frame, every)
            self.flow.check([(start, start + lag * every) for lag in sorted({1, *lags}) if lag < count])
        size = fit_size(first.pixels.shape[:2], config.sizes.image_size, enlarge=config.sizes.enlarge)
        if not job.flow and min(size) < LEAST_SIDE:
            raise UserError(
                f"frames of {size[1]}×{size[0]} pixels are too small to follow what moves: sides of "
                f"{LEAST_SIDE} are needed"
            )
        pixels = resize(first.pixels, size)
        notes = (*self.clip.notes, *(["transparency is left out of a clip"] if self.clip.has_alpha else []))
        return Picture(pixels, None, notes, self.clip.sha256, Path(job.content), None, None)

    def frames(self, after: int = 0, clip: Clip | None = None) -> Iterator[Frame]:
        """Return the frames that are painted.

        Args:
            after: None up to this number.
            clip: Those of another clip, such as a mask that moves.
        """
        video = self.config.video
        clip = clip or self.clip
        return clip.frames(video.start_frame, video.end_frame, video.every, after=after)

    def _read_mask(self, role: str, path: str, **reading: Any) -> tuple[np.ndarray, Picture]:
        """Read a mask, or that of the first frame if it moves."""
        as_frames = expand_files(path) != [path]
        if role.startswith("style") or not (as_frames or is_clip(path)):
            return super()._read_mask(role, path, **reading)
        try:
            clip = self._moving[role] = open_clip(path, frames=as_frames, **reading)
            first = next(self.frames(clip=clip), None)
        except (UserError, RunError) as error:
            # The flag that names this file, and not the one that names the clip.
            reason = str(error).removeprefix("--content: ").removeprefix("--frames: ")
            raise UserError(f"--{role}: {reason}") from None
        last = self._last_frame()
        if first is None or (clip.count and clip.count < ALMOST * last):
            raise UserError(
                f"--{role}: {show(path)} has {clip.count} frames, and {last} are painted: each needs its mask"
            )
        values = moving_mask(clip, first)
        return values, Picture(first.pixels[:0, :0], None, clip.notes, clip.sha256, Path(path), None, None)

    def _planned(self, inputs: Inputs) -> Plan:
        """Plan the first frame; each frame is planned again when it is painted."""
        self._given_masks = dataclasses.replace(inputs.masks, moving=bool(self._moving))
        self._styles, self._initial = inputs.styles, inputs.initial
        return super()._planned(dataclasses.replace(inputs, masks=self._given_masks))

    def _masks_of_frames(self, after: int) -> Callable[[int], Masks]:
        """Return number of a frame → its masks; to be asked in order."""
        frames = {role: self.frames(after, clip) for role, clip in self._moving.items()}

        def mask(role: str, number: int) -> np.ndarray:
            for frame in frames[role]:
                if frame.number == number:
                    return moving_mask(self._moving[role], frame)
            raise RunError(f"{show(self.job.pictures[role])} has no frame {number}, as --{role} must")

        def masks(number: int) -> Masks:
            given = self._given_masks
            content = [
                mask(role, number) if role in frames else still
                for role, still in zip(
                    numbered("content_mask", len(given.content)), given.content, strict=True
                )
            ]
            weight = "content_weight_mask"
            weights = mask(weight, number) if weight in frames else given.content_weight
            return dataclasses.replace(given, content=tuple(content), content_weight=weights)

        return masks

    def _check_outputs(self) -> None:
        self.check_output(self.here, written=output_of(self.here))

    def check_output(self, job: Job, *, written: str) -> None:
        """Refuse an `--output` that cannot hold the clip, is read, or is there and not to be replaced.

        Args:
            job: Names of what is read and written.
            written: See `outputs.check_not_there`.

        Raises:
            UserError: Naming the file.
        """
        video = self.config.video
        if job.output:
            frames = self.clip.planned(video.start_frame, video.end_frame, video.every)
            check_clip_output(job.output, frames=frames, size=self.size)
            check_not_there(job, written=written)
        check_not_read(job, "result.mp4", self.config.init)

    def _checkpoint(self, folder: OutputFolder | None, weights: Weights) -> str | None:
        """Read what is known of painted frames; return the newest, named as a checkpoint is."""
        from neural_style_tf.runs.clip_files import holds_passes, read_states
        from neural_style_tf.video.memory import needed

        self._known = []
        if self.earlier is None:
            self.console.say(f"writing to {folder.path}{os.sep}")
            return None
        self._check_resumed(self.earlier, self._hashes | {"weights": weights.sha256})
        self._known, notes = read_states(folder.path, needed(self.config.video.long_term))
        for note in notes:
            self.console.say(note)
        begun = newest_metric(folder.path / "metrics.jsonl")
        if not self._known and (notes or begun > self.config.video.start_frame):
            raise UserError(
                f"--resume: the run in {show(folder.path)} left no state that can be read; --overwrite "
                "begins it anew, or give another --output_dir"
            )
        end, painted = self.config.video.end_frame, self._newest
        if 0 < end < painted:
            raise UserError(
                f"--resume: the run in {show(folder.path)} has painted frame {painted} already: "
                f"--end_frame={end} is before it"
            )
        where = f"after frame {painted}" if painted else "from the beginning"
        if holds_passes(folder.path):
            where += ", with what earlier passes made"
        self.console.say(f"going on with {folder.path}{os.sep} {where}")
        return f"frame-{painted}" if painted else None

    @property
    def _newest(self) -> int:
        """The number of the last frame that an interrupted run has painted, or 0."""
        return self._known[-1].number if self._known else 0

    def _check_resumed(self, earlier: Manifest, hashes: dict[str, str]) -> None:
        super()._check_resumed(earlier, hashes)
        # With several passes what comes at the end counts for what is before it.
        for name in ("iterations", "end_frame") if self.config.video.passes > 1 else ("iterations",):
            before, now = earlier.config.get(name), flat(self.config)[name]
            if before != now:
                raise UserError(f"--resume: --{name} was {before}, now {now}: frames would be painted unlike")
        for name in ("frame_rate", "stretch_contrast"):
            before, now = earlier.job.get(name, getattr(Job(), name)), getattr(self.job, name)
            if before != now:
                raise UserError(f"--resume: --{name} was {before}, now {now}: it counts for the whole clip")
        flows = [
            str(Path(flow).absolute()) if flow else "" for flow in (earlier.job.get("flow"), self.job.flow)
        ]
        if flows[0] != flows[1]:
            raise UserError("--resume: --flow is another than the run began with: frames would move unlike")

    def _clear_the_way(self, folder: OutputFolder, checkpoint: str | None) -> None:
        from neural_style_tf.runs.clip_files import remove_after

        if self.earlier is None:
            folder.clear()
            return
        # What earlier passes made of later frames is kept.
        number = self._newest
        if not number:
            folder.clear_events()
        trim_metrics(folder.path / "metrics.jsonl", number)
        remove_after(folder.path, number)

    def _records(
        self,
        folder: OutputFolder | None,
        checkpoint: str | None,
        tick: Tick,
        begin: Callable[[], None],
    ) -> Iterator[StepRecord]:
        """Paint the frames; yield one record for each, then write the clip."""
        from neural_style_tf.runs.clip_files import PassFiles, holds_passes
        from neural_style_tf.video.paint import paint_clip

        self._plan = None
        video = self.config.video
        last, begun = self._last_frame(), time.monotonic()
        after = self._newest
        seconds = self.earlier.seconds or 0.0 if self.earlier else 0.0
        going_on = self.earlier is not None
        if not self._known and not (going_on and holds_passes(folder.path)):
            self.console.say("the first frame of a scene takes as long as a picture")
        painted = paint_clip(
            self.machine.session(),
            self.frames(after),
            self._styles,
            self.config,
            flow=self.flow,
            masks=self._masks_of_frames(after),
            initial=self._initial,
            before=self._known,
            passes=PassFiles(folder.path, begin, self.console.say, going_on=going_on),
            tick=tick,
        )
        said: set[str] = set()
        one = None
        try:
            for one in painted:
                number = one.memory.number
                facts = {"iterations": one.record.step, "reliable": round(one.reliable, 4)}
                yield dataclasses.replace(
                    one.record,
                    step=number,
                    planned=max(last, number),
                    best_step=number,
                    seconds=seconds + time.monotonic() - begun,
                    seconds_left=None,
                    last=False,
                    finished=False,
                    logged=True,
                    due=True,
                    notes=tuple(note for note in one.record.notes if note not in said),
                    facts=facts | {"time": round(float(one.time), 6)},
                    state=one.memory,
                )
                said.update(one.record.notes)
        except (RunError, UserError):
            if one is not None or self._known:
                with contextlib.suppress(RunError, OSError):
                    self._write(folder, finished=False)
            raise
        if one is not None or self._known:
            self._write(folder, finished=not self.stopped)
        last = one.memory.number if one is not None else after
        whole = not video.end_frame and not self.stopped
        if whole and last + video.every <= ALMOST * self.clip.count:
            self.console.say(
                f"the clip ends at frame {last} of about {self.clip.count}: is its file cut short?"
            )

    def _last_frame(self) -> int:
        """Return the number of the last frame to paint, about; 0 if that is not known."""
        video = self.config.video
        count = self.clip.planned(video.start_frame, video.end_frame, video.every)
        return video.start_frame + (count - 1) * video.every if count else video.end_frame

    def _write(self, folder: OutputFolder, *, finished: bool) -> None:
        """Write the clip of what is painted; the user's own file only gets one that is finished."""
        job = self.job.replace(output=self.here.output if finished else "")
        write_result(folder.path, [folder.path], self.clip, self.config, job, self.console.say)

    def _listeners(self, folder: OutputFolder, report: ManifestWriter, after: int) -> list[Listener]:
        from neural_style_tf.runs.callbacks import Metrics, Saving
        from neural_style_tf.runs.clip_files import FrameProgress, Frames, States
        from neural_style_tf.runs.manifest import settings_table
        from neural_style_tf.runs.tensorboard import Curves
        from neural_style_tf.video.memory import needed

        path, config = folder.path, self.config
        found = [
            report,
            Metrics(path / "metrics.jsonl", after=after),
            Curves(path, config, settings_table(config, self.job), after=after),
            Frames(path, Saving(stretch=self.job.stretch_contrast)),
            States(path, needed(config.video.long_term)),
            FrameProgress(self.console, self._last_frame(), config.video.every),
        ]
        return [*found, *(FramesOnly(one) for one in self.reporting())]

    def _painting(self, folder: OutputFolder) -> Path:
        return folder.path / "frames"

    def execute(self) -> int:
        """Run; return the exit code: that of a failure if frames of the clip were damaged."""
        code = super().execute()
        return FAILURE if code == SUCCESS and self._damage() and not self.job.allow_truncated else code

    def _damage(self) -> list[str]:
        """Return a line for each clip of which damaged frames were painted."""
        video = self.config.video
        painted = range(
            video.start_frame, video.end_frame + 1 if video.end_frame else sys.maxsize, video.every
        )
        lines = []
        for clip in (self.clip, *self._moving.values()):
            if numbers := [number for number in sorted(clip.damaged) if number in painted]:
                lines.append(damage_line(clip.path, numbers))
        return lines

    def _say_end(self, folder: OutputFolder, status: str, record: StepRecord | None) -> None:
        from neural_style_tf.runs.clip_files import holds_passes

        for line in self._damage():
            (self.console.say if self.job.allow_truncated else self.console.error)(line)

        if record is None and status == "interrupted":
            kept = ": what its passes made is kept" if holds_passes(folder.path) else ""
            self.console.say(f"interrupted before a frame was done{kept}")
            return
        took = f" after {duration(record.seconds)}" if record is not None else ": nothing was left to paint"
        self.console.say(f"{status}{took}: {folder.path / 'result.mp4'}")


def damage_line(path: Path, numbers: Sequence[int]) -> str:
    """Return what to say of a clip's damaged frames, whose numbers are given in order."""
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    spans = [f"{run[0]}" + (f" to {run[-1]}" if run[1:] else "") for run in runs[:MOST_SPANS]]
    more = ["…"] if runs[MOST_SPANS:] else []
    what = f"frame {spans[0]} is" if len(numbers) == 1 else f"frames {', '.join(spans + more)} are"
    name = shlex.quote(str(path))
    return (
        f"{show(path)}: {what} damaged: painted is what could be decoded, or else the frame before it once "
        f"more; to repair the file: ffmpeg -err_detect ignore_err -i {name} repaired.mp4; --allow_truncated "
        "takes it as it is"
    )


def moving_mask(clip: Clip, frame: Frame) -> np.ndarray:
    """Return the mask [H, W], 0–1, of a frame: its opacity if it has any, as of a picture."""
    if frame.alpha is not None:
        return mask_of(frame.alpha.astype(np.float32))
    # Of a clip that begins with opacity, one that is opaque everywhere.
    return np.ones(frame.pixels.shape[:2], np.float32) if clip.has_alpha else mask_of(luma(frame.pixels))


def write_result(
    folder: Path,
    painted_in: Sequence[Path],
    clip: Clip,
    config: Config,
    job: Job,
    say: Callable[[str], None],
) -> None:
    """Write `result.mp4`, and `--output`, of the frames that are painted.

    Args:
        folder: For `result.mp4`.
        painted_in: Output folders of the runs that painted them, in the order of the clip.
        clip: Where they are from.
        config: `video.every`.
        job: `output` and `pixel_format`.
        say: Gets a line for what the user should see.

    Raises:
        RunError: The encoder fails, or a file cannot be written; its note says where the clip or its frames
            are.
    """
    from neural_style_tf.runs.clip_files import frame_times, painted_frames

    files: list[Path] = []
    shown: list[Fraction] = []
    last = 0
    for one in painted_in:
        times = frame_times(one)
        for last, file in painted_frames(one):
            files.append(file)
            shown.append(times.get(last, (last - 1) / clip.rate))
    if not files:
        return
    kept: list[str] = []
    fault: RunError | None = None
    for path in (folder / "result.mp4", *([Path(job.output)] if job.output else [])):
        try:
            notes = write_clip(
                path,
                files,
                [at - shown[0] for at in shown],
                last=clip.shown_last(last, shown[-1], config.video.every),
                pixel_format=job.pixel_format,
                sound=clip.path if clip.has_audio else None,
                begin=shown[0],
                plays=clip.plays,
                tags=clip.tags,
            )
        except Exception as error:
            fault = fault or RunError(f"{show(path)} could not be written: {reason(error)}")
            fault.__cause__ = fault.__cause__ or error
            continue
        kept.append(f"the clip is in {show(path)}")
        for note in notes:
            say(note)
    if fault is not None:
        fault.add_note((kept or [f"the frames are in {show(files[0].parent)}"])[0])
        raise fault


class FramesOnly(Listener):
    """Passes frames on, and for a step of one the frame before it.

    Args:
        whole: Takes them.
    """

    def __init__(self, whole: Listener) -> None:
        self._whole, self._frame = whole, 0

    def on_step(self, record: StepRecord) -> None:
        """Pass on a frame."""
        self._frame = record.step
        self._whole.on_step(record)

    def on_tick(self, step: int) -> None:
        """Pass on the frame that was done last."""
        self._whole.on_tick(self._frame)


def make_run(config: Config, job: Job, *rest: Any, **options: Any) -> Run:
    """Return the run of a picture, or of a clip; arguments as of `painting.Run`."""
    supplies = options.get("supplies")
    files = supplies.files if supplies is not None else {}
    if job.frames or is_clip(files.get(job.content, job.content)):
        return ClipRun(config, job, *rest, **options)
    _refuse_clip_flags(config, job)
    return Run(config, job, *rest, **options)


def _refuse_clip_flags(config: Config, job: Job) -> None:
    """Refuse, for a picture, what is about clips."""
    given = flat(config.video) | {name: getattr(job, name) for name in CLIP_FILES}
    default = flat(VideoConfig()) | {name: getattr(Job(), name) for name in CLIP_FILES}
    for name, value in given.items():
        if value != default[name]:
            raise UserError(f"--{name} is about clips, and {show(job.content)} is a picture: leave it out")
