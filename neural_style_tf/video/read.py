"""Read clips: video files, folders of numbered frames, animated pictures.

Frames come one at a time, the right way up, and none is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images import MAX_PIXELS, load_image, resize
from neural_style_tf.images.decode import open_frames, quiet_pillow
from neural_style_tf.images.files import expand_files

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg "  # noqa: SIM905
    ".mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
"""Of what is taken for a video by its name."""
ANIMATED_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng", ".avif"))
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
FOLDER_RATE, SHORTEST, USUAL = Fraction(24), Fraction(1, 50), Fraction(1, 10)
"""Frames a second of a folder; seconds up to which browsers take a frame's duration for none, and what
they show it for instead."""
HD_ROWS = 720
"""From this height on, a video that does not say its colours has those of BT.709."""
INSTALL = 'pip install "neural-style-tf[video]"'
STILLS = ("mjpeg", "png", "bmp", "gif", "webp")
"""Codecs of covers and previews, wherever there is another video stream."""
HIDING = ("vp8", "mpeg4")
"""Codecs with packets that have no frame of their own."""
WHOLE = ("hevc", "vp9", "av1", "libdav1d")
"""Those in which each packet has one."""
HOPELESS = 1000
"""Packets at the beginning that cannot be decoded, after which a file is given up."""
OPACITY_FRAMES = 50
"""Frames at the beginning in which transparency is looked for."""
TAGS = ("title", "artist", "copyright", "date", "creation_time", "comment", "description")
"""What a file says of itself that holds for its painting, too."""
KEY_DISTANCE = 10
"""Frames between those that reading can begin with, at least."""
MOST_OPENED = 8
"""Clips of which a process remembers what it knows."""


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


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """A clip that has been looked at.

    Attributes:
        path: As it was given.
        files: The file, or those of all frames.
        rate: Frames a second, on average.
        count: Frames, about; 0 where the file does not say.
        has_audio: Whether there is sound that can be used.
        notes: Lines that the user should see.
        read: Gives the frames of these numbers, from 1, as far as there are any; each call anew.
        has_alpha: Whether it has transparency, as far as that is known.
        damaged: Numbers of the frames that could not be decoded, or only in part; filled while it is read.
        length: Seconds; None where the file does not say.
        plays: How often an animation is shown; 0: for ever.
        tags: What the file says of itself, by the names in `TAGS`.
    """

    path: Path
    files: tuple[Path, ...]
    rate: Fraction
    count: int
    has_audio: bool
    notes: tuple[str, ...]
    read: Callable[[range], Iterator[Frame]]
    has_alpha: bool = False
    damaged: set[int] = dataclasses.field(default_factory=set)
    length: Fraction | None = None
    plays: int = 0
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def frames(self, start: int, end: int, every: int, *, after: int = 0) -> Iterator[Frame]:
        """Return some of the frames.

        Args:
            start: Number of the first, from 1.
            end: Of the last; 0: all.
            every: Only every so many of them.
            after: None up to this number.
        """
        first = start + max(0, -(-(after + 1 - start) // every)) * every
        # What lies beyond the end is not looked at: it may be damaged.
        return self.read(range(first, end + 1 if end else sys.maxsize, every))

    def planned(self, start: int, end: int, every: int) -> int:
        """Return how many frames `frames` will give, about; 0 if that is not known."""
        last = min(end or self.count, self.count)
        return max(0, -(-(last - start + 1) // every))

    def shown_last(self, number: int, time: Fraction, every: int) -> Fraction:
        """Return the seconds for which the last frame of a painted clip is shown.

        Args:
            number: Of the frame.
            time: When it is shown.
            every: How far apart painted frames are.
        """
        rest = self.length - time if self.length and number + every > self.count else Fraction(0)
        return rest if rest > 0 else every / self.rate

    @functools.cached_property
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
            open_frames(file, ANIMATED) as (picture, begin),
        ):
            return getattr(picture, "n_frames", 1) - begin > 1
    except (OSError, ValueError):
        # Whatever reads it as a picture says what is wrong.
        return False


_opened: dict[tuple, Clip] = {}
"""What was asked for, and the state of its files → the clip."""


def open_clip(path: str, *, frames: bool = False, rate: float = 0.0, **reading: Any) -> Clip:
    """Look at a clip; return the same object again while its files stay as they are.

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
        files = [Path(name) for name in expand_files(path)]
        if not files or not files[0].exists():
            raise UserError(f"--frames: there are no pictures in {show(path)}: give a folder, or a pattern")
    else:
        if rate:
            raise UserError("--frame_rate is about --frames; a video and an animation have their own")
        try:
            there = file.is_file()
        except PermissionError:
            raise UserError(
                f"{show(path)} cannot be read: permission denied; change its permissions"
            ) from None
        if not there:
            raise UserError(f"--content: there is no file {show(path)}")
        files = [file]
    facts = [file.stat() for file in files]
    state = hash(tuple((fact.st_dev, fact.st_ino, fact.st_size, fact.st_mtime_ns) for fact in facts))
    asked = (path, frames, rate, *sorted(reading.items()), len(files), state)
    clip = _opened.pop(asked, None)
    if clip is None:
        if frames:
            clip = _open_frames(file, files, rate, reading)
        elif file.suffix.lower() in ANIMATED_SUFFIXES:
            clip = _open_animation(file, **reading)
        else:
            clip = _open_video(file, **reading)
    _opened[asked] = clip
    for oldest in list(_opened)[:-MOST_OPENED]:
        del _opened[oldest]
    return clip


def _open_frames(path: Path, files: Sequence[Path], rate: float, reading: dict[str, Any]) -> Clip:
    frames_a_second = Fraction(rate).limit_denominator(10**6) if rate else FOLDER_RATE
    first = load_image(files[0], **reading)
    has_alpha, shape = first.alpha is not None, first.pixels.shape

    def read(numbers: range) -> Iterator[Frame]:
        for number in numbers:
            if number > len(files):
                return
            file = files[number - 1]
            try:
                picture = load_image(file, **reading)
            except UserError as error:
                raise RunError(f"frame {number}: {error}") from None
            _check_same_size(picture.pixels.shape, shape, f"frame {number}, {show(file)},")
            yield Frame(number, (number - 1) / frames_a_second, picture.pixels, picture.alpha)

    notes = (f"{len(files)} frames at {float(frames_a_second):g} a second", *first.notes)
    return Clip(path, tuple(files), frames_a_second, len(files), False, notes, read, has_alpha)


def _check_same_size(shape: tuple[int, ...], first: tuple[int, ...], what: str) -> None:
    if shape != first:
        sizes = [f"{shape[1]}×{shape[0]}" for shape in (shape, first)]
        raise RunError(f"{what} is {sizes[0]}, and the first is {sizes[1]}: all must have one size")


def _open_animation(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    # Checks it as any picture, and gives the notes on it.
    first = load_image(file, max_pixels=max_pixels, allow_truncated=allow_truncated)
    height, width = first.pixels.shape[:2]
    notes = [note for note in first.notes if "animated" not in note]
    quiet = functools.partial(quiet_pillow, show(file), [], max_pixels=max_pixels)
    times, time, has_alpha = [], Fraction(0), False
    with contextlib.ExitStack() as opened:
        with quiet():
            picture, begin = opened.enter_context(open_frames(file, ANIMATED))
            count = picture.n_frames - begin
            plays = _plays(picture)
            said = {name.lower(): text for name, text in picture.info.items() if isinstance(name, str)}
        for index in range(count):
            try:
                with quiet():
                    picture.seek(begin + index)
                    picture.load()
                    has_alpha = has_alpha or _alpha_of(picture) is not None
            except UserError as error:
                if not index or not allow_truncated:
                    raise UserError(f"frame {index + 1} of {count}: {error}") from None
                notes.append(f"it is cut short or damaged: frame {index} of {count} is the last that is read")
                count = index
                break
            shown = Fraction(picture.info.get("duration") or 0) / 1000
            times.append(time)
            time += USUAL if shown <= SHORTEST / 2 else shown
    tags = {
        name: text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        for name, text in said.items()
        if name in TAGS
    }

    def read(numbers: range) -> Iterator[Frame]:
        with contextlib.ExitStack() as opened:
            with quiet():
                picture, begin = opened.enter_context(open_frames(file, ANIMATED))
            for number in numbers:
                if number > count:
                    return
                try:
                    with quiet():
                        picture.seek(begin + number - 1)
                        upright = ImageOps.exif_transpose(picture)
                        pixels = np.asarray(upright.convert("RGB"), np.float32)[:height, :width]
                        alpha = _alpha_of(upright)
                        alpha = None if alpha is None else alpha[:height, :width]
                except UserError as error:
                    raise RunError(f"frame {number}: {error}") from None
                yield Frame(number, times[number - 1], pixels, alpha)

    note = f"{count} frames, {float(time):.3g} seconds"
    return Clip(
        *(file, (file,), count / time, count, False, (note, *notes), read, has_alpha),
        length=time,
        plays=plays,
        tags=tags,
    )


def has_video_library() -> bool:
    """Return whether the extra `video` is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "cv2"))


def _plays(picture: Image.Image) -> int:
    """Return how often an animation is shown; 0: for ever."""
    loop = picture.info.get("loop")
    if picture.format != "GIF" or loop == 0:
        return loop or 0
    # It counts how often it is repeated, and does not say so where it is not.
    return 1 + (loop or 0)


def _alpha_of(picture: Image.Image) -> np.ndarray | None:
    """Return the opacity, uint8 [H, W], of the frame that a reader is at; None where it is opaque."""
    found = np.asarray(picture.convert("RGBA"))[..., 3] if picture.has_transparency_data else None
    return None if found is None or found.min() == 255 else found


def _open_video(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    if importlib.util.find_spec("av") is None:
        raise UserError(f"{show(file)} is a video, and PyAV is not installed: {INSTALL}")
    import av

    try:
        with av.open(url(file)) as container:
            stream = film_of(container)
            if stream is None:
                raise UserError(f"{show(file)} holds no video")
            if stream.codec_context is None:
                raise UserError(
                    f"{show(file)} holds video for which FFmpeg has no decoder{_codec_tag(file, 'Video')}; "
                    "convert it to H.264 with the program or camera software it is from, or with a newer "
                    "FFmpeg: ffmpeg -i CLIP -c:v libx264 OUT.mp4"
                )
            width, height, count = stream.width, stream.height, stream.frames
            rate = stream.average_rate or stream.guessed_rate or FOLDER_RATE
            length = stream.duration * stream.time_base if stream.duration else None
            if not count and length:
                count = int(length * rate)
            has_audio = sound_of(container) is not None
            is_silent = not container.streams.audio
            if not count and container.duration and is_silent:
                # That of what is longest, which sound might be.
                count = round(container.duration * rate / av.time_base)
            transfer = stream.codec_context.color_trc
            tags = {name.lower(): text for name, text in container.metadata.items() if name.lower() in TAGS}
            fits = width * height <= max_pixels
            interlaced, has_alpha = _look(container, stream) if fits else (False, False)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{show(file)} cannot be read as a video: {_reason(error)}") from None
    if not fits:
        raise UserError(
            f"{show(file)} has frames of {width * height:,} pixels, over the limit of {max_pixels:,}; raise "
            "--max_pixels"
        )
    sound = ", with sound" if has_audio else ""
    notes = [f"{width}×{height}, about {count or '?'} frames, {float(rate):.4g} a second{sound}"]
    if transfer in HDR:
        notes.append("it is in high dynamic range, and is read as if it were not: its colours will be pale")
    if interlaced:
        notes.append(
            "it is interlaced: each frame holds two moments, and what moves is painted with stripes; "
            "deinterlace it first, as by ffmpeg -i CLIP -vf bwdif=mode=send_frame OUT.mp4"
        )
    if not has_audio and not is_silent:
        notes.append(f"its sound is left out: FFmpeg has no decoder for it{_codec_tag(file, 'Audio')}")
    video = _Video(file, lenient=allow_truncated)
    return Clip(
        *(file, (file,), Fraction(rate), count, has_audio, tuple(notes), video.read, has_alpha),
        damaged=video.damaged,
        length=length,
        tags=tags,
    )


HDR = (16, 18)
"""Transfer characteristics of PQ and HLG, by ITU-T H.273."""


def url(file: Path) -> str:
    """Return what FFmpeg opens a file by: a name with a colon would be that of a protocol."""
    return f"file:{file}"


def film_of(container: Any) -> Any:
    """Return the video stream of a file that is its film, and no cover or preview; None if there is none."""
    from av.stream import Disposition

    def rank(stream: Any) -> tuple[Any, ...]:
        context = stream.codec_context
        if context is None:
            return (False,)
        is_default, pixels = bool(stream.disposition & Disposition.default), context.width * context.height
        return True, context.name not in STILLS, stream.frames != 1, is_default, pixels

    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    return max(streams, key=rank, default=None)


def sound_of(container: Any) -> Any:
    """Return the first sound of a file that can be used; None if there is none."""
    contexts = ((stream, stream.codec_context) for stream in container.streams.audio)
    return next((stream for stream, context in contexts if context is not None and context.sample_rate), None)


def _codec_tag(file: Path, kind: str) -> str:
    """Return what to say of a stream that has no decoder: only FFmpeg's log knows its tag."""
    import av

    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    try:
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)
        with av.logging.Capture() as lines, av.open(url(file)):
            pass
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    found = re.search(rf"{kind}: none \((.+?) /", "\n".join(line for _, _, line in lines))
    return f" (its codec tag is {found[1]})" if found and found[1].isprintable() else ""


class Decoded(NamedTuple):
    """A frame of a video, and what is missing before it.

    Attributes:
        frame: None at the end of the file.
        place: Byte of the file at which its packet begins; None where that is not known.
        lost: For each frame before it that could not be decoded, when it is shown, by the file's clock in
            seconds; None where the file does not say.
    """

    frame: Any
    place: int | None
    lost: list[Fraction | None]


class _Incomplete(Exception):
    """Frames are missing, and threads do not say which."""


def decoded(container: Any, stream: Any, *, threads: bool = False) -> Iterator[Decoded]:
    """Yield the frames of a video stream as players do: what is damaged is left out, or shown in part.

    Args:
        container: At its beginning, or where it was sought.
        stream: One of its streams.
        threads: Decode several frames at once.

    Raises:
        _Incomplete: Frames are missing; only with threads.
    """
    import av

    decoder = _decoder(stream)
    if threads:
        decoder.thread_type = "AUTO"
    else:
        decoder.thread_count = 1
        decoder.flags |= av.codec.context.Flags.output_corrupt
    in_order, codec = _stamps_frames(container), stream.codec_context.name
    hides = codec in HIDING
    # Packets whose frames are to come, by their stamps or in their order.
    waiting: dict[int, int | None] = {}
    failed, begun = 0, False
    for count, packet in enumerate(container.demux(stream)):
        if packet.size and not packet.is_discard and not (in_order and packet.pts is None):
            waiting[packet.pts if in_order else count] = packet.pos
        try:
            frames = decoder.decode(packet)
        except av.error.FFmpegError:
            if threads:
                raise _Incomplete from None
            failed += 1
            if failed == HOPELESS and not begun:
                return
            continue
        for frame in frames:
            if frame.is_corrupt and not begun:
                # A file that begins in the middle of a scene, or with a damaged key frame.
                continue
            if frame.pts is None or not in_order:
                waiting.pop(next(iter(waiting), None), None)
                place, lost = None, [None] * failed
                failed = 0
            else:
                place = waiting.pop(frame.pts, None)
                before = sorted(at for at in waiting if at < frame.pts)
                for at in before:
                    del waiting[at]
                if threads and before and begun and not hides:
                    raise _Incomplete
                # Else packets without a frame are usual, as where a file begins.
                failed = failed or int(frame.is_corrupt or (begun and codec in WHOLE))
                lost = [at * stream.time_base for at in before if failed][: failed if hides else None]
                failed -= len(lost) if hides else 0
            begun = True
            yield Decoded(frame, place, lost)
    if threads and waiting:
        raise _Incomplete
    yield Decoded(None, None, [None] * (len(waiting) if failed and in_order and not hides else failed))


def _stamps_frames(container: Any) -> bool:
    # AVI stamps frames in the order in which they are stored.
    return container.format.name != "avi"


def _decoder(stream: Any) -> Any:
    """Return what decodes a stream; FFmpeg's own decoders of VP8 and VP9 leave opacity out."""
    import av

    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name in av.codecs_available and stream.metadata.get("alpha_mode") == "1":
        return av.CodecContext.create(name, "r")
    return stream.codec_context


def _look(container: Any, stream: Any) -> tuple[bool, bool]:
    """Return whether the first frame holds two moments, and whether one of the first is transparent."""
    import av

    interlaced = has_alpha = False
    # What else is wrong with them is said in its turn.
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        for number, (frame, *_) in enumerate(itertools.islice(decoded(container, stream), OPACITY_FRAMES)):
            if frame is None or not (number == 0 or _may_be_transparent(frame)):
                break
            interlaced = interlaced or (number == 0 and frame.interlaced_frame)
            has_alpha = _may_be_transparent(frame) and _pixels(frame, stream)[1] is not None
            if has_alpha:
                break
    return interlaced, has_alpha


class _Key(NamedTuple):
    """A frame that reading can begin with.

    Attributes:
        number: Of the frame.
        time: See `Frame`.
        stamp: When it is shown, by the file's clock in seconds.
        pts: The same, in its units.
        place: See `Decoded`.
    """

    number: int
    time: Fraction
    stamp: Fraction
    pts: int
    place: int


class _Video:
    """Reads a video file, and remembers where its key frames are.

    Args:
        file: The file.
        lenient: Take it to end where it cannot be read.

    Attributes:
        damaged: Numbers of the frames that could not be decoded, or only in part, as far as it was read.
    """

    def __init__(self, file: Path, *, lenient: bool) -> None:
        self._file, self._lenient = file, lenient
        self._keys: list[_Key] = []
        self._seeks = True
        self.damaged: set[int] = set()

    def read(self, numbers: range, *, threads: bool = True) -> Iterator[Frame]:
        """Yield frames; for one that cannot be decoded the one before it, or else the one after it."""
        try:
            for frame in self._frames(numbers, threads):
                yield frame
                numbers = range(frame.number + numbers.step, numbers.stop, numbers.step)
        except _Incomplete:
            yield from self.read(numbers, threads=False)

    def _frames(self, numbers: range, threads: bool) -> Iterator[Frame]:
        import av

        number = 0
        try:
            with av.open(url(self._file)) as container:
                stream = film_of(container)
                step = 1 / Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
                key, time, beginning, before = self._key_before(numbers.start), -step, None, None
                if key is not None:
                    number, time, beginning = key.number - 1, key.time - step, key.stamp - key.time
                    # Without an index, decoding times count, which are a few frames earlier.
                    early = round(1 / stream.time_base) if container.format.name.startswith("mpeg") else 0
                    container.seek(key.pts - early, stream=stream)
                for frame, place, lost in decoded(container, stream, threads=threads):
                    stamp = stamp_of(frame) if frame is not None and _stamps_frames(container) else None
                    if key is not None:
                        if stamp is not None and stamp < key.stamp:
                            continue
                        if (stamp, place) != (key.stamp, key.place):
                            # Not found again: such a file is always read from its beginning.
                            self._seeks = False
                            raise _Incomplete
                        key, lost = None, []
                    if frame is None:
                        self.damaged.update(range(number + 1, number + 1 + len(lost)))
                        break
                    for index, at in enumerate((*lost, stamp)):
                        number += 1
                        beginning = at if number == 1 else beginning
                        found = None if at is None or beginning is None else at - beginning
                        # In files that were joined, stamps begin anew.
                        time = found if found is not None and found > time else time + step
                        is_lost = index < len(lost)
                        if is_lost or frame.is_corrupt:
                            self.damaged.add(number)
                        elif place is not None and frame.key_frame and time == found:
                            self._remember(_Key(number, time, stamp, frame.pts, place))
                        if number in numbers:
                            shown = before or frame if is_lost else frame
                            yield Frame(number, time, *_pixels(shown, stream))
                        if number + 1 >= numbers.stop:
                            return
                    before = frame
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if number and self._lenient:
                return
            raise RunError(
                f"frame {number + 1} of {show(self._file)} cannot be read: {_reason(error)}; the frames "
                "before it are painted, and --allow_truncated takes the clip to end there"
            ) from None
        if not number:
            raise RunError(
                f"no frame of {show(self._file)} can be decoded: it is cut short, damaged or protected; "
                "copy it again, or convert it with the program it is from"
            )

    def _key_before(self, number: int) -> _Key | None:
        """Return the last key frame that is known up to a frame, if it is of use to begin there."""
        known = self._keys if self._seeks else []
        return next((key for key in reversed(known) if 1 < key.number <= number), None)

    def _remember(self, key: _Key) -> None:
        if not self._keys or key.number >= self._keys[-1].number + KEY_DISTANCE:
            self._keys.append(key)


def stamp_of(frame: Any) -> Fraction | None:
    """Return when a frame of a file is shown, by the file's clock in seconds; None where it does not say."""
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _may_be_transparent(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _pixels(frame: Any, stream: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a frame, the right way up and with square pixels: its colours and opacity, as of `Frame`."""
    import av

    deep = any(component.bits > 8 for component in frame.format.components)
    form = ("rgba" if _may_be_transparent(frame) else "rgb") + ("64le" if deep else "")
    form = {"rgb": "rgb24", "rgb64le": "rgb48le"}.get(form, form)
    options: dict[str, Any] = {}
    if frame.colorspace == UNKNOWN_COLORS and frame.height >= HD_ROWS and not frame.format.is_rgb:
        options = {"src_colorspace": "ITU709", "dst_colorspace": "ITU709"}
    rotation = frame.rotation
    with contextlib.suppress(av.error.FFmpegError):
        frame = frame.reformat(format=form, **options)
    pixels = frame.to_ndarray(format=form).astype(np.float32)
    pixels = pixels / 257 if deep else pixels
    aspect = stream.sample_aspect_ratio
    if aspect and aspect > 0 and abs(aspect - 1) > NEARLY_SQUARE:
        pixels = resize(pixels, (pixels.shape[0], max(1, round(pixels.shape[1] * float(aspect)))))
    pixels = np.rot90(pixels, round(rotation / 90))
    alpha = np.rint(pixels[..., 3]).astype(np.uint8) if pixels.shape[2] == 4 else None
    return np.ascontiguousarray(pixels[..., :3]), None if alpha is None or alpha.min() == 255 else alpha


UNKNOWN_COLORS, NEARLY_SQUARE = 2, 0.01
"""Colour space that says nothing, by ITU-T H.273; difference of a pixel's sides that is none."""


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
