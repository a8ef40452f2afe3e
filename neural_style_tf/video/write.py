"""Write clips: H.264 in MP4 with the sound of the source, and animated pictures."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.utils.atomic import atomic_path
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.video.read import decoded, film_of, sound_of, stamp_of, url

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ANIMATIONS = {".webp": "WEBP", ".gif": "GIF"}
QUALITY = "16"
"""Constant rate factor of x264: hardly to be told from the frames."""
CLOCK = 90_000
"""Ticks a second of frame times."""
BT709, LIMITED = 1, 1
"""By ITU-T H.273."""
MOST_ANIMATED, LONGEST_ANIMATED = 500_000_000, 16_383
"""Pixels of all frames of an animation, which Pillow holds at once; of a side, WebP's limit."""
SHORTEST_SHOWN = 20
"""Milliseconds; browsers slow down what is shorter."""
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
COPIED = ("aac", "mp3", "ac3", "eac3", "alac")
"""Kinds of sound that MP4 takes as they are; others become AAC."""


def check_clip_output(path: str, *, frames: int = 0, size: tuple[int, int] = (0, 0)) -> None:
    """Refuse a name that no clip can be written to.

    Args:
        path: The clip to be written.
        frames: How many it will have, about; 0 if that is not known.
        size: (H, W) of each.

    Raises:
        UserError: An unknown suffix, a folder that is not there, or an animation of too many pixels.
    """
    file, suffixes = Path(path), (*CONTAINERS, *ANIMATIONS)
    if file.suffix.lower() not in suffixes:
        guess = did_you_mean(file.suffix.lower(), suffixes)
        raise UserError(f"--output: {show(path)}{guess}; a clip can be written as {', '.join(suffixes)}")
    if not file.parent.is_dir():
        raise UserError(f"--output: {show(path)} cannot be written: there is no folder {show(file.parent)}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UserError(f"--output: {show(path)} cannot be written: permission denied in its folder")
    if file.exists() and not file.is_file():
        raise UserError(f"--output: {show(path)} cannot be written: it is not a file")
    if file.suffix.lower() in ANIMATIONS and _too_much(frames, size):
        raise UserError(f"--output: {show(path)}: {_refusal(frames, size, file.suffix)}")


def write_clip(
    path: Path,
    frames: Sequence[Path],
    times: Sequence[Fraction],
    *,
    last: Fraction,
    pixel_format: str = "yuv420p",
    sound: Path | None = None,
    begin: Fraction = Fraction(0),
    plays: int = 0,
    tags: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Write a clip from the pictures of its frames; never half of one.

    Args:
        path: .mp4, .mov or .mkv for a video; .webp or .gif for an animation.
        frames: Pictures of one size.
        times: When each is shown, in seconds from the first.
        last: Seconds that the last is shown for.
        pixel_format: Of a video.
        sound: A video whose sound it gets.
        begin: When in that the first frame is, in seconds.
        plays: How often an animation is shown; 0: for ever.
        tags: What it says of itself, by FFmpeg's names; of an animation, `comment`.

    Returns:
        Lines that the user should see: sound that cannot be used is left out.

    Raises:
        RunError: The encoder fails.
        OSError: The file cannot be written.
    """
    suffix, times, tags = path.suffix.lower(), list(times), tags or {}

    def write(heard: Path | None) -> None:
        with atomic_path(path) as file:
            if suffix in ANIMATIONS:
                _write_animation(file, suffix, frames, times, last=last, plays=plays, tags=tags)
                return
            options = {"pixel_format": pixel_format, "sound": heard, "begin": begin, "tags": tags}
            _write_video(file, suffix, frames, times, last=last, **options)

    try:
        write(sound)
    except Exception as error:
        if sound is None:
            raise
        # Whatever is wrong with the sound: what is painted is not lost for it.
        write(None)
        return (f"{show(path)} is without the sound of {show(sound)}, which cannot be used: {error}",)
    return ()


def _too_much(frames: int, size: tuple[int, int]) -> bool:
    return frames * size[0] * size[1] > MOST_ANIMATED or max(size) > LONGEST_ANIMATED


def _refusal(frames: int, size: tuple[int, int], suffix: str) -> str:
    return f"{frames} frames of {size[1]}×{size[0]} are too much for {suffix}: take .mp4"


def _write_animation(
    file: Path,
    suffix: str,
    frames: Sequence[Path],
    times: list[Fraction],
    *,
    last: Fraction,
    plays: int,
    tags: Mapping[str, str],
) -> None:
    kind = ANIMATIONS[suffix]
    with Image.open(frames[0]) as opened:
        first = opened.convert("RGB")
    size = first.height, first.width
    if _too_much(len(frames), size):
        raise RunError(_refusal(len(frames), size, suffix))
    # Rounded in sum, not each by itself; GIF counts hundredths.
    unit = 10 if kind == "GIF" else 1
    shown = [unit * round(1000 * time / unit) for time in (*times, times[-1] + last)]
    durations = [max(SHORTEST_SHOWN, end - start) for start, end in itertools.pairwise(shown)]
    options = {"WEBP": {"quality": 80, "method": 4}, "GIF": {"optimize": False}}[kind]
    if kind == "WEBP":
        options["loop"] = plays
    elif plays != 1:
        # GIF counts how often it is repeated, if it is.
        options["loop"] = max(0, plays - 1)
    if kind == "GIF" and "comment" in tags:
        options["comment"] = tags["comment"].encode()

    def pictures() -> Iterator[Image.Image]:
        for frame in frames[1:]:
            with Image.open(frame) as picture:
                yield picture.convert("RGB")

    first.save(file, kind, save_all=True, append_images=pictures(), duration=durations, **options)


def _write_video(
    file: Path,
    suffix: str,
    frames: Sequence[Path],
    times: list[Fraction],
    *,
    last: Fraction,
    pixel_format: str,
    sound: Path | None,
    begin: Fraction,
    tags: Mapping[str, str],
) -> None:
    import av

    end = times[-1] + last
    try:
        options = {"movflags": "+faststart"} if suffix != ".mkv" else {}
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(av.open(str(file), "w", format=CONTAINERS[suffix], options=options))
            output.metadata.update(tags)
            rate = Fraction(len(frames)) / end
            stream = _add_picture_stream(output, rate, frames[0], pixel_format)
            hear = None
            if sound is not None:
                hear = _Sound(
                    output, stack.enter_context(av.open(url(sound))), _first_stamp(sound), begin, end
                )
            for path, (time, until) in zip(frames, itertools.pairwise((*times, end)), strict=True):
                frame = _encoded_frame(path, pixel_format)
                frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
                frame.duration = round(until * CLOCK) - frame.pts
                if len(frames) > 1 and path == frames[-2]:
                    # No frame is stored after the last, by which MP4 would measure how long that is shown.
                    frame.pict_type = av.video.frame.PictureType.P
                output.mux(stream.encode(frame))
                if hear is not None:
                    hear.write_until(time)
            output.mux(stream.encode(None))
            if hear is not None:
                hear.write_until(end, finish=True)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno and error.errno > 0:
            raise OSError(error.errno, error.strerror) from None
        raise RunError(f"the clip cannot be encoded: {error.strerror or error}") from None


def _add_picture_stream(output: Any, rate: Fraction, first: Path, pixel_format: str) -> Any:
    import av

    name = next((codec for codec in ("libx264", "libopenh264") if codec in av.codecs_available), "mpeg4")
    options = {"crf": QUALITY, "preset": "medium"} if name == "libx264" else {}
    stream = output.add_stream(name, rate=rate.limit_denominator(60_000), options=options)
    stream.height, stream.width = _encoded_pixels(first, pixel_format).shape[:2]
    stream.pix_fmt = pixel_format
    context = stream.codec_context
    context.time_base = Fraction(1, CLOCK)
    # Else the last frame would be shown as long as others on average.
    context.flags |= av.codec.context.Flags.frame_duration
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return stream


def _encoded_pixels(path: Path, pixel_format: str) -> np.ndarray:
    """Return a picture's pixels, with a row or column repeated where halved colours need even sides."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixel_format == "yuv444p":
        return pixels
    return np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")


def _encoded_frame(path: Path, pixel_format: str) -> Any:
    import av

    frame = av.VideoFrame.from_ndarray(_encoded_pixels(path, pixel_format), format="rgb24")
    return frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")


def _first_stamp(path: Path) -> Fraction:
    """Return when the first frame is shown, by the clock of a file in seconds."""
    import av

    with av.open(url(path)) as container:
        frame, _, lost = next(decoded(container, film_of(container)))
        stamps = (*lost, None if frame is None else stamp_of(frame))
        return stamps[0] or Fraction(0)


class _Sound:
    """Copies the sound of a source into a clip, between two times.

    Args:
        output: The clip.
        source: The source.
        zero: When the first frame of the source is shown, by its clock in seconds.
        begin: Seconds from there at which the clip begins.
        length: Seconds of the clip.
    """

    def __init__(self, output: Any, source: Any, zero: Fraction, begin: Fraction, length: Fraction) -> None:
        self._output, self._begin, self._length = output, begin, length
        heard = sound_of(source)
        self._zero = zero
        self._copied = heard.codec_context.name in COPIED
        if self._copied:
            self._stream = output.add_stream_from_template(heard)
        else:
            rate = heard.codec_context.sample_rate
            self._stream = output.add_stream("aac", rate=rate if rate in AAC_RATES else 48_000)
        if "language" in heard.metadata:
            self._stream.metadata["language"] = heard.metadata["language"]
        self._parts: Iterator[Any] = source.demux(heard) if self._copied else _heard(source, heard)
        self._waiting: Any = None

    def write_until(self, time: Fraction, *, finish: bool = False) -> None:
        """Write what is heard up to a time of the clip, in seconds; at last what the encoder holds."""
        while True:
            part = self._waiting if self._waiting is not None else next(self._parts, None)
            self._waiting = None
            if part is None:
                break
            if part.pts is None:
                continue
            at = part.pts * part.time_base - self._zero - self._begin
            if at < 0:
                continue
            if at >= self._length:
                break
            if at > time:
                self._waiting = part
                break
            part.pts = round(at / part.time_base)
            if self._copied:
                part.dts, part.stream = part.pts, self._stream
                self._output.mux(part)
            else:
                self._output.mux(self._stream.encode(part))
        if finish and not self._copied:
            self._output.mux(self._stream.encode(None))


def _heard(source: Any, stream: Any) -> Iterator[Any]:
    """Yield the parts of a sound that can be decoded."""
    import av

    for packet in source.demux(stream):
        # What is damaged is silent.
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()
