"""The parts of a run that are particular to a clip: paint its frames in order, and join them to a video."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.config.fields import flat
from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import RunError, UserError, reason, show
from neural_style_tf.images import Picture, fit_size, resize
from neural_style_tf.images.files import PICTURE_SUFFIXES, expand_files
from neural_style_tf.images.masks import load_mask, mask_of
from neural_style_tf.jobs.inputs import PictureFiles, read_inputs
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.outputs import check_not_read, check_not_there, output_of, say_left_out
from neural_style_tf.runs.region_files import RegionFrames
from neural_style_tf.runs.resume import newest_metric
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import FrameRecord, FrameState, Listener
from neural_style_tf.transfer.regions import Extract, Regions
from neural_style_tf.utils.console import duration
from neural_style_tf.utils.files import exists
from neural_style_tf.utils.numbered import frame_file, frame_files, is_numbered
from neural_style_tf.video.read import INSTALL, Clip, Frame, has_video_library, is_clip, open_clip
from neural_style_tf.video.write import check_clip_output, write_clip

if TYPE_CHECKING:
    from neural_style_tf.jobs.run import Run
    from neural_style_tf.transfer.loop import Tick
    from neural_style_tf.video.flow import Flow

SHOWN_SPANS = 6
"""Largest number of spans of damaged frames, such as 3 to 7, that a message lists."""
SHOWN_FRAMES = 3
"""Largest number of files of frames that a message names."""
NEARLY_ALL = 0.98
"""A file may have fewer frames than it says. Down to this share of the stated number is accepted."""


class ClipPainting:
    """Reads, paints and saves the clip of a `Run`. The methods are those of `painting.PicturePainting`."""

    result = "frames"
    moves = True

    def __init__(self) -> None:
        self._moving: dict[str, Clip] = {}
        self._states: list[FrameState] = []
        self._labels: dict[int, np.ndarray] = {}

    def read(
        self, config: Config, job: Job, machine: Machine, files: Mapping[str, str]
    ) -> tuple[PictureFiles, Inputs]:
        """Check the clip, and read its first frame to paint, the styles and the masks."""
        from neural_style_tf.video.flow import LEAST_SIDE, FlowFolder, dis_flow

        if not has_video_library():
            raise UserError(f"{show(job.content)} is a clip, for which OpenCV and PyAV are needed: {INSTALL}")
        if find_worker(job.distribute, os.environ).workers > 1:
            raise UserError(
                "a clip is painted on one machine: give several of them --start_frame and --end_frame"
            )
        if job.bits == "16":
            raise UserError("--bits=16 is about pictures, and the frames of a clip have 8: leave it out")
        video, self._pictures = config.video, job.pictures
        end = video.end_frame + 1 if video.end_frame else sys.maxsize
        self._numbers = range(video.start_frame, end, video.every)
        path = files.get(job.content, job.content)
        self.clip: Clip = open_clip(path, frames=job.frames, rate=job.frame_rate, **job.reading)
        self.flow: Flow = FlowFolder(job.flow) if job.flow else dis_flow
        machine.repeats = True
        try:
            first = next(self.frames(), None)
        except RunError as error:
            raise UserError(f"--content: {error}") from None
        if first is None:
            raise UserError(f"--start_frame={video.start_frame}: {show(job.content)} is not that long")
        size = fit_size(first.pixels.shape[:2], config.sizes.image_size, enlarge=config.sizes.enlarge)
        if job.flow:
            count = len(self._planned)
            lags = [lag * video.every for lag in sorted({1, *video.long_term}) if lag < count]
            self.flow.check([(first.number, first.number + lag) for lag in lags])
        elif min(size) < LEAST_SIDE:
            raise UserError(
                f"frames of {size[1]}×{size[0]} pixels are too small to follow what moves: sides of "
                f"{LEAST_SIDE} are needed"
            )
        lost = self.clip.has_alpha and not (self.clip.original and job.output.lower().endswith(".exr"))
        notes = (*self.clip.notes, *(["transparency is left out of a clip"] if lost else []))
        pixels = resize(first.pixels, size)
        content = Picture(pixels, None, notes, self.clip.sha256, Path(job.content), None, None)
        known, inputs = read_inputs(config, job, machine, files, content=content, read_mask=self._read_mask)
        masks = dataclasses.replace(inputs.masks, moving=bool(self._moving))
        return known, dataclasses.replace(inputs, masks=masks)

    def frames(self, after: int = 0, clip: Clip | None = None) -> Iterator[Frame]:
        """Yield the frames to paint after number `after`, of the content, or of a mask that is a `clip`."""
        numbers = self._numbers[self._numbers.index(after) + 1 :] if after else self._numbers
        return (clip or self.clip).read(numbers)

    @property
    def _planned(self) -> range:
        """Estimated numbers of the frames to paint; empty if the file does not say how many frames it has."""
        return range(self._numbers.start, min(self._numbers.stop, self.clip.count + 1), self._numbers.step)

    @property
    def _last(self) -> int:
        """Estimated number of the last frame to paint; 0 if it is unknown."""
        planned, stop = self._planned, self._numbers.stop
        return planned[-1] if planned else stop - 1 if stop < sys.maxsize else 0

    def _read_mask(self, role: str, path: str, **reading: Any) -> tuple[np.ndarray, Picture]:
        """Return a mask [H, W], 0–1 (of a clip its first frame), and facts about its file."""
        as_frames = expand_files(path) != [path]
        if role.startswith("style") or not (as_frames or is_clip(path)):
            return load_mask(path, **reading)
        try:
            clip = self._moving[role] = open_clip(path, frames=as_frames, **reading)
            first = next(self.frames(clip=clip), None)
        except (UserError, RunError) as error:
            # The message names the flag of the mask instead of `--content`.
            text = str(error).removeprefix("--content: ").removeprefix("--frames: ")
            raise UserError(f"--{role}: {text}") from None
        last = self._last
        if first is None or (clip.count and clip.count < NEARLY_ALL * last):
            raise UserError(
                f"--{role}: {show(path)} has {clip.count} frames, and {last} are painted: each needs its mask"
            )
        # The frames of a video are numbered as they come, however many its header states.
        files = max(len(clip.files), len(self.clip.files))
        numbers = range(1, 1 + min(files, clip.count, self.clip.count))
        if len({clip.name_of(number) - self.clip.name_of(number) for number in numbers}) > 1:
            raise UserError(f"--{role}: the files of {show(path)} are numbered otherwise than the frames")
        picture = Picture(first.pixels[:0, :0], None, clip.notes, clip.sha256, Path(path), None, None)
        return moving_mask(clip, first), picture

    def _masks_of_frames(
        self, after: int, masks: Masks, regions: Regions | None, extract: Extract | None
    ) -> Callable[[Frame], Masks]:
        """Return a function that returns the masks of a frame. It must be called with the frames in order.

        `after` is the number of the last frame that is painted already, or 0; `masks` are those of the first
        frame. With `--match=regions`, `regions` assign the pixels of each frame by the features of `extract`.
        """
        frames = {role: self.frames(after, clip) for role, clip in self._moving.items()}

        def mask(role: str, still: np.ndarray | None, number: int) -> np.ndarray | None:
            if role not in frames:
                return still
            for frame in frames[role]:
                if frame.number == number:
                    return moving_mask(self._moving[role], frame)
            raise RunError(f"{show(self._pictures[role])} has no frame {number}, which --{role} needs")

        def masks_of(shown: Frame) -> Masks:
            number = shown.number
            if regions is not None:
                self._labels[number] = regions.clusters.regions_of(shown.pixels, extract)
                content = regions.content_masks(self._labels[number])
            else:
                roles = numbered("content_mask", len(masks.content))
                content = [
                    mask(role, still, number) for role, still in zip(roles, masks.content, strict=True)
                ]
            weight = mask("content_weight_mask", masks.content_weight, number)
            return dataclasses.replace(masks, content=tuple(content), content_weight=weight)

        return masks_of

    def check_outputs(self, run: Run) -> None:
        """Raise UserError if `--output` cannot hold the clip, is also read, or must not be replaced."""
        job = run.here
        self.check_output(job, run.config, size=run.size, written=output_of(job))
        if job.overwrite and self._planned:
            written = self._files_of_output(job)
            # They may be another run's, or the user's own, so they are not removed.
            if others := [Path(file).name for file in frame_files(job.output) if file not in written]:
                names = ", ".join(others[:SHOWN_FRAMES] + (["…"] if others[SHOWN_FRAMES:] else []))
                run.console.say(
                    f"--output: frames that this run does not write stay there: {names}; remove those of an "
                    "older run"
                )
        say_left_out(job, self.clip.original, run.size, run.console.say)

    def check_output(self, job: Job, config: Config, *, size: tuple[int, int], written: str) -> None:
        """Do as `check_outputs`, for frames of `size`; `written` is as in `outputs.check_not_there`."""
        if job.output:
            check_clip_output(job.output, frames=len(self._planned), size=size)
            check_not_there(job, written=written, files=self._files_of_output(job))
        check_not_read(job, "result.mp4", config.init)
        if job.frames and _is_among(job.output, job.content):
            raise UserError(
                f"--output: {show(job.output)} would be among the frames of {show(job.content)}, and read as "
                "one the next time: give another folder"
            )

    def _files_of_output(self, job: Job) -> list[str]:
        """Return the files that `--output` stands for."""
        if is_numbered(job.output):
            return [frame_file(job.output, self.clip.name_of(number)) for number in self._planned]
        return [job.output]

    def check_resumed(self, run: Run, earlier: Manifest) -> None:
        """Raise UserError if settings have changed, so that further frames would look different."""
        then, now = {**earlier.config, **earlier.job}, flat(run.config) | flat(run.job)
        for name in ("iterations", "frame_rate", "stretch_contrast"):
            if then.get(name) != now[name]:
                raise UserError(
                    f"--resume: --{name} was {then.get(name)}, now {now[name]}: it counts for the whole clip"
                )
        flows = [str(Path(flow).absolute()) if flow else "" for flow in (then.get("flow"), run.job.flow)]
        if flows[0] != flows[1]:
            raise UserError(
                f"--resume: --flow was {flows[0] or 'not given'}: all frames must follow the same flow"
            )

    def forecast(self, run: Run) -> str:
        """Return "": the time of a clip depends on its number of scenes and on what moves."""
        return ""

    def find_checkpoint(self, run: Run, folder: OutputFolder) -> str | None:
        """Read the states of painted frames. Return `frame-N`, where N is the last; None without states."""
        from neural_style_tf.runs.clip_files import read_states

        self._states, notes = read_states(folder.path, max(run.config.video.long_term))
        for note in notes:
            run.console.say(note)
        begun = newest_metric(folder.path / "metrics.jsonl")
        if not self._states and (notes or begun > self._numbers.start):
            raise UserError(
                f"--resume: the run in {show(folder.path)} left no state that can be read; --overwrite "
                "begins it anew, or give another --output_dir"
            )
        newest, end = self._newest, run.config.video.end_frame
        if 0 < end < newest:
            raise UserError(
                f"--resume: the run in {show(folder.path)} has painted frame {newest} already: "
                f"--end_frame={end} is before it"
            )
        if is_numbered(output := run.here.output):
            before = itertools.takewhile(lambda number: number <= newest, self._numbers)
            lacking = [n for n in before if not exists(frame_file(output, self.clip.name_of(n)))]
            if lacking:
                run.console.say(
                    f"--output: {len(lacking)} frames were painted before and are not written there"
                )
        where = f"after frame {newest}" if newest else "from the beginning"
        run.console.say(f"resuming {folder.path}{os.sep} {where}")
        return f"frame-{newest}" if newest else None

    @property
    def _newest(self) -> int:
        """The number of the last frame that an interrupted run has painted; 0 if there is none."""
        return self._states[-1].number if self._states else 0

    def records(
        self, run: Run, folder: OutputFolder, checkpoint: str | None, tick: Tick
    ) -> Iterator[FrameRecord]:
        """Paint, yield a record of each frame, then write the clip; arguments as of `PicturePainting`."""
        from neural_style_tf.runs.clip_files import FrameProgress
        from neural_style_tf.video.paint import paint_clip

        if checkpoint is None:
            run.console.say("the first frame of a scene takes as long as a picture")
        newest, last = self._newest, self._last
        seconds, begun = run.earlier.seconds or 0.0 if run.earlier else 0.0, time.monotonic()
        self._progress = FrameProgress(run.console, last)

        def ticked(step: int) -> bool:
            self._progress.on_iteration(step)
            return tick(newest)

        plan, session = run.take_plan(), run.machine.session()
        extract = None if run.regions is None else session.extractor(plan.config)
        painted = paint_clip(
            session,
            self.frames(newest),
            plan.styles,
            plan.config,
            flow=self.flow,
            masks=self._masks_of_frames(newest, plan.masks, run.regions, extract),
            initial=plan.initial,
            before=self._states,
            tick=ticked,
        )
        printed: set[str] = set()
        first, after_first = 0, 0.0
        try:
            for frame in painted:
                newest, elapsed = frame.step, time.monotonic() - begun
                if not first:
                    # Its time includes compiling, so the estimate of the remaining time leaves it out.
                    first, after_first = newest, elapsed
                done = newest - first
                yield dataclasses.replace(
                    frame,
                    planned=max(last, newest),
                    seconds=seconds + elapsed,
                    seconds_left=(elapsed - after_first) / done * (last - newest) if done and last else None,
                    notes=tuple(note for note in frame.notes if note not in printed),
                )
                printed.update(frame.notes)
        except (RunError, UserError):
            if newest:
                with contextlib.suppress(RunError, OSError):
                    self._write(run, folder, finished=False)
            raise
        if newest:
            self._write(run, folder, finished=not run.stopped)
        whole = not run.config.video.end_frame and not run.stopped
        if whole and newest + self._numbers.step <= NEARLY_ALL * self.clip.count:
            run.console.say(
                f"the clip ends at frame {newest} of about {self.clip.count}: is its file cut short?"
            )

    def _write(self, run: Run, folder: OutputFolder, *, finished: bool) -> None:
        """Write the clip of all painted frames to `result.mp4`, and to `--output` if it is `finished`."""
        job = run.job.replace(output=run.here.output if finished else "")
        write_result(folder.path, [folder.path], self.clip, run.config, job, run.console.say)

    def listeners(self, run: Run, folder: OutputFolder) -> list[Listener]:
        """Return the listeners that save and print what is particular to a clip."""
        from neural_style_tf.runs.callbacks import Saving
        from neural_style_tf.runs.clip_files import Frames, States

        output = run.here.output if is_numbered(run.here.output) else ""
        regions = [] if run.regions is None else [RegionFrames(folder.path, run.regions, self._labels)]
        return [
            Frames(folder.path, Saving(stretch=run.job.stretch_contrast), self.clip, output),
            *regions,
            States(folder.path, max(run.config.video.long_term)),
            self._progress,
        ]

    def say_end(self, run: Run, folder: OutputFolder, status: str, record: FrameRecord | None) -> None:
        """Print which frames were damaged, the status of the run, and where the clip is."""
        for line in self._damage():
            (run.console.say if run.job.allow_truncated else run.console.error)(line)
        if record is None and status == "interrupted":
            run.console.say("interrupted before a frame was done")
            return
        took = f" after {duration(record.seconds)}" if record is not None else ": nothing was left to paint"
        run.console.say(f"{status}{took}: {folder.path / 'result.mp4'}")

    def is_flawed(self, run: Run) -> bool:
        """Return whether damaged frames were painted without `--allow_truncated`."""
        return not run.job.allow_truncated and bool(self._damage())

    def _damage(self) -> list[str]:
        """Return a message for each clip (content or mask) with damaged frames among those to paint."""
        lines = []
        for clip in (self.clip, *self._moving.values()):
            if numbers := [number for number in sorted(clip.damaged) if number in self._numbers]:
                lines.append(damage_line(clip.path, numbers))
        return lines


def damage_line(path: Path, numbers: Sequence[int]) -> str:
    """Return a message about the damaged frames of the clip `path`; `numbers` are sorted."""
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    spans = [f"{run[0]}" + (f" to {run[-1]}" if run[1:] else "") for run in runs[:SHOWN_SPANS]]
    more = ["…"] if runs[SHOWN_SPANS:] else []
    what = f"frame {spans[0]} is" if len(numbers) == 1 else f"frames {', '.join(spans + more)} are"
    name = shlex.quote(str(path))
    return (
        f"{show(path)}: {what} damaged: painted is what could be decoded, or else the frame before it once "
        f"more; to repair the file: ffmpeg -err_detect ignore_err -i {name} repaired.mp4; --allow_truncated "
        "takes it as it is"
    )


def _is_among(output: str, frames: str) -> bool:
    """Return whether `--output` would be one of the frames that a folder or a pattern names."""
    path = Path(output)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return False
    return path.parent.samefile(frames) if Path(frames).is_dir() else path.match(frames)


def moving_mask(clip: Clip, frame: Frame) -> np.ndarray:
    """Return a frame as a mask [H, W], 0–1: its opacity if the clip has transparency, else its brightness."""
    # If only other frames of the clip have transparency, this one is opaque everywhere.
    if clip.has_alpha and frame.alpha is None:
        return np.ones(frame.pixels.shape[:2], np.float32)
    return mask_of(frame.pixels, frame.alpha, is_light=clip.original is not None)


def write_result(
    folder: Path,
    painted_in: Sequence[Path],
    clip: Clip,
    config: Config,
    job: Job,
    say: Callable[[str], None],
) -> None:
    """Join painted frames, if there are any, to a clip; write it to `folder`/result.mp4 and to `--output`.

    The frames are those in the output folders `painted_in`, in order. Frame rate, sound and tags are those of
    `clip`. If a file cannot be written, the error's note says where the clip or its frames are.
    """
    from neural_style_tf.runs.clip_files import frame_times, painted_frames

    files: list[Path] = []
    times: list[Fraction] = []
    last = 0
    for part in painted_in:
        known = frame_times(part)
        for last, file in painted_frames(part):
            files.append(file)
            times.append(known.get(last, (last - 1) / clip.rate))
    if not files:
        return
    where = f"the frames are in {show(files[0].parent)}"
    fault: RunError | None = None
    copies = [Path(job.output)] if job.output and not is_numbered(job.output) else []
    for path in (folder / "result.mp4", *copies):
        try:
            notes = write_clip(
                path,
                files,
                [time - times[0] for time in times],
                last=clip.shown_last(last, times[-1], config.video.every),
                pixel_format=job.pixel_format,
                sound=clip.path if clip.has_audio else None,
                begin=times[0],
                plays=clip.plays,
                tags=clip.tags,
            )
        except Exception as error:
            fault = fault or RunError(f"{show(path)} could not be written: {reason(error)}")
            fault.__cause__ = fault.__cause__ or error
            continue
        where = f"the clip is in {show(path)}"
        for note in notes:
            say(note)
    if fault is not None:
        fault.add_note(where)
        raise fault
