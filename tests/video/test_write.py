"""Clips are written: colours, odd sides, times, sound; never half of one."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import damage, moving_frames, read_video, write_folder, write_video
from PIL import Image

from neural_style_tf.errors import UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.video import write
from neural_style_tf.video.read import open_clip
from neural_style_tf.video.write import check_clip_output, write_clip


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a clip, ten frames a second, and returns its path and the notes."""

    def writing(frames, name="out.mp4", **options):
        files = [Path(file) for file in expand_files(str(write_folder(tmp_path / "frames", frames)))]
        options = {"times": [Fraction(k, 10) for k in range(len(frames))], "last": Fraction(1, 10)} | options
        notes = write_clip(tmp_path / name, files, options.pop("times"), **options)
        return tmp_path / name, notes

    return writing


@pytest.mark.parametrize(("pixel_format", "shape"), [("yuv420p", (42, 58)), ("yuv444p", (41, 57))])
def test_odd_sides_and_colours(written, pixel_format, shape):
    flat = np.empty((41, 57, 3), np.uint8)
    flat[:] = (200, 60, 30)
    frames, times, _ = read_video(written([flat] * 5, pixel_format=pixel_format)[0])
    assert [frame.shape[:2] for frame in frames] == [shape] * 5
    assert np.abs(frames[2].astype(int) - (200, 60, 30)).max() <= 4
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_uneven_times_the_last_frames_own_and_tags(written, suffix):
    tags = {"title": "Grüße", "artist": "A", "copyright": "C", "creation_time": "2020-01-02T03:04:05.000000Z"}
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 5), Fraction(1, 2)]
    path, _ = written(moving_frames(4), f"out{suffix}", times=times, last=Fraction(3), tags=tags)
    assert read_video(path)[1] == pytest.approx([0, 0.1, 0.2, 0.5], abs=2e-3)
    with av.open(str(path)) as opened:
        assert tags.items() <= {name.lower(): text for name, text in opened.metadata.items()}.items()
        *_, last = opened.decode(video=0)
        assert float(last.duration * last.time_base) == pytest.approx(3, abs=2e-3)


@pytest.mark.parametrize(
    ("sound", "broken"),
    [("aac", ""), ("flac", ""), ("flac", "damaged"), ("alac,aac", "first"), ("aac,alac", "second")],
)
def test_the_sound_of_the_part_that_is_painted(tmp_path, written, sound, broken):
    """A phone's file has sound for its own programs beside the usual one; damaged parts are silent."""
    suffix = ".mov" if "," in sound else ".mkv"
    source = write_video(tmp_path / f"source{suffix}", moving_frames(20, 16, 16), sound=sound)
    if broken == "damaged":
        damage(source, 12, kind="audio")
    source.write_bytes(source.read_bytes().replace(b"alac", b"apac"))
    path, notes = written(moving_frames(10), sound=source, begin=Fraction(1, 2))
    _, times, seconds = read_video(path)
    assert len(times) == 10 and seconds == pytest.approx(1, abs=0.2 if broken == "damaged" else 0.06)
    assert not notes


@pytest.mark.parametrize("fault", ["at once", "later", "gone"])
def test_sound_that_cannot_be_used_is_left_out(tmp_path, written, monkeypatch, fault):
    source = write_video(tmp_path / "source.mkv", moving_frames(4), sound="flac")

    def fail(*args):
        if fault == "later":
            yield Fraction(1, 10), []
        raise AttributeError("'NoneType' object has no attribute 'name'")

    if fault == "gone":
        source.unlink()
    else:
        monkeypatch.setattr(write, "_sound_packets", fail)
    path, [note] = written(moving_frames(3), sound=source)
    assert f"is without the sound of {source}, which cannot be used: " in note
    frames, _, seconds = read_video(path)
    assert len(frames) == 3 and seconds == 0


@pytest.mark.parametrize("first_is_damaged", [True, False])
def test_sound_is_in_time_with_a_clip_that_begins_late(tmp_path, first_is_damaged):
    source = write_video(tmp_path / "source.mov", moving_frames(6), codec="png", pixel_format="rgb24")
    if first_is_damaged:
        damage(source, 0)
    assert write._first_stamp(source) == 0


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


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_an_animation_is_shown_as_often_as_its_source(written, suffix, plays):
    """Durations are rounded in sum, not each by itself."""
    times, tags = [Fraction(k, 30) for k in range(12)], {"comment": "by hand"}
    frames = moving_frames(12, 16, 16)
    path, _ = written(frames, f"out{suffix}", times=times, plays=plays, tags=tags)
    clip = open_clip(str(path), max_pixels=10**6, allow_truncated=False)
    # The last is shown for a tenth.
    assert clip.plays == plays and clip.count == 12
    assert float(clip.length) == pytest.approx(11 / 30 + 0.1, abs=0.01)
    if suffix == ".gif":
        with Image.open(path) as picture:
            assert picture.info["comment"] == b"by hand"
