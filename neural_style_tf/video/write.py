"""Write clips: H.264 videos with the sound of the source, and animated pictures."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images.write import check_output, check_path
from neural_style_tf.utils.files import atomic_path
from neural_style_tf.utils.numbered import is_numbered

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ANIMATIONS = {".webp": "WEBP", ".gif": "GIF"}
QUALITY = "16"
"""Constant rate factor of x264. At 16, hardly any difference from the frames is visible."""
CLOCK = 90_000
"""Ticks per second in which frame times are stored."""
BT709, LIMITED = 1, 1
"""Codes for BT.709 colours (ITU-T H.273) and for limited range (FFmpeg)."""
MOST_ANIMATED, LONGEST_ANIMATED = 500_000_000, 16_383
"""Most pixels in all frames of an animation, which Pillow holds in memory; longest side of a WebP."""
SHORTEST_SHOWN = 20
"""Shortest duration of a frame, in milliseconds; browsers show shorter frames for longer."""
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
COPIED = ("aac", "mp3", "ac3", "eac3", "alac")
"""Audio codecs that MP4 can hold, which are copied; others are converted to AAC."""


def check_clip_output(path: str, *, frames: int = 0, size: tuple[int, int] = (0, 0)) -> None:
    """Raise `UserError` if a clip of `frames` frames (0: unknown) of `size` (H, W) cannot be written.

    A path with `%04d` or `####` is that of a picture for each frame.
    """
    file = Path(path)
    if is_numbered(path):
        check_output(path, size=size if all(size) else None)
        return
    check_path(file, (*CONTAINERS, *ANIMATIONS), "a clip")
    if file.suffix.lower() in ANIMATIONS and (why := _too_much(frames, size, file.suffix)):
        raise UserError(f"--output: {show(path)}: {why}")


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
    """Write a clip from picture files of one size, atomically; return lines that the user should see.

    Each frame is shown at one of `times`, in seconds from the first, and the last for `last` seconds. A video
    gets the sound of the file `sound`, in which its first frame is shown at `begin` seconds. An animation is
    played `plays` times; 0: for ever. `tags` are metadata by FFmpeg's names; of them only `comment` is
    written to a GIF, none to a WebP.
    """
    suffix, times, tags = path.suffix.lower(), [*times, times[-1] + last], tags or {}
    sound = None if suffix in ANIMATIONS else sound

    def write(sound: Path | None) -> None:
        with atomic_path(path) as file:
            if suffix in ANIMATIONS:
                _write_animation(file, ANIMATIONS[suffix], frames, times, plays, tags)
            else:
                _write_video(file, CONTAINERS[suffix], frames, times, pixel_format, tags, sound, begin)

    try:
        write(sound)
    except Exception as error:
        if sound is None:
            raise
        # The clip must not be lost because of its sound, so it is written without.
        write(None)
        return (f"{show(path)} is without the sound of {show(sound)}, which cannot be used: {error}",)
    return ()


def _too_much(frames: int, size: tuple[int, int], suffix: str) -> str:
    """Return why an animation cannot hold so many frames of this size, or "" if it can."""
    if frames * size[0] * size[1] <= MOST_ANIMATED and max(size) <= LONGEST_ANIMATED:
        return ""
    return f"{frames} frames of {size[1]}×{size[0]} are too much for {suffix}: take .mp4"


def _write_animation(
    file: Path, kind: str, frames: Sequence[Path], times: list[Fraction], plays: int, tags: Mapping[str, str]
) -> None:
    with Image.open(frames[0]) as opened:
        first = opened.convert("RGB")
    if why := _too_much(len(frames), (first.height, first.width), file.suffix):
        raise RunError(why)
    # Times are rounded, not durations, so that errors do not add up. GIF counts hundredths of a second.
    unit = 10 if kind == "GIF" else 1
    shown = [unit * round(1000 * time / unit) for time in times]
    durations = [max(SHORTEST_SHOWN, end - start) for start, end in itertools.pairwise(shown)]
    options = {"WEBP": {"quality": 80, "method": 4}, "GIF": {"optimize": False}}[kind]
    if kind == "WEBP":
        options["loop"] = plays
    elif plays != 1:
        # A GIF states the number of repetitions, and nothing if it is not repeated.
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
    form: str,
    frames: Sequence[Path],
    times: list[Fraction],
    pixel_format: str,
    tags: Mapping[str, str],
    sound: Path | None,
    begin: Fraction,
) -> None:
    import av

    from neural_style_tf.video import film

    options = {} if form == "matroska" else {"movflags": "+faststart"}
    try:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(av.open(str(file), "w", format=form, options=options))
            output.metadata.update(tags)
            rate = len(frames) / times[-1]
            stream = _add_picture_stream(output, rate, frames[0], pixel_format)
            parts = [_picture_packets(stream, frames, times, pixel_format)]
            if sound is not None:
                zero = _first_stamp(sound) + begin
                source = stack.enter_context(av.open(film.url(sound)))
                parts.append(_sound_packets(output, source, zero, times[-1]))
            # Every stream must be added before the first packet is written, which `merge` does.
            for _, packets in heapq.merge(*parts, key=operator.itemgetter(0)):
                output.mux(packets)
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
    # Without this flag the last frame would be shown for the average duration.
    context.flags |= av.codec.context.Flags.frame_duration
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return stream


def _encoded_pixels(path: Path, pixel_format: str) -> np.ndarray:
    """Return the pixels of a picture; odd sides are made even by repeating the last row or column.

    Only `yuv444p` does not need this: other formats store colours at half the resolution.
    """
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixel_format == "yuv444p":
        return pixels
    return np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")


def _picture_packets(
    stream: Any, frames: Sequence[Path], times: Sequence[Fraction], pixel_format: str
) -> Iterator[tuple[Fraction, Any]]:
    """Yield the time and the packets of each frame; the last of `times` is the end of the clip."""
    import av

    for path, (time, until) in zip(frames, itertools.pairwise(times), strict=True):
        pixels = _encoded_pixels(path, pixel_format)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
        frame.duration = round(until * CLOCK) - frame.pts
        if len(frames) > 1 and path == frames[-2]:
            # Makes the last but one frame a P frame, so that no B frame is stored after the last frame. MP4
            # measures how long a frame is shown by the frame stored after it.
            frame.pict_type = av.video.frame.PictureType.P
        yield time, stream.encode(frame)
    yield times[-1], stream.encode(None)


def _first_stamp(path: Path) -> Fraction:
    """Return the time stamp of the first frame of a video in seconds, by the file's clock; 0 if unknown."""
    import av

    from neural_style_tf.video import film

    with av.open(film.url(path)) as container:
        frame, _, lost = next(film.decoded(container, film.film_of(container)))
        stamps = (*lost, None if frame is None else film.time_of(frame))
        return stamps[0] or Fraction(0)


def _sound_packets(
    output: Any, source: Any, zero: Fraction, length: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """Add an audio stream to `output`; return an iterator over times and packets of the sound.

    The sound is copied if MP4 can hold its codec, and otherwise converted. The clip begins at `zero` seconds
    by the clock of `source`, and is `length` seconds long.
    """
    from neural_style_tf.video.film import sound_of

    heard = sound_of(source)
    copied = heard.codec_context.name in COPIED
    if copied:
        stream = output.add_stream_from_template(heard)
    else:
        rate = heard.codec_context.sample_rate
        stream = output.add_stream("aac", rate=rate if rate in AAC_RATES else 48_000)
    if "language" in heard.metadata:
        stream.metadata["language"] = heard.metadata["language"]

    def packets() -> Iterator[tuple[Fraction, Any]]:
        for part in source.demux(heard) if copied else _decoded_sound(source, heard):
            if part.pts is None:
                continue
            time = part.pts * part.time_base - zero
            if time >= length:
                break
            if time < 0:
                continue
            part.pts = round(time / part.time_base)
            if copied:
                part.dts, part.stream = part.pts, stream
            yield time, part if copied else stream.encode(part)
        if not copied:
            yield length, stream.encode(None)

    return packets()


def _decoded_sound(source: Any, stream: Any) -> Iterator[Any]:
    """Yield the decoded parts of an audio stream, without damaged ones, which become silence."""
    import av

    for packet in source.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()
