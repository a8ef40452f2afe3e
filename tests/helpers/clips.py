"""Small clips, and what is in them."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image
from scipy import ndimage


def moving_frames(count=4, height=40, width=56, seed=0):
    """Return frames uint8 [H, W, 3] of a texture that moves two pixels a frame."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width + 2 * count, 3))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    whole = np.rint((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    return [np.ascontiguousarray(whole[:, 2 * k : 2 * k + width]) for k in range(count)]


def write_folder(folder, frames):
    """Write frames as pictures, without leading zeros."""
    folder.mkdir()
    for number, frame in enumerate(frames, 8):
        Image.fromarray(frame).save(folder / f"f{number}.png")
    return folder


def write_video(
    path, frames, *, rate=10, codec="libx264", pixel_format="yuv420p", times=None, sound="", options=None
):
    """Write a video.

    Args:
        path: Its file.
        frames: uint8 [H, W, 3] each.
        rate: Frames a second.
        codec: Of the pictures.
        pixel_format: Of the pictures.
        times: Of each frame, in frames; default: one after the other.
        sound: Codec of a tone of 440 Hz as long as the clip; `""` for none.
        options: Of the codec.
    """
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={"crf": "5"} | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if sound:
            heard = output.add_stream(sound, rate=48_000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound:
            ticks = np.arange(48_000 * len(frames) // rate)
            wave = (8000 * np.sin(2 * np.pi * 440 * ticks / 48_000)).astype(np.int16)
            for start in range(0, len(wave), 960):
                part = av.AudioFrame.from_ndarray(wave[np.newaxis, start : start + 960], "s16", "mono")
                part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
                output.mux(heard.encode(part))
            output.mux(heard.encode(None))
    return path


def write_streams(path, *streams):
    """Write a file with several videos: frames, codec and disposition (None: as it comes) of each."""
    with av.open(str(path), "w") as output:
        made = []
        for frames, codec, disposition in streams:
            stream = output.add_stream(codec, rate=10)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if disposition is not None:
                stream.disposition = disposition
            made.append(stream)
        for stream, (frames, *_) in zip(made, streams, strict=True):
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def write_matte(path, alphas, codec, pixel_format, options=None):
    """Write a white video whose opacity, uint8 [H, W] each, says where."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=10, options=options or {})
        stream.height, stream.width = alphas[0].shape
        stream.pix_fmt = pixel_format
        for index, alpha in enumerate(alphas):
            pixels = np.dstack([np.full((*alpha.shape, 3), 255, np.uint8), alpha])
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def damage(path, *indices):
    """Overwrite packets of a video, by their indices in the order of the file."""
    with av.open(str(path)) as opened:
        packets = [bytes(packet) for packet in opened.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for index in indices:
        at, size = data.find(packets[index]), min(200, len(packets[index]))
        assert at > 0
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    return path


def read_video(path):
    """Return the frames uint8 [H, W, 3] of a video, their times in seconds, and the seconds of its sound."""
    with av.open(str(path)) as opened:
        found = list(opened.decode(video=0))
        frames = [frame.to_ndarray(format="rgb24") for frame in found]
        times = [float(frame.pts * frame.time_base) for frame in found]
    seconds = 0.0
    with av.open(str(path)) as opened:
        if opened.streams.audio:
            parts = list(opened.decode(audio=0))
            seconds = sum(part.samples / part.sample_rate for part in parts)
    return frames, times, seconds


def turn(path, degrees):
    """Write into an MP4 file that its frames are to be shown turned by 90 or 270 degrees clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    assert data[at] == 0, "a track header of version 1"
    a, b = {90: (0, 1), 270: (0, -1)}[degrees]
    matrix = [a, b, 0, -b, a, 0, 0, 0, 0x40000000 / 65536]
    fixed = np.array([round(value * 65536) for value in matrix], ">i4").tobytes()
    data[at + 40 : at + 76] = fixed
    path.write_bytes(data)
