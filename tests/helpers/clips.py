"""Small clips, and what is in them."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image
from scipy import ndimage


def texture(height=96, width=128, seed=0):
    """Return a smooth texture, float32 [H, W, 3], 0–255."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.float32)


def moving_frames(count=4, height=40, width=56, seed=0):
    """Return frames uint8 [H, W, 3] of a texture that moves two pixels a frame."""
    whole = np.rint(texture(height, width + 2 * count, seed)).astype(np.uint8)
    return [np.ascontiguousarray(whole[:, 2 * k : 2 * k + width]) for k in range(count)]


def write_folder(folder, frames):
    """Write frames as pictures, without leading zeros."""
    folder.mkdir()
    for number, frame in enumerate(frames, 8):
        Image.fromarray(frame).save(folder / f"f{number}.png")
    return folder


def write_animation(path, frames, **options):
    """Write frames, arrays or pictures, as an animated picture."""
    first, *others = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=others, **options)
    return path


def write_video(
    path, frames, *, rate=10, codec="libx264", pixel_format="yuv420p", times=None, sound="", options=None
):
    """Write a video.

    Args:
        path: Its file.
        frames: uint8 [H, W, 3 or 4] each.
        rate: Frames a second.
        codec: Of the pictures.
        pixel_format: Of the pictures.
        times: Of each frame, in frames; default: one after the other.
        sound: Codecs, separated by commas, of tones of 440 Hz as long as the clip.
        options: Of the codec of the pictures.
    """
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={"crf": "5"} | (options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        tones = [output.add_stream(name, rate=48_000) for name in filter(None, sound.split(","))]
        _encode_pictures(output, stream, frames, times or range(len(frames)), rate)
        for tone in tones:
            _encode_tone(output, tone, 48_000 * len(frames) // rate)
    return path


def _encode_pictures(output, stream, frames, times, rate=10):
    for time, pixels in zip(times, frames, strict=True):
        form = "rgba" if pixels.shape[2] == 4 else "rgb24"
        frame = av.VideoFrame.from_ndarray(pixels, format=form)
        frame.pts, frame.time_base = time, Fraction(1, rate)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _encode_tone(output, stream, samples):
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(samples) / 48_000)).astype(np.int16)
    for start in range(0, samples, 960):
        part = av.AudioFrame.from_ndarray(wave[np.newaxis, start : start + 960], "s16", "mono")
        part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
        output.mux(stream.encode(part))
    output.mux(stream.encode(None))


def write_sound(path):
    """Write a file with sound alone."""
    with av.open(str(path), "w") as output:
        _encode_tone(output, output.add_stream("flac", rate=48_000), 960)
    return path


def write_streams(path, *streams):
    """Write a file with several videos: frames, codec and disposition (None: as it comes) of each."""
    with av.open(str(path), "w") as output:
        added = []
        for frames, codec, disposition in streams:
            stream = output.add_stream(codec, rate=10)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if disposition is not None:
                stream.disposition = disposition
            added.append(stream)
        for stream, (frames, *_) in zip(added, streams, strict=True):
            _encode_pictures(output, stream, frames, range(len(frames)))
    return path


def write_matte(path, alphas, codec, pixel_format, options=None):
    """Write a white video whose opacity, uint8 [H, W] each, says where."""
    frames = [np.dstack([np.full((*alpha.shape, 3), 255, np.uint8), alpha]) for alpha in alphas]
    return write_video(path, frames, codec=codec, pixel_format=pixel_format, options=options)


def damage(path, *indices, kind="video"):
    """Overwrite packets of a video or its sound, by their indices in the order of the file."""
    with av.open(str(path)) as opened:
        packets = [bytes(packet) for packet in opened.demux(**{kind: 0}) if packet.size]
    data = bytearray(path.read_bytes())
    for index in indices:
        at, size = data.find(packets[index]), min(200, len(packets[index]))
        assert at > 0
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    return path


def count_calls(monkeypatch, module, name):
    """Return a list that grows by one with each call of a function."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **named: calls.append(1) or function(*args, **named))
    return calls


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
