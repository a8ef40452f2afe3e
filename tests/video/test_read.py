"""Clips of every kind are read: order, times, rotation, bits; what is none is refused in one line."""

import hashlib
import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.stream import Disposition
from clips import (
    count_calls,
    damage,
    moving_frames,
    turn,
    write_animation,
    write_folder,
    write_matte,
    write_sound,
    write_streams,
    write_video,
)
from PIL import Image

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import load_image
from neural_style_tf.images.files import expand_files
from neural_style_tf.utils.numbered import frame_file, is_numbered
from neural_style_tf.video import film
from neural_style_tf.video.read import is_clip, open_clip

READING = {"max_pixels": 10**6, "allow_truncated": False}


def opened(path, **options):
    return open_clip(str(path), **READING | options)


def all_of(clip, start=1, end=0):
    return list(clip.read(range(start, end + 1 if end else 10**9)))


def times_of(clip):
    return [float(frame.time) for frame in all_of(clip)]


def near(clip, frames, tolerance):
    found = [frame.pixels for frame in all_of(clip)]
    assert [pixels.shape for pixels in found] == [frame.shape for frame in frames]
    for pixels, frame in zip(found, frames, strict=True):
        assert np.abs(pixels - frame.astype(np.float32)).mean() < tolerance


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = moving_frames(5)
    clip = opened(write_folder(tmp_path / "clip", frames), frames=True)
    near(clip, frames, 1e-6)
    assert clip.rate == 24 and clip.count == 5 and not is_clip(str(tmp_path / "clip"))
    pattern = opened(tmp_path / "clip" / "f1?.png", frames=True, rate=12.5)
    near(pattern, frames[2:], 1e-6)
    assert pattern.rate == Fraction(25, 2)


@pytest.mark.parametrize(
    ("name", "options", "turned"),
    [
        ("clip.mp4", {}, 0),
        ("clip.mkv", {}, 0),
        ("clip.avi", {}, 0),
        ("a:1.mp4", {}, 0),
        ("clip.mp4", {}, 90),
        ("clip.mp4", {}, 270),
        ("clip.mkv", {"pixel_format": "yuv444p10le"}, 0),
        ("clip.mp4", {"times": [0, 1, 5, 6]}, 0),
    ],
)
def test_a_video_is_read(tmp_path, monkeypatch, name, options, turned):
    """The right way up, in all its bits, with its own times."""
    monkeypatch.chdir(tmp_path)
    frames = moving_frames(4)
    write_video(
        tmp_path / "x.mp4" if ":" in name else tmp_path / name,
        frames,
        **{"pixel_format": "yuv444p"} | options,
    )
    if ":" in name:
        (tmp_path / "x.mp4").rename(name)
    if turned:
        turn(tmp_path / name, turned)
        frames = [np.rot90(frame, -1 if turned == 90 else 1) for frame in frames]
    clip = opened(name)
    assert is_clip(name) and not clip.has_audio and clip.count == 4
    near(clip, frames, 3)
    assert times_of(clip) == pytest.approx([k / 10 for k in options.get("times", range(4))])
    pixels = all_of(clip)[0].pixels
    assert (np.abs(pixels - np.rint(pixels)).max() > 0.1) == ("pixel_format" in options)


def test_a_picture_is_no_clip(tmp_path):
    for suffix in (".png", ".gif", ".webp", ".jpg"):
        path = tmp_path / f"picture{suffix}"
        Image.fromarray(moving_frames(1)[0]).save(path)
        assert not is_clip(str(path))
    (tmp_path / "broken.gif").write_bytes(b"GIF89a nothing")
    assert not is_clip(str(tmp_path / "broken.gif")) and not is_clip(str(tmp_path / "none.gif"))


def test_what_cannot_be_read_is_refused(tmp_path):
    text, sound = tmp_path / "text.mp4", write_sound(tmp_path / "sound.mkv")
    text.write_text("no video, but a text\n" * 40)
    os.mkfifo(tmp_path / "pipe.mp4")
    cut = write_video(tmp_path / "cut.mp4", moving_frames(9))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    large = write_video(tmp_path / "large.mkv", moving_frames(1))
    song = write_streams(tmp_path / "song.mp4", COVER)
    for path, options, message in (
        (text, {}, r"text\.mp4 cannot be read as a video: "),
        (cut, {}, r"cut\.mp4 cannot be read as a video: "),
        (tmp_path / "none.mp4", {}, "there is no file"),
        (tmp_path / "pipe.mp4", {}, "there is no file"),
        (tmp_path / "*.none", {"frames": True}, "there are no pictures in"),
        (text, {"rate": 24}, "--frame_rate is about --frames"),
        (large, {"max_pixels": 100}, "over the limit of 100"),
        (sound, {}, r"sound\.mkv holds no video"),
        (song, {}, r"song\.mp4 holds no video"),
    ):
        with pytest.raises(UserError, match=message):
            opened(path, **options)


def test_frames_of_another_size_end_the_clip(tmp_path):
    folder = write_folder(tmp_path / "clip", moving_frames(3))
    Image.fromarray(moving_frames(1, 30, 30)[0]).save(folder / "f9.png")
    frames = opened(folder, frames=True).read(range(1, 9))
    assert next(frames).number == 1
    with pytest.raises(RunError, match=r"frame 2, .*f9\.png, is 30×30, and the first is 56×40"):
        next(frames)


def test_a_truncated_video_gives_what_it_has(tmp_path):
    path = write_video(tmp_path / "clip.mkv", moving_frames(12, 80, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 8 // 10])
    assert 0 < len(all_of(opened(path, allow_truncated=True))) < 12


def test_joined_streams_go_on(tmp_path):
    part = write_video(tmp_path / "part.ts", moving_frames(5)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    times = times_of(opened(tmp_path / "joined.ts"))
    assert len(times) >= 9 and times == pytest.approx([k / 10 for k in range(len(times))], abs=0.002)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("f.%04d.png", ["f.0009.png", "f.0010.png", "f.12345.png"]),
        ("f.####.png", ["f.0009.png", "f.0010.png", "f.12345.png"]),
        ("f.%d.png", ["f.7.png", "f.0009.png", "f.0010.png", "f.12345.png"]),
        ("f.*.png", ["f.7.png", "f.0009.png", "f.0010.png", "f.12345.png", "f.a1.png"]),
        ("g.%04d.png", []),
        ("f#1.png", ["f#1.png"]),
        ("50%d.png", ["50%d.png"]),
    ],
)
def test_frames_are_named_by_a_pattern(tmp_path, pattern, expected):
    for name in (
        "f.0010.png",
        "f.7.png",
        "f.0009.png",
        "f.12345.png",
        "f.a1.png",
        "f#1.png",
        "50%d.png",
        "501.png",
    ):
        (tmp_path / name).touch()
    assert [Path(file).name for file in expand_files(str(tmp_path / pattern))] == expected


def test_the_numbers_of_frames_are_those_of_their_files(tmp_path):
    for names, expected in (
        (["s2_f.1003.png", "s2_f.1005.png"], [1003, 1005]),
        (["f1001_v2.png", "f1002_v2.png"], [1001, 1002]),
        (["a.png", "b.png"], [1, 2]),
    ):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in names:
            Image.new("RGB", (8, 8)).save(folder / name)
        clip = open_clip(str(folder), frames=True)
        assert [clip.name_of(number) for number in (1, 2)] == expected
    assert frame_file("out/f.####.exr", 7) == "out/f.0007.exr"
    assert frame_file("%d.exr", 12345) == "12345.exr"
    assert frame_file("a.%03d.exr", 12345) == "a.12345.exr"
    # Of a gigabyte of digits there is no file name.
    assert is_numbered("%099d.exr") and not is_numbered("%0999999999d.exr")


def test_of_a_folder_only_the_frames_in_question_are_read(tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(5, 16, 16))
    for number in (9, 12):
        (folder / f"f{number}.png").write_bytes(b"no picture")
    clip = opened(folder, frames=True)
    assert [frame.number for frame in clip.read(range(3, 5))] == [3, 4]
    assert [frame.number for frame in clip.read(range(1, 4, 2))] == [1, 3]
    with pytest.raises(RunError, match="frame 2: "):
        all_of(clip)


def test_damage_beyond_the_end_is_not_looked_at(tmp_path):
    path = write_video(tmp_path / "v.mp4", moving_frames(30, 48, 64))
    data = bytearray(path.read_bytes())
    quarter = len(data) // 4
    # Within the frames; their index comes last.
    data[2 * quarter : 3 * quarter] = b"\xff" * quarter
    path.write_bytes(data)
    clip = opened(path)
    assert [frame.number for frame in all_of(clip, 1, 3)] == [1, 2, 3] and not clip.damaged
    assert len(all_of(clip)) == 30 and clip.damaged


def test_an_interlaced_video_is_told(tmp_path):
    for name, options in (("plain", {}), ("woven", {"x264-params": "interlaced=1:tff=1"})):
        clip = opened(write_video(tmp_path / f"{name}.mp4", moving_frames(3, 48, 64), options=options))
        assert any("interlaced" in note for note in clip.notes) == (name == "woven")


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("clip.mp4", "libx264", "yuv420p", {}),
        ("clip.avi", "libx264", "yuv420p", {}),
        ("clip.avi", "mpeg4", "yuv420p", {}),
        ("clip.mp4", "libx265", "yuv420p", {"x265-params": "log-level=none"}),
        ("clip.webm", "libvpx-vp9", "yuv420p", {}),
        ("clip.webm", "libvpx", "yuv420p", {"b": "200k", "auto-alt-ref": "1", "lag-in-frames": "9"}),
        ("clip.mov", "png", "rgb24", {}),
    ],
)
def test_a_damaged_packet_does_not_end_a_clip(tmp_path, name, codec, pixel_format, options):
    """Frames keep their numbers and times, also behind it; what is lost is shown by its neighbour."""
    # Of frames of 32×48, the encoder x265 writes beyond its memory.
    path = write_video(
        tmp_path / name, moving_frames(30, 48, 64), codec=codec, pixel_format=pixel_format, options=options
    )
    whole = opened(path)
    expected = all_of(whole)
    assert len(expected) == 30 and not whole.damaged
    clip = opened(damage(path, 12))
    found = all_of(clip)
    assert [frame.number for frame in found] == list(range(1, 31)) and clip.damaged
    assert [float(frame.time) for frame in found] == pytest.approx([k / 10 for k in range(30)], abs=1e-3)
    assert all((one.pixels == two.pixels).all() for one, two in zip(found[:4], expected[:4], strict=True))
    behind = all_of(opened(path), 25)
    assert [frame.number for frame in behind] == list(range(25, 31))
    for frame, same in zip(behind, found[24:], strict=True):
        assert frame.time == same.time and (frame.pixels == same.pixels).all()
    if codec == "png":
        assert clip.damaged == {13} and (found[12].pixels == found[11].pixels).all()
        assert all(
            (one.pixels == two.pixels).all() for one, two in zip(found[13:], expected[13:], strict=True)
        )


@pytest.mark.parametrize("at", [0, 7])
def test_damage_at_either_end(tmp_path, at):
    path = write_video(tmp_path / "clip.mov", moving_frames(8), codec="png", pixel_format="rgb24")
    clip = opened(damage(path, at))
    found = all_of(clip)
    assert clip.damaged == {at + 1} and [frame.number for frame in found] == list(range(1, 8 + (at == 0)))
    # Before the first that can be decoded there is only that.
    assert (found[0].pixels == found[1].pixels).all() == (at == 0)


def test_a_clip_without_a_whole_frame_is_refused(tmp_path):
    path = write_video(tmp_path / "clip.mov", moving_frames(3), codec="png", pixel_format="rgb24")
    with pytest.raises(RunError, match=r"no frame of .*clip\.mov can be decoded"):
        all_of(opened(damage(path, 0, 1, 2)))


def test_a_video_that_nobody_can_decode(tmp_path):
    path = write_video(tmp_path / "clip.mp4", moving_frames(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"no decoder \(its codec tag is zzz1\); convert it to H\.264"):
            opened(path)
    streams = (moving_frames(3), "libx264", None), (moving_frames(3), "mpeg4", None)
    both = write_streams(tmp_path / "both.mp4", *streams)
    both.write_bytes(both.read_bytes().replace(b"avc1", b"zzz1"))
    assert len(all_of(opened(both))) == 3


def test_sound_that_nobody_can_decode_is_told_at_once(tmp_path):
    path = write_video(tmp_path / "clip.mp4", moving_frames(3), sound="alac")
    assert opened(path).has_audio
    path.write_bytes(path.read_bytes().replace(b"alac", b"zzz2"))
    clip = opened(path)
    assert not clip.has_audio and len(all_of(clip)) == 3
    assert "its sound is left out: FFmpeg has no decoder for it (its codec tag is zzz2)" in clip.notes


COVER = (moving_frames(1, 100, 150, seed=3), "mjpeg", Disposition.attached_pic)


@pytest.mark.parametrize(
    ("suffix", "begins", "attached"), [(".mp4", True, True), (".mkv", True, False), (".mkv", False, False)]
)
def test_a_cover_is_not_the_film(tmp_path, suffix, begins, attached):
    film = (moving_frames(4), "libx264", None)
    cover = COVER if attached else (*COVER[:2], None)
    path = write_streams(tmp_path / f"clip{suffix}", *((cover, film) if begins else (film, cover)))
    near(opened(path), moving_frames(4), 12)


def test_which_of_several_films(tmp_path):
    small, large = moving_frames(2), moving_frames(2, 80, 112)
    path = write_streams(tmp_path / "clip.mkv", (small, "libx264", None), (large, "libx264", None))
    assert all_of(opened(path))[0].pixels.shape == (80, 112, 3)
    streams = (small, "libx264", Disposition.default), (large, "libx264", Disposition(0))
    stated = opened(write_streams(tmp_path / "stated.mkv", *streams))
    assert all_of(stated)[0].pixels.shape == (40, 56, 3)


def discs(count=3, height=48, width=64):
    """Return the opacity of a disc that moves."""
    y, x = np.mgrid[:height, :width]
    return [
        np.where((x - 20 - 6 * k) ** 2 + (y - 24) ** 2 < 200, 255, 0).astype(np.uint8) for k in range(count)
    ]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options"),
    [
        ("matte.mov", "png", "rgba", None),
        ("matte.mov", "qtrle", "argb", None),
        ("matte.mov", "prores_ks", "yuva444p10le", {"profile": "4444"}),
        ("matte.webm", "libvpx-vp9", "yuva420p", None),
        ("matte.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("matte.mkv", "ffv1", "bgra", None),
    ],
)
def test_opacity_is_read(tmp_path, name, codec, pixel_format, options):
    alphas = discs()
    alphas[0][:] = 255
    clip = opened(write_matte(tmp_path / name, alphas, codec, pixel_format, options))
    first, *others = all_of(clip)
    assert clip.has_alpha and first.alpha is None
    for frame, alpha in zip(others, alphas[1:], strict=True):
        assert np.abs(frame.alpha.astype(int) - alpha).mean() < 4 and frame.pixels.shape == (48, 64, 3)
    opaque = [np.full((48, 64), 255, np.uint8)] * 2
    assert not opened(write_matte(tmp_path / f"o-{name}", opaque, codec, pixel_format, options)).has_alpha


def test_opacity_is_turned_with_the_picture(tmp_path):
    path = write_matte(tmp_path / "matte.mov", discs(), "png", "rgba")
    turn(path, 90)
    for frame, alpha in zip(all_of(opened(path)), discs(), strict=True):
        assert (frame.alpha == np.rot90(alpha, -1)).all() and frame.pixels.shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("form", "options", "plays"),
    [
        ("GIF", {}, 1),
        ("GIF", {"loop": 0}, 0),
        ("GIF", {"loop": 2}, 3),
        ("WEBP", {"loop": 0, "lossless": True}, 0),
        ("WEBP", {"loop": 2, "lossless": True}, 2),
        ("PNG", {"loop": 1}, 1),
        ("AVIF", {}, 0),
    ],
)
def test_an_animation_is_read(tmp_path, form, options, plays):
    path = tmp_path / f"clip.{form.lower()}"
    write_animation(path, moving_frames(3), duration=[100, 200, 3000], **options)
    clip = opened(path)
    assert is_clip(str(path)) and clip.count == 3 and clip.plays == plays and clip.length == Fraction(33, 10)
    near(clip, moving_frames(3), 12)
    assert times_of(clip) == pytest.approx([0, 0.1, 0.3])
    assert clip.shown_last(3, Fraction(3, 10), 1) == 3
    assert clip.shown_last(1, Fraction(0), 1) == Fraction(11, 10)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_still_picture_of_an_animation_is_no_frame(tmp_path, mode):
    blue, shown = Image.new("RGBA", (32, 24), (0, 0, 255, 255)), []
    for k in range(3):
        red = (250 - 40 * k, 0, 0, 255)
        shown.append(Image.new("RGBA", (32, 24), (0, 0, 0, 0) if mode == "RGBA" else red))
        shown[-1].paste(red, (8, 8, 20, 20))
    path = tmp_path / "hidden.png"
    # Laid over what was there before, as by programs that save bytes.
    over = {"blend": 1, "disposal": 1} if mode == "RGBA" else {}
    pictures = [picture.convert(mode) for picture in (blue, *shown)]
    write_animation(path, pictures, default_image=True, duration=100, **over)
    clip = opened(path)
    frames = all_of(clip)
    assert is_clip(str(path)) and clip.count == len(frames) == 3 and clip.length == Fraction(3, 10)
    for k, frame in enumerate(frames):
        assert (frame.pixels[12, 12] == (250 - 40 * k, 0, 0)).all() and frame.pixels[..., 2].max() == 0
        assert (frame.alpha is not None) == (mode == "RGBA")
    assert clip.has_alpha == (mode == "RGBA")
    assert (load_image(path).pixels[12, 12] == (250, 0, 0)).all()


def test_a_frame_beyond_the_canvas_is_cut_to_it(tmp_path):
    encoded = io.BytesIO()
    write_animation(encoded, moving_frames(2), format="GIF", optimize=False)
    data = bytearray(encoded.getvalue())
    # The canvas: narrower than its frames.
    frames = [at for at in range(len(data) - 9) if data[at : at + 9] == b",\0\0\0\0" + bytes([56, 0, 40, 0])]
    data[frames[0] + 5] = data[6] = 56
    data[frames[1] + 1] = 5
    path = tmp_path / "clip.gif"
    path.write_bytes(data)
    assert {frame.pixels.shape for frame in all_of(opened(path))} == {(40, 56, 3)}


def test_an_animation_that_is_cut_short(tmp_path):
    path = tmp_path / "clip.gif"
    write_animation(path, moving_frames(6), duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(UserError, match=r"frame \d of \d: .*clip\.gif"):
        opened(path)
    clip = opened(path, allow_truncated=True)
    assert 1 < clip.count < 6 and len(all_of(clip)) == clip.count
    assert any("is the last that is read" in note for note in clip.notes)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_a_clip_is_hashed_once_and_read_from_its_key_frames(tmp_path, monkeypatch, name):
    path = write_video(tmp_path / name, moving_frames(60, 24, 32), options={"g": "15", "bf": "2"})
    first = opened(path)
    whole = all_of(first)
    assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    hashed = count_calls(monkeypatch, hashlib, "file_digest")
    decoded = count_calls(monkeypatch, film, "time_of")
    for start in (16, 31, 40, 46, 58):
        clip = opened(path)
        frame = next(clip.read(range(start, 100)))
        assert clip.sha256 == first.sha256
        assert frame.number == start and frame.time == whole[start - 1].time
        assert (frame.pixels == whole[start - 1].pixels).all()
    assert not hashed and len(decoded) < 5 * 25
    # Another file of that name is another clip.
    write_video(path, moving_frames(20, 24, 32, seed=1))
    assert opened(path).sha256 != first.sha256 and len(all_of(opened(path))) == 20
