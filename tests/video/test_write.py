"""Clips are written: colours, odd sides, times, sound; never half of one."""

import errno
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import damage, moving_frames, read_video, write_folder, write_video
from PIL import Image

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.video import write
from neural_style_tf.video.read import open_clip
from neural_style_tf.video.write import check_clip_output, write_clip


def written(tmp_path, frames, name="out.mp4", **options):
    folder = write_folder(tmp_path / "frames", frames)
    times = options.pop("times", [Fraction(k, 10) for k in range(len(frames))])
    from pathlib import Path

    files = [Path(file) for file in expand_files(str(folder))]
    write_clip(tmp_path / name, files, times, last=Fraction(1, 10), **options)
    return tmp_path / name


@pytest.mark.parametrize(("pixel_format", "shape"), [("yuv420p", (42, 58)), ("yuv444p", (41, 57))])
def test_odd_sides_and_colours(tmp_path, pixel_format, shape):
    flat = np.empty((41, 57, 3), np.uint8)
    flat[:] = (200, 60, 30)
    frames, times, _ = read_video(written(tmp_path, [flat] * 5, pixel_format=pixel_format))
    assert [frame.shape[:2] for frame in frames] == [shape] * 5
    assert np.abs(frames[2].astype(int) - (200, 60, 30)).max() <= 4
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("name", ["out.mov", "out.mkv"])
def test_uneven_times_are_kept(tmp_path, name):
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 2)]
    _, found, _ = read_video(written(tmp_path, moving_frames(3), name, times=times))
    assert found == pytest.approx([0, 0.1, 0.5], abs=2e-3)


@pytest.mark.parametrize("sound", ["aac", "flac"])
def test_the_sound_of_the_part_that_is_painted(tmp_path, sound):
    source = write_video(tmp_path / "source.mkv", moving_frames(20), sound=sound)
    _, times, seconds = read_video(written(tmp_path, moving_frames(10), sound=source, begin=Fraction(1, 2)))
    assert len(times) == 10 and seconds == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_animations(tmp_path, suffix):
    path = written(tmp_path, moving_frames(4), f"out{suffix}", times=[Fraction(k, 5) for k in range(4)])
    with Image.open(path) as picture:
        assert picture.n_frames == 4 and picture.info["loop"] == 0
        picture.load()
        assert picture.info["duration"] == 200


def test_a_failure_leaves_nothing(tmp_path):
    folder = write_folder(tmp_path / "frames", moving_frames(2))
    files = [folder / "f8.png", folder / "missing.png"]
    with pytest.raises(OSError):
        write_clip(tmp_path / "out.mp4", files, [Fraction(0), Fraction(1)], last=Fraction(1))
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_a_name_that_no_clip_can_have(tmp_path):
    check_clip_output(str(tmp_path / "a.mp4"))
    with pytest.raises(UserError, match=r"a\.mpeg .*; a clip can be written as \.mp4, \.mov, \.mkv"):
        check_clip_output(str(tmp_path / "a.mpeg"))
    with pytest.raises(UserError, match="there is no folder"):
        check_clip_output(str(tmp_path / "none" / "a.mp4"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no match"),
        RunError("no rate"),
        AttributeError("'NoneType' object has no attribute 'name'"),
        FileNotFoundError(errno.ENOENT, "No such file"),
    ],
)
@pytest.mark.parametrize("where", ["__init__", "write_until"])
def test_sound_that_cannot_be_used_is_left_out(tmp_path, monkeypatch, error, where):
    source = write_video(tmp_path / "source.mkv", moving_frames(4), sound="flac")
    folder = write_folder(tmp_path / "frames", moving_frames(3))
    files, times = [folder / f"f{number}.png" for number in (8, 9, 10)], [Fraction(k, 10) for k in range(3)]

    def fail(*given, **named):
        raise error

    monkeypatch.setattr(write._Sound, where, fail)
    [note] = write_clip(tmp_path / "out.mp4", files, times, last=Fraction(1, 10), sound=source)
    assert f"is without the sound of {source}, which cannot be used: {error}" in note
    frames, _, seconds = read_video(tmp_path / "out.mp4")
    assert len(frames) == 3 and seconds == 0


def test_a_source_that_is_gone_takes_its_sound_alone(tmp_path):
    path = written(tmp_path, moving_frames(3), sound=tmp_path / "gone.mp4")
    assert len(read_video(path)[0]) == 3


@pytest.mark.parametrize("begins", [True, False])
def test_the_sound_that_can_be_decoded(tmp_path, begins):
    """A phone's file has one for its own programs beside the usual one."""
    source, frames = tmp_path / "source.mov", moving_frames(10)
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        heard = [
            output.add_stream(name, rate=48_000) for name in (("alac", "aac") if begins else ("aac", "alac"))
        ]
        for k, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for one in heard:
            for start in range(0, 48_000, 960):
                part = av.AudioFrame.from_ndarray(np.full((1, 960), start % 7000, np.int16), "s16", "mono")
                part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
                output.mux(one.encode(part))
            output.mux(one.encode(None))
    source.write_bytes(source.read_bytes().replace(b"alac", b"apac"))
    assert read_video(written(tmp_path, frames, sound=source))[2] == pytest.approx(1, abs=0.06)


def test_damaged_sound_is_silent_there(tmp_path):
    source = write_video(tmp_path / "source.mkv", moving_frames(20), sound="flac")
    with av.open(str(source)) as opened:
        packets = [bytes(packet) for packet in opened.demux(audio=0) if packet.size]
    data = bytearray(source.read_bytes())
    at = data.find(packets[10])
    data[at : at + 60] = bytes(60)
    source.write_bytes(data)
    seconds = read_video(written(tmp_path, moving_frames(20), sound=source))[2]
    assert seconds == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("first_is_damaged", [True, False])
def test_sound_is_in_time_with_a_clip_that_begins_late(tmp_path, first_is_damaged):
    source = write_video(tmp_path / "source.mov", moving_frames(6), codec="png", pixel_format="rgb24")
    if first_is_damaged:
        damage(source, 0)
    assert write._first_stamp(source) == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_last_frame_has_its_own_time_and_the_clip_its_tags(tmp_path, suffix):
    tags = {"title": "Grüße", "artist": "A", "copyright": "C", "creation_time": "2020-01-02T03:04:05.000000Z"}
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 5), Fraction(1, 2)]
    folder = write_folder(tmp_path / "frames", moving_frames(4))
    files = [folder / f"f{number}.png" for number in range(8, 12)]
    path = tmp_path / f"out{suffix}"
    write_clip(path, files, times, last=Fraction(3), tags=tags)
    with av.open(str(path)) as opened:
        assert tags.items() <= {name.lower(): text for name, text in opened.metadata.items()}.items()
        frames = list(opened.decode(video=0))
        assert float(frames[-1].duration * frames[-1].time_base) == pytest.approx(3, abs=2e-3)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animation_is_shown_as_often_as_its_source(tmp_path, suffix, plays):
    path = written(tmp_path, moving_frames(2), f"out{suffix}", plays=plays, tags={"comment": "by hand"})
    assert open_clip(str(path), max_pixels=10**6, allow_truncated=False).plays == plays
    if suffix == ".gif":
        with Image.open(path) as picture:
            assert picture.info["comment"] == b"by hand"


def test_short_durations_add_up(tmp_path):
    path = written(tmp_path, moving_frames(30, 16, 16), "out.gif", times=[Fraction(k, 30) for k in range(30)])
    total = 0
    with Image.open(path) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            total += picture.info["duration"]
    # The last is shown for a tenth.
    assert total == pytest.approx(1067, abs=10)
