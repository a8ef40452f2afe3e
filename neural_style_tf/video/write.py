"""Write clips: H.264 in MP4 with the sound of the source, and animated pictures."""

from __future__ import annotations

import contextlib
import functools
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
from neural_style_tf.images.write import check_path
from neural_style_tf.utils.files import atomic_path

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ANIMATIONS = {".webp": "WEBP", ".gif": "GIF"}
QUALITY = "16"
"""Constant rate factor of x264: hardly any difference from the frames can be seen."""
CLOCK = 90_000
"""Ticks a second of frame times."""
BT709, LIMITED = 1, 1
"""Codes of the colours of BT.709 and of the limited range, by ITU-T H.273."""
MOST_ANIMATED, LONGEST_ANIMATED = 500_000_000, 16_383
"""Most pixels of all frames of an animation, which Pillow holds in memory; longest side of WebP."""
SHORTEST_SHOWN = 20
"""Milliseconds; browsers slow down what is shorter."""
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
COPIED = ("aac", "mp3", "ac3", "eac3", "alac")
"""Audio codecs that MP4 can hold; others become AAC."""


def check_clip_output(path: str, *, frames: int = 0, size: tuple[int, int] = (0, 0)) -> None:
    """Refuse a file to which a clip of `frames` frames (0: not known) of size (H, W) cannot be written."""
    file = Path(path)
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
    """Write a clip from the pictures of its frames, whole or not at all.

    Args:
        path: .mp4, .mov or .mkv for a video; .webp or .gif for an animation.
        frames: Pictures of one size.
        times: When each is shown, in seconds from the first.
        last: Seconds that the last is shown for.
        pixel_format: Of a video.
        sound: A video whose sound it gets.
        begin: When the first frame is shown in that video, in seconds.
        plays: How often an animation is shown; 0: for ever.
        tags: Metadata, by FFmpeg's names; of an animation, `comment`.

    Returns:
        Lines that the user should see: sound that cannot be used is left out.
    """
    suffix, times, tags = path.suffix.lower(), [*times, times[-1] + last], tags or {}
    if suffix in ANIMATIONS:
        with atomic_path(path) as file:
            _write_animation(file, ANIMATIONS[suffix], frames, times, plays, tags)
        return ()
    write = functools.partial(
        _write_video,
        frames=frames,
        times=times,
        form=CONTAINERS[suffix],
        pixel_format=pixel_format,
        tags=tags,
    )
    try:
        with atomic_path(path) as file:
            write(file, sound=sound, begin=begin)
    except Exception as error:
        if sound is None:
            raise
        # Any fault of the sound: the painting must not be lost for it.
        with atomic_path(path) as file:
            write(file)
        return (f"{show(path)} is without the sound of {show(sound)}, which cannot be used: {error}",)
    return ()


def _too_much(frames: int, size: tuple[int, int], suffix: str) -> str:
    """Return why an animation cannot hold these frames, or ""."""
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
    # Rounded in sum, not each by itself; GIF counts hundredths.
    unit = 10 if kind == "GIF" else 1
    shown = [unit * round(1000 * time / unit) for time in times]
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
    *,
    frames: Sequence[Path],
    times: list[Fraction],
    form: str,
    pixel_format: str,
    tags: Mapping[str, str],
    sound: Path | None = None,
    begin: Fraction = Fraction(0),
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
    # Else the last frame would be shown as long as others on average.
    context.flags |= av.codec.context.Flags.frame_duration
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED
    return stream


def _encoded_pixels(path: Path, pixel_format: str) -> np.ndarray:
    """Return the pixels of a picture, whose sides are made even by a repeated last row and column.

    Formats other than `yuv444p` need this, because they store colours at half the resolution.
    """
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixel_format == "yuv444p":
        return pixels
    return np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")


def _picture_packets(
    stream: Any, frames: Sequence[Path], times: Sequence[Fraction], pixel_format: str
) -> Iterator[tuple[Fraction, Any]]:
    """Yield time and packets of each frame; `times` ends with that of the clip's end."""
    import av

    for path, (time, until) in zip(frames, itertools.pairwise(times), strict=True):
        pixels = _encoded_pixels(path, pixel_format)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
        frame.duration = round(until * CLOCK) - frame.pts
        if len(frames) > 1 and path == frames[-2]:
            # No frame is stored after the last, by which MP4 would measure how long that is shown.
            frame.pict_type = av.video.frame.PictureType.P
        yield time, stream.encode(frame)
    yield times[-1], stream.encode(None)


def _first_stamp(path: Path) -> Fraction:
    """Return when the first frame is shown, by the clock of a file in seconds."""
    import av

    from neural_style_tf.video import film

    with av.open(film.url(path)) as container:
        frame, _, lost = next(film.decoded(container, film.film_of(container)))
        stamps = (*lost, None if frame is None else film.time_of(frame))
        return stamps[0] or Fraction(0)


def _sound_packets(
    output: Any, source: Any, zero: Fraction, length: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """Add an audio stream to a clip, and return time and packets of its parts, copied if MP4 can hold them.

    The clip begins at `zero`, by the clock of the source, and is `length` seconds long.
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
    """Yield the parts of a sound that can be decoded; damaged ones are silent."""
    import av

    for packet in source.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()
