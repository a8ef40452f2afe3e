"""Read clips: video files, folders of numbered frames, animated pictures.

Frames come one at a time, the right way up, and none is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images import MAX_PIXELS, load_image, resize
from neural_style_tf.images.decode import quiet_pillow
from neural_style_tf.images.files import expand_files

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg "  # noqa: SIM905
    ".mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
"""Of what is taken for a video by its name."""
ANIMATED_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng"))
ANIMATED = ("GIF", "WEBP", "PNG")
FOLDER_RATE, SHORTEST, USUAL = Fraction(24), Fraction(1, 50), Fraction(1, 10)
"""Frames a second of a folder; seconds up to which browsers take a frame's duration for none, and what
they show it for instead."""
HD_ROWS = 720
"""From this height on, a video that does not say its colours has those of BT.709."""
INSTALL = 'pip install "neural-style-tf[video]"'


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a clip.

    Attributes:
        number: From 1, of all frames of the clip.
        time: Seconds from the first frame of the clip.
        pixels: float32 [H, W, 3], RGB 0–255.
        alpha: Opacity, uint8 [H, W]; None where it is opaque everywhere.
    """

    number: int
    time: Fraction
    pixels: np.ndarray
    alpha: np.ndarray | None = None


Wanted = Callable[[int], bool]
"""Number of a frame → whether it is to be read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A clip that has been looked at.

    Attributes:
        path: As it was given.
        files: The file, or those of all frames.
        rate: Frames a second, on average.
        count: Frames, about; 0 where the file does not say.
        has_audio: Whether there is sound.
        notes: Lines that the user should see.
        read: Gives the frames whose numbers are wanted, in order, up to a last one (0: all); each call anew.
        has_alpha: Whether its first frame has transparency.
    """

    path: Path
    files: tuple[Path, ...]
    rate: Fraction
    count: int
    has_audio: bool
    notes: tuple[str, ...]
    read: Callable[[Wanted, int], Iterator[Frame]]
    has_alpha: bool = False

    def frames(self, start: int, end: int, every: int, *, after: int = 0) -> Iterator[Frame]:
        """Return some of the frames.

        Args:
            start: Number of the first, from 1.
            end: Of the last; 0: all.
            every: Only every so many of them.
            after: None up to this number.
        """

        def wanted(number: int) -> bool:
            return number > after and number >= start and (number - start) % every == 0

        # What lies beyond the end is not looked at: it may be damaged.
        return self.read(wanted, end)

    def planned(self, start: int, end: int, every: int) -> int:
        """Return how many frames `frames` will give, about; 0 if that is not known."""
        last = min(end or self.count, self.count)
        return max(0, -(-(last - start + 1) // every))

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file, or of the names and contents of the files of a folder."""
        digests = []
        for file in self.files:
            with file.open("rb") as opened:
                digests.append(hashlib.file_digest(opened, "sha256"))
        if self.files == (self.path,):
            return digests[0].hexdigest()
        whole = hashlib.sha256()
        for file, digest in zip(self.files, digests, strict=True):
            whole.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + digest.digest())
        return whole.hexdigest()


def is_clip(path: str) -> bool:
    """Return whether a file is a clip: a video, or a picture that moves."""
    file = Path(path)
    try:
        suffix = file.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            return True
        if suffix not in ANIMATED_SUFFIXES or not file.is_file():
            return False
        with (
            quiet_pillow(show(path), [], max_pixels=MAX_PIXELS),
            Image.open(file, formats=ANIMATED) as picture,
        ):
            return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError):
        # Whatever reads it as a picture says what is wrong.
        return False


def open_clip(path: str, *, frames: bool = False, rate: float = 0.0, **reading: Any) -> Clip:
    """Look at a clip.

    Args:
        path: A video file or an animated picture; a folder, or a pattern of names, of frames.
        frames: Whether it is the latter.
        rate: Frames a second of these; 0: 24.
        **reading: `max_pixels` and `allow_truncated`, see `images.load_image`.

    Raises:
        UserError: It is not there, or none, or what reads it is not installed.
    """
    file = Path(path)
    if frames:
        return _open_frames(path, rate, reading)
    if rate:
        raise UserError("--frame_rate is about --frames; a video and an animation have their own")
    try:
        there = file.is_file()
    except PermissionError:
        raise UserError(f"{show(path)} cannot be read: permission denied; change its permissions") from None
    if not there:
        raise UserError(f"--content: there is no file {show(path)}")
    if file.suffix.lower() in ANIMATED_SUFFIXES:
        return _open_animation(file, **reading)
    return _open_video(file, **reading)


def _open_frames(path: str, rate: float, reading: dict[str, Any]) -> Clip:
    files = [Path(name) for name in expand_files(path)]
    if not files or not files[0].exists():
        raise UserError(f"--frames: there are no pictures in {show(path)}: give a folder, or a pattern")
    frames_a_second = Fraction(rate).limit_denominator(10**6) if rate else FOLDER_RATE
    first = load_image(files[0], **reading)

    def read(wanted: Wanted, end: int) -> Iterator[Frame]:
        for number, file in enumerate(files[: end or None], 1):
            if not wanted(number):
                continue
            try:
                picture = first if number == 1 else load_image(file, **reading)
            except UserError as error:
                raise RunError(f"frame {number}: {error}") from None
            _check_same_size(picture.pixels, first.pixels, f"frame {number}, {show(file)},")
            yield Frame(number, (number - 1) / frames_a_second, picture.pixels, picture.alpha)

    notes = (f"{len(files)} frames at {float(frames_a_second):g} a second", *first.notes)
    has_alpha = first.alpha is not None
    return Clip(Path(path), tuple(files), frames_a_second, len(files), False, notes, read, has_alpha)


def _check_same_size(pixels: np.ndarray, first: np.ndarray, what: str) -> None:
    if pixels.shape != first.shape:
        sizes = [f"{shape[1]}×{shape[0]}" for shape in (pixels.shape, first.shape)]
        raise RunError(f"{what} is {sizes[0]}, and the first is {sizes[1]}: all must have one size")


def _open_animation(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    # Checks it as any picture, and gives the notes on it.
    first = load_image(file, max_pixels=max_pixels, allow_truncated=allow_truncated)
    with (
        quiet_pillow(show(file), [], max_pixels=max_pixels),
        Image.open(file, formats=ANIMATED) as picture,
    ):
        count = picture.n_frames
        times, time = [], Fraction(0)
        for index in range(count):
            picture.seek(index)
            picture.load()
            duration = Fraction(picture.info.get("duration") or 0) / 1000
            times.append(time)
            time += USUAL if duration <= SHORTEST / 2 else duration

    has_alpha = first.alpha is not None

    def alpha_of(picture: Image.Image) -> np.ndarray | None:
        found = np.asarray(picture.convert("RGBA"))[..., 3] if picture.has_transparency_data else None
        return None if found is None or found.min() == 255 else found

    def read(wanted: Wanted, end: int) -> Iterator[Frame]:
        with Image.open(file, formats=ANIMATED) as picture:
            for index in range(min(count, end or count)):
                if not wanted(index + 1):
                    continue
                try:
                    with quiet_pillow(show(file), [], max_pixels=max_pixels):
                        picture.seek(index)
                        pixels = np.asarray(picture.convert("RGB"), np.float32)
                        alpha = alpha_of(picture)
                except UserError as error:
                    raise RunError(f"frame {index + 1}: {error}") from None
                yield Frame(index + 1, times[index], pixels, alpha)

    rate = count / time
    notes = [note for note in first.notes if "animated" not in note]
    note = f"{count} frames, {float(time):.3g} seconds"
    return Clip(file, (file,), rate, count, False, (note, *notes), read, has_alpha)


def has_video_library() -> bool:
    """Return whether the extra `video` is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "cv2"))


def _open_video(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    if importlib.util.find_spec("av") is None:
        raise UserError(f"{show(file)} is a video, and PyAV is not installed: {INSTALL}")
    import av

    try:
        with av.open(url(file)) as container:
            if not container.streams.video:
                raise UserError(f"{show(file)} holds no video")
            stream = container.streams.video[0]
            width, height, count = stream.width, stream.height, stream.frames
            rate = stream.average_rate or stream.guessed_rate or FOLDER_RATE
            if not count and stream.duration:
                count = int(stream.duration * stream.time_base * rate)
            has_audio = bool(container.streams.audio)
            if not count and container.duration and not has_audio:
                # That of what is longest, which sound might be.
                count = round(container.duration * rate / av.time_base)
            transfer = stream.codec_context.color_trc
            interlaced = width * height <= max_pixels and _begins_interlaced(container, stream)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{show(file)} cannot be read as a video: {_reason(error)}") from None
    if width * height > max_pixels:
        raise UserError(
            f"{show(file)} has frames of {width * height:,} pixels, over the limit of {max_pixels:,}; raise "
            "--max_pixels"
        )

    def read(wanted: Wanted, end: int) -> Iterator[Frame]:
        return _decode(file, wanted, end, allow_truncated=allow_truncated)

    sound = ", with sound" if has_audio else ""
    notes = [f"{width}×{height}, about {count or '?'} frames, {float(rate):.4g} a second{sound}"]
    if transfer in HDR:
        notes.append("it is in high dynamic range, and is read as if it were not: its colours will be pale")
    if interlaced:
        notes.append(
            "it is interlaced: each frame holds two moments, and what moves is painted with stripes; "
            "deinterlace it first, as by ffmpeg -i CLIP -vf bwdif=mode=send_frame OUT.mp4"
        )
    return Clip(file, (file,), Fraction(rate), count, has_audio, tuple(notes), read)


HDR = (16, 18)
"""Transfer characteristics of PQ and HLG, by ITU-T H.273."""


def url(file: Path) -> str:
    """Return what FFmpeg opens a file by: a name with a colon would be that of a protocol."""
    return f"file:{file}"


def _decode(file: Path, wanted: Wanted, end: int, *, allow_truncated: bool) -> Iterator[Frame]:
    """Yield the frames of a video file whose numbers are wanted, up to `end`, or all."""
    import av

    number, time, beginning = 0, Fraction(0), None
    with av.open(url(file)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        step = 1 / Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
        # AVI stamps frames in the order in which they are stored.
        has_stamps = container.format.name != "avi"
        decoded = container.decode(stream)
        while not end or number < end:
            try:
                frame = next(decoded, None)
                if frame is None:
                    break
                number += 1
                stamp = stamp_of(frame) if has_stamps else None
                if number > 1:
                    found = None if stamp is None or beginning is None else stamp - beginning
                    # In files that were joined, stamps begin anew.
                    time = found if found is not None and found > time else time + step
                else:
                    beginning = stamp
                pixels = _pixels(frame, stream) if wanted(number) else None
            except (av.error.FFmpegError, OSError, ValueError) as error:
                if number and allow_truncated:
                    return
                raise RunError(
                    f"frame {number + 1} of {show(file)} cannot be read: {_reason(error)}; the frames before "
                    "it are painted, and --allow_truncated takes the clip to end there"
                ) from None
            if pixels is not None:
                yield Frame(number, time, pixels)
    if not number:
        raise RunError(f"no frame of {show(file)} can be read")


def _begins_interlaced(container: Any, stream: Any) -> bool:
    """Return whether the first frame holds two moments; what else is wrong with it is said in its turn."""
    import av

    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        return any(frame.interlaced_frame for frame in itertools.islice(container.decode(stream), 1))
    return False


def stamp_of(frame: Any) -> Fraction | None:
    """Return when a frame of a file is shown, by the file's clock in seconds; None where it does not say."""
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _pixels(frame: Any, stream: Any) -> np.ndarray:
    """Return a frame as float32 [H, W, 3], RGB 0–255, the right way up, with square pixels."""
    import av

    deep = any(component.bits > 8 for component in frame.format.components)
    options: dict[str, Any] = {}
    if frame.colorspace == UNKNOWN_COLORS and frame.height >= HD_ROWS and not frame.format.is_rgb:
        options = {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
    with contextlib.suppress(av.error.FFmpegError):
        frame = frame.reformat(format="rgb48le" if deep else "rgb24", **options)
    pixels = frame.to_ndarray(format="rgb48le" if deep else "rgb24").astype(np.float32)
    pixels = pixels / 257 if deep else pixels
    aspect = stream.sample_aspect_ratio
    if aspect and aspect > 0 and abs(aspect - 1) > NEARLY_SQUARE:
        pixels = resize(pixels, (pixels.shape[0], max(1, round(pixels.shape[1] * float(aspect)))))
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


UNKNOWN_COLORS, NEARLY_SQUARE = 2, 0.01
"""Colour space that says nothing, by ITU-T H.273; difference of a pixel's sides that is none."""


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
