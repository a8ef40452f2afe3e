"""Read video files with PyAV: their properties, and their frames as a player would show them."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.stream import Disposition

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images import resize
from neural_style_tf.video.read import FILE_TAGS, FOLDER_RATE, Clip, Frame

HD_ROWS = 720
"""If a video of at least this height does not state its colour space, BT.709 is assumed."""
HDR, UNKNOWN_COLORS = (16, 18), 2
"""Codes of ITU-T H.273: the transfer characteristics PQ and HLG; a colour space that is not stated."""
NEARLY_SQUARE = 0.01
"""Deviation of a pixel's aspect ratio from 1 that is ignored."""
STILLS = ("mjpeg", "png", "bmp", "gif", "webp")
"""Codecs of cover pictures and previews, if the file also has a video stream of another codec."""
HIDING = ("vp8", "mpeg4")
"""Codecs in which some packets have no frame of their own."""
WHOLE = ("hevc", "vp9", "av1", "libdav1d")
"""Codecs in which each packet has a frame."""
OPACITY_FRAMES = 50
"""Number of frames at the beginning in which transparency is looked for."""
KEY_DISTANCE = 10
"""Least distance, in frames, between key frames whose places are remembered."""


def open_video(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    """Return the properties of a video file as a `Clip`; only its first frames are decoded.

    Raise `UserError` if the file is no video, too large, or has no decoder.
    """
    try:
        with av.open(url(file)) as container:
            return _look_at(container, file, max_pixels, allow_truncated)
    except UserError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{show(file)} cannot be read as a video: {_ffmpeg_cause(error)}") from None


def _look_at(container: Any, file: Path, max_pixels: int, allow_truncated: bool) -> Clip:
    stream = film_of(container)
    if stream is None:
        raise UserError(f"{show(file)} holds no video")
    if stream.codec_context is None:
        raise UserError(
            f"{show(file)} holds video for which FFmpeg has no decoder{_codec_tag(file, 'Video')}; "
            "convert it to H.264 with the program or camera software it is from, or with a newer "
            "FFmpeg: ffmpeg -i CLIP -c:v libx264 OUT.mp4"
        )
    pixels = stream.width * stream.height
    if pixels > max_pixels:
        raise UserError(
            f"{show(file)} has frames of {pixels:,} pixels, over the limit of {max_pixels:,}; raise "
            "--max_pixels"
        )
    rate, has_audio = _rate(stream), sound_of(container) is not None
    length = stream.duration * stream.time_base if stream.duration else None
    count = stream.frames or int((length or 0) * rate)
    if not count and container.duration and not container.streams.audio:
        # The duration of a file is that of its longest stream, which could be the sound.
        count = round(container.duration * rate / av.time_base)
    sound = ", with sound" if has_audio else ""
    notes = [
        f"{stream.width}×{stream.height}, about {count or '?'} frames, {float(rate):.4g} a second{sound}"
    ]
    interlaced, has_alpha = _first_frames(container, stream)
    if stream.codec_context.color_trc in HDR:
        notes.append("it is in high dynamic range, and is read as if it were not: its colours will be pale")
    if interlaced:
        notes.append(
            "it is interlaced: each frame holds two moments, and what moves is painted with stripes; "
            "deinterlace it first, as by ffmpeg -i CLIP -vf bwdif=mode=send_frame OUT.mp4"
        )
    if container.streams.audio and not has_audio:
        notes.append(f"its sound is left out: FFmpeg has no decoder for it{_codec_tag(file, 'Audio')}")
    video = _Video(file, lenient=allow_truncated)
    return Clip(
        file,
        (file,),
        rate,
        count,
        video.read,
        notes=tuple(notes),
        has_audio=has_audio,
        has_alpha=has_alpha,
        damaged=video.damaged,
        length=length,
        tags={name.lower(): text for name, text in container.metadata.items() if name.lower() in FILE_TAGS},
    )


def url(file: Path) -> str:
    """Return a file name as a URL for FFmpeg, which would misread a name with a colon as a protocol."""
    return f"file:{file}"


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)


def film_of(container: Any) -> Any:
    """Return the video stream that is the film, not a cover picture or preview; None if there is none."""

    def rank(stream: Any) -> tuple[Any, ...]:
        context = stream.codec_context
        if context is None:
            return (False,)
        is_default, pixels = bool(stream.disposition & Disposition.default), context.width * context.height
        return True, context.name not in STILLS, stream.frames != 1, is_default, pixels

    films = [film for film in container.streams.video if not film.disposition & Disposition.attached_pic]
    return max(films, key=rank, default=None)


def sound_of(container: Any) -> Any:
    """Return the first audio stream that can be decoded; None if there is none."""
    contexts = ((stream, stream.codec_context) for stream in container.streams.audio)
    return next((stream for stream, context in contexts if context is not None and context.sample_rate), None)


def _codec_tag(file: Path, kind: str) -> str:
    """Return a note with the codec tag of a stream that has no decoder, or "" if it is unknown.

    The tag is read from FFmpeg's log, since it is nowhere else. `kind` is `Video` or `Audio`.
    """
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    try:
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)
        with av.logging.Capture() as lines, av.open(url(file)):
            pass
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    tag = re.search(rf"{kind}: none \((.+?) /", "\n".join(line for _, _, line in lines))
    return f" (its codec tag is {tag[1]})" if tag and tag[1].isprintable() else ""


class DecodedFrame(NamedTuple):
    """A decoded frame, and the frames just before it that could not be decoded."""

    frame: Any  # PyAV's frame; None at the end of the file
    place: int | None  # offset in bytes of its packet in the file; None if unknown
    # For each frame before it that could not be decoded, its time stamp in seconds, by the file's clock; None
    # if the file has no stamp for it.
    lost: list[Fraction | None]


def decoded(container: Any, stream: Any) -> Iterator[DecodedFrame]:
    """Yield the frames of a video stream, with damaged frames as far as they can be decoded.

    The last item has the frame None and the frames that are missing at the end.
    """
    decoder = _decoder(stream)
    # With several threads, an error does not tell which packet it is about.
    decoder.thread_count = 1
    decoder.flags |= Flags.output_corrupt
    stamped, codec = _stamps_frames(container), stream.codec_context.name
    hides = codec in HIDING
    # Positions in the file of packets whose frames have not come yet, by their stamps or their order.
    waiting: dict[int, int | None] = {}
    failed, begun = 0, False
    for count, packet in enumerate(container.demux(stream)):
        if packet.size and not packet.is_discard and not (stamped and packet.pts is None):
            waiting[packet.pts if stamped else count] = packet.pos
        try:
            frames = decoder.decode(packet)
        except av.error.FFmpegError:
            failed += 1
            continue
        for frame in frames:
            if frame.is_corrupt and not begun:
                # The file begins between two key frames, or with a damaged one.
                continue
            if frame.pts is None or not stamped:
                waiting.pop(next(iter(waiting), None), None)
                place, lost = None, [None] * failed
                failed = 0
            else:
                place = waiting.pop(frame.pts, None)
                missing = sorted(stamp for stamp in waiting if stamp < frame.pts)
                for stamp in missing:
                    del waiting[stamp]
                # If no packet failed, packets without a frame are normal, for example at the beginning.
                failed = failed or int(frame.is_corrupt or (begun and codec in WHOLE))
                lost = [stamp * stream.time_base for stamp in missing[: failed if hides else None] if failed]
                failed -= len(lost) if hides else 0
            begun = True
            yield DecodedFrame(frame, place, lost)
    yield DecodedFrame(None, None, [None] * (len(waiting) if failed and stamped and not hides else failed))


def _stamps_frames(container: Any) -> bool:
    # AVI numbers frames in the order of storage, not in the order in which they are shown.
    return container.format.name != "avi"


def _decoder(stream: Any) -> Any:
    """Return a decoder for a stream: libvpx for VP8 and VP9 with opacity, which FFmpeg's decoders ignore."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name in av.codecs_available and stream.metadata.get("alpha_mode") == "1":
        return av.CodecContext.create(name, "r")
    return stream.codec_context


def _first_frames(container: Any, stream: Any) -> tuple[bool, bool]:
    """Return whether the first frame is interlaced, and whether one of the first 50 has transparency."""
    interlaced = has_alpha = False
    # Errors are reported later, when the frames are read.
    with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
        for number, (frame, *_) in enumerate(itertools.islice(decoded(container, stream), OPACITY_FRAMES)):
            if frame is None or not (number == 0 or _may_be_transparent(frame)):
                break
            interlaced = interlaced or (number == 0 and frame.interlaced_frame)
            has_alpha = _may_be_transparent(frame) and _pixels_of(frame, stream)[1] is not None
            if has_alpha:
                break
    return interlaced, has_alpha


class _Key(NamedTuple):
    """A key frame: reading can begin there."""

    number: int  # of the frame
    time: Fraction  # seconds from the first frame
    pts: int  # its time stamp, in ticks of the file's clock
    place: int  # offset in bytes of its packet in the file


class _Video:
    """Reads a video file, and remembers where its key frames are.

    If it is `lenient`, the clip ends at the first read error, which otherwise raises `RunError`.
    """

    def __init__(self, file: Path, *, lenient: bool) -> None:
        self._file, self._lenient = file, lenient
        self._keys: list[_Key] = []
        self._seeks = True
        # Numbers of the frames, among those read so far, that could not be decoded completely.
        self.damaged: set[int] = set()

    def read(self, numbers: range) -> Iterator[Frame]:
        """Yield the frames with these numbers, from 1, as far as there are any.

        A frame that cannot be decoded is replaced by the frame before it, or if there is none, after it.
        """
        number = 0
        try:
            with contextlib.ExitStack() as stack:
                container, frames, key = self._begin(stack, numbers.start)
                stream, stamped = film_of(container), _stamps_frames(container)
                step = 1 / _rate(stream)
                time, beginning, before = -step, None, None
                if key is not None:
                    number, time = key.number - 1, key.time - step
                    beginning = key.pts * stream.time_base - key.time
                for frame, place, lost in frames:
                    if frame is None:
                        self.damaged.update(range(number + 1, number + 1 + len(lost)))
                        break
                    stamp = time_of(frame) if stamped else None
                    for index, at in enumerate((*lost, stamp)):
                        number += 1
                        beginning = at if number == 1 else beginning
                        stated = None if at is None or beginning is None else at - beginning
                        # In a file that was joined from several, stamps begin again at 0.
                        time = stated if stated is not None and stated > time else time + step
                        is_lost = index < len(lost)
                        if is_lost or frame.is_corrupt:
                            self.damaged.add(number)
                        elif place is not None and frame.key_frame and time == stated:
                            self._remember(_Key(number, time, frame.pts, place))
                        if number in numbers:
                            yield Frame(
                                number, time, *_pixels_of(before or frame if is_lost else frame, stream)
                            )
                        if number + 1 >= numbers.stop:
                            return
                    before = frame
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if number and self._lenient:
                return
            raise RunError(
                f"frame {number + 1} of {show(self._file)} cannot be read: {_ffmpeg_cause(error)}; the "
                "frames before it are painted, and --allow_truncated takes the clip to end there"
            ) from None
        if not number:
            raise RunError(
                f"no frame of {show(self._file)} can be decoded: it is cut short, damaged or protected; "
                "copy it again, or convert it with the program it is from"
            )

    def _begin(
        self, stack: contextlib.ExitStack, number: int
    ) -> tuple[Any, Iterator[DecodedFrame], _Key | None]:
        """Open the file at the last known key frame up to frame `number`, or at its beginning.

        Return the container, its frames from there on, and the key frame, or None at the beginning.
        """
        container = stack.enter_context(av.open(url(self._file)))
        stream = film_of(container)
        known = (key for key in reversed(self._keys) if 1 < key.number <= number)
        key = next(known, None) if self._seeks else None
        if key is None:
            return container, decoded(container, stream), None
        # Files without an index are searched by decoding times, which are a few frames earlier.
        early = round(1 / stream.time_base) if container.format.name.startswith("mpeg") else 0
        container.seek(key.pts - early, stream=stream)
        frames = decoded(container, stream)
        for first in frames:
            if first.frame is not None and first.frame.pts is not None and first.frame.pts < key.pts:
                continue
            if first.frame is not None and (first.frame.pts, first.place) == (key.pts, key.place):
                return container, itertools.chain([first._replace(lost=[])], frames), key
            break
        # Seeking did not find the key frame. From now on this file is read from its beginning.
        self._seeks = False
        return self._begin(stack, number)

    def _remember(self, key: _Key) -> None:
        if not self._keys or key.number >= self._keys[-1].number + KEY_DISTANCE:
            self._keys.append(key)


def time_of(frame: Any) -> Fraction | None:
    """Return the time stamp of a frame in seconds, by the file's clock; None if it has none."""
    return None if frame.pts is None or not frame.time_base else frame.pts * frame.time_base


def _may_be_transparent(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _pixels_of(frame: Any, stream: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return `pixels` and `alpha` of a `Frame`: the frame turned upright, with square pixels."""
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


def _ffmpeg_cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
