"""Clips are written: colours, odd sides, times, sound; never half of one."""

from fractions import Fraction

import numpy as np
import pytest
from clips import moving_frames, read_video, write_folder, write_video
from PIL import Image

from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.video import write
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


@pytest.mark.parametrize("error", [ValueError("no match"), RunError("no rate")])
def test_sound_that_cannot_be_used_is_left_out(tmp_path, monkeypatch, error):
    source = write_video(tmp_path / "source.mkv", moving_frames(4), sound="flac")
    folder = write_folder(tmp_path / "frames", moving_frames(3))
    files, times = [folder / f"f{number}.png" for number in (8, 9, 10)], [Fraction(k, 10) for k in range(3)]

    def fail(*given, **named):
        raise error

    monkeypatch.setattr(write._Sound, "write_until", fail)
    [note] = write_clip(tmp_path / "out.mp4", files, times, last=Fraction(1, 10), sound=source)
    assert f"is without the sound of {source}, which cannot be used: {error}" in note
    frames, _, seconds = read_video(tmp_path / "out.mp4")
    assert len(frames) == 3 and seconds == 0


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
