"""Clips of every kind are read: order, times, rotation, bits; what is none is refused in one line."""

import os
from fractions import Fraction

import numpy as np
import pytest
from clips import moving_frames, turn, write_folder, write_video
from PIL import Image

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.video.read import is_clip, open_clip

READING = {"max_pixels": 10**6, "allow_truncated": False}


def opened(path, **options):
    return open_clip(str(path), **READING | options)


def pixels_of(clip, start=1, end=0, every=1, **more):
    return [frame.pixels for frame in clip.frames(start, end, every, **more)]


def near(found, frames, tolerance):
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other.astype(np.float32)).mean() < tolerance


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = moving_frames(5)
    clip = opened(write_folder(tmp_path / "clip", frames), frames=True)
    near(pixels_of(clip), frames, 1e-6)
    assert clip.rate == 24 and clip.count == 5
    pattern = opened(tmp_path / "clip" / "f1?.png", frames=True, rate=12.5)
    near(pixels_of(pattern), frames[2:], 1e-6)
    assert pattern.rate == Fraction(25, 2)
    assert not is_clip(str(tmp_path / "clip"))


def test_some_of_the_frames(tmp_path):
    frames = moving_frames(9)
    clip = opened(write_folder(tmp_path / "clip", frames), frames=True)
    assert [frame.number for frame in clip.frames(2, 8, 3)] == [2, 5, 8]
    assert [frame.number for frame in clip.frames(2, 8, 3, after=4)] == [5, 8]
    assert clip.planned(2, 8, 3) == 3 and clip.planned(1, 0, 1) == 9 and clip.planned(4, 99, 4) == 2


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_a_video_is_read(tmp_path, name):
    frames = moving_frames(6)
    path = write_video(tmp_path / name, frames, pixel_format="yuv444p")
    clip = opened(path)
    assert is_clip(str(path)) and clip.rate == 10 and not clip.has_audio
    near(pixels_of(clip), frames, 3)
    assert [float(frame.time) for frame in clip.frames(1, 0, 1)] == pytest.approx([k / 10 for k in range(6)])


def test_frames_keep_their_own_times(tmp_path):
    path = write_video(tmp_path / "clip.mp4", moving_frames(4), times=[0, 1, 5, 6])
    expected = pytest.approx([0, 0.1, 0.5, 0.6])
    assert [float(frame.time) for frame in opened(path).frames(1, 0, 1)] == expected


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (270, 1)])
def test_a_turned_video_is_upright(tmp_path, degrees, turns):
    frames = moving_frames(2)
    path = write_video(tmp_path / "clip.mp4", frames, pixel_format="yuv444p")
    turn(path, degrees)
    near(pixels_of(opened(path)), [np.rot90(frame, turns) for frame in frames], 3)


def test_ten_bits_are_read(tmp_path):
    frames = moving_frames(2)
    path = write_video(tmp_path / "clip.mkv", frames, codec="libx264", pixel_format="yuv444p10le")
    found = pixels_of(opened(path))
    near(found, frames, 3)
    assert np.abs(found[0] - np.rint(found[0])).max() > 0.1


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_is_read(tmp_path, suffix):
    pictures = [Image.fromarray(frame) for frame in moving_frames(4)]
    path = tmp_path / f"clip{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100, 200, 100, 40], **options)
    clip = opened(path)
    assert is_clip(str(path)) and clip.count == 4
    near(pixels_of(clip), moving_frames(4), 1 if suffix == ".webp" else 12)
    times = [float(frame.time) for frame in clip.frames(1, 0, 1)]
    assert times == pytest.approx([0, 0.1, 0.3, 0.4])


def test_a_picture_is_no_clip(tmp_path):
    for suffix in (".png", ".gif", ".webp", ".jpg"):
        path = tmp_path / f"picture{suffix}"
        Image.fromarray(moving_frames(1)[0]).save(path)
        assert not is_clip(str(path))
    (tmp_path / "broken.gif").write_bytes(b"GIF89a nothing")
    assert not is_clip(str(tmp_path / "broken.gif")) and not is_clip(str(tmp_path / "none.gif"))


def test_what_cannot_be_read_is_refused(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video, but a text\n" * 40)
    with pytest.raises(UserError, match=r"text\.mp4 cannot be read as a video: "):
        opened(text)
    with pytest.raises(UserError, match="there is no file"):
        opened(tmp_path / "none.mp4")
    with pytest.raises(UserError, match="there are no pictures in"):
        opened(tmp_path / "*.none", frames=True)
    with pytest.raises(UserError, match="--frame_rate is about --frames"):
        opened(text, rate=24)
    sound = write_video(tmp_path / "clip.mkv", moving_frames(2), sound="flac")
    with pytest.raises(UserError, match="over the limit of 100"):
        opened(sound, max_pixels=100)


def test_a_file_without_pictures_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mkv"), "w") as output:
        heard = output.add_stream("flac", rate=48_000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        part.sample_rate = 48_000
        output.mux(heard.encode(part))
        output.mux(heard.encode(None))
    with pytest.raises(UserError, match=r"sound\.mkv holds no video"):
        opened(tmp_path / "sound.mkv")


def test_frames_of_another_size_end_the_clip(tmp_path):
    folder = write_folder(tmp_path / "clip", moving_frames(3))
    Image.fromarray(moving_frames(1, 30, 30)[0]).save(folder / "f9.png")
    frames = opened(folder, frames=True).frames(1, 0, 1)
    assert next(frames).number == 1
    with pytest.raises(RunError, match=r"frame 2, .*f9\.png, is 30×30, and the first is 56×40"):
        next(frames)


def test_a_truncated_video_gives_what_it_has(tmp_path):
    path = write_video(tmp_path / "clip.mkv", moving_frames(30, 200, 300))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    assert 0 < len(pixels_of(opened(path, allow_truncated=True))) < 30
    whole = write_video(tmp_path / "clip.mp4", moving_frames(30, 200, 300))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError, match="cannot be read as a video"):
        opened(whole)


def test_many_frames_are_in_order_and_none_is_kept(tmp_path):
    picture = Image.fromarray(moving_frames(1, 16, 16)[0])
    folder = tmp_path / "clip"
    folder.mkdir()
    picture.save(folder / "f1.png")
    data = (folder / "f1.png").read_bytes()
    for number in range(2, 10_002):
        (folder / f"f{number}.png").write_bytes(data)
    clip = opened(folder, frames=True)
    assert clip.count == 10_001
    assert [file.name for file in clip.files[8:11]] == ["f9.png", "f10.png", "f11.png"]
    assert clip.files[-1].name == "f10001.png"


def test_joined_streams_go_on(tmp_path):
    part = write_video(tmp_path / "part.ts", moving_frames(5)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    times = [float(frame.time) for frame in opened(tmp_path / "joined.ts").frames(1, 0, 1)]
    assert len(times) >= 9 and times == pytest.approx([k / 10 for k in range(len(times))], abs=0.002)


def test_only_what_is_wanted_is_read(tmp_path):
    folder = write_folder(tmp_path / "clip", moving_frames(4))
    (folder / "f9.png").write_bytes(b"damaged")
    assert [frame.number for frame in opened(folder, frames=True).frames(1, 0, 1, after=2)] == [3, 4]


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_what_lies_beyond_the_end_is_not_looked_at(tmp_path, kind):
    frames = moving_frames(30, 48, 64)
    if kind == "folder":
        path = write_folder(tmp_path / "f", frames)
        (path / "f11.png").write_bytes(b"no picture")
    else:
        path = write_video(tmp_path / "v.mp4", frames)
        data = bytearray(path.read_bytes())
        quarter = len(data) // 4
        # Within the frames; their index comes last.
        data[2 * quarter : 3 * quarter] = b"\xff" * quarter
        path.write_bytes(data)
    clip = opened(path, frames=kind == "folder")
    assert [frame.number for frame in clip.frames(1, 3, 1)] == [1, 2, 3]
    assert [frame.number for frame in clip.frames(1, 3, 2)] == [1, 3]
    with pytest.raises(RunError):
        list(clip.frames(1, 0, 1))


def test_an_interlaced_video_is_told(tmp_path):
    frames = moving_frames(3, 48, 64)
    plain = write_video(tmp_path / "plain.mp4", frames)
    woven = write_video(tmp_path / "woven.mp4", frames, options={"x264-params": "interlaced=1:tff=1"})
    told = [any("interlaced" in note for note in opened(path).notes) for path in (plain, woven)]
    assert told == [False, True]


def test_a_name_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", moving_frames(2)).rename("a:1.mp4")
    assert len(pixels_of(opened("a:1.mp4"))) == 2
    os.mkfifo("pipe.mp4")
    with pytest.raises(UserError, match="there is no file"):
        opened("pipe.mp4")
