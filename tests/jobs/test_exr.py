"""OpenEXR on the command line: a photo, a clip of frames, resumed, sizes, mistakes, a full disk."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from clips import moving_frames, write_video
from PIL import Image

OpenEXR = pytest.importorskip("OpenEXR")

from neural_style_tf.images import write as write_module  # noqa: E402

LAYERS = ("--content_layers=relu1_2", "--style_layers=relu1_1")
QUICK = (*LAYERS, "--optimizer=adam", "--init=content", "--iterations=3")
SIZE = (48, 64)


def write_exr(path, pixels, number=0):
    """Write a photo of light 0–2 with a lamp of 20, opacity and depth."""
    light = pixels.astype(np.float32) / 128
    light[8:20, 30:44] = (20, 16, 12)
    alpha = np.ones(pixels.shape[:2], np.float16)
    alpha[:, :9] = np.linspace(0, 0.9, 9)
    channels = {name: (light[..., c] * alpha).astype(np.float16) for c, name in enumerate("RGB")}
    channels |= {"A": alpha, "Z": np.full(pixels.shape[:2], 7.5 + number, np.float32)}
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, "shot": f"take {number}"}
    OpenEXR.File(header, channels).write(str(path))


@pytest.fixture
def shots(tmp_path):
    """Write `in/f.1001.exr`, …, of which 1003 is missing."""
    (tmp_path / "in").mkdir()
    for number, pixels in zip((1001, 1002, 1004), moving_frames(3, *SIZE), strict=True):
        write_exr(tmp_path / "in" / f"f.{number}.exr", pixels, number)
    return tmp_path / "in"


def read(path):
    return OpenEXR.File(str(path), separate_channels=True)


def values(path, *names):
    channels = read(path).channels()
    return [channels[name].pixels for name in names]


def check_kept(path, before):
    """Check what a painting has of its photo; return its red."""
    after, before = read(path), read(before)
    assert list(after.channels()) == list(before.channels())
    for name in ("A", "Z"):
        np.testing.assert_array_equal(after.channels()[name].pixels, before.channels()[name].pixels)
    assert after.header()["shot"] == before.header()["shot"]
    red = after.channels()["R"].pixels
    assert red.dtype == np.float16 and not np.array_equal(red, before.channels()["R"].pixels)
    assert red[:, 0].max() == 0, "nothing shows where the photo is transparent"
    assert red[10:18, 32:42].mean() > 5, "the lamp no longer shines"
    return red


def test_a_photo_and_its_resumed_painting(job, shots, capsys):
    photo = shots / "f.1001.exr"
    assert job(f"--content={photo}", *QUICK, "--output_dir=o", "--output=a.exr") == 0
    check_kept("a.exr", photo)
    # What the network painted is a picture for the screen.
    with Image.open("o/result.png") as shown:
        assert shown.size == SIZE[::-1] and shown.mode == "RGBA"
    before = Path("a.exr").read_bytes()
    assert job(f"--content={photo}", *QUICK, "--output_dir=o", "--output=a.exr", "--resume") == 0
    assert Path("a.exr").read_bytes() == before
    capsys.readouterr()
    small = (f"--content={photo}", *QUICK, "--output_dir=small", "--output=small.exr", "--image_size=32")
    assert job(*small) == 0
    assert "small.exr: Z of" in capsys.readouterr().out
    assert list(read("small.exr").channels()) == ["A", "B", "G", "R"]
    red, alpha = values("small.exr", "R", "A")
    assert red.shape == (24, 32) and red.max() > 10 and alpha.min() < 0.2


def test_other_formats_and_exr_mix(job, shots, capsys):
    photo = shots / "f.1001.exr"
    # c.png, the photo of the fixture, as light; and a photo of light for the screen.
    assert job(*QUICK, "--output_dir=o1", "--output=a.exr") == 0
    assert all(0 <= plane.min() <= plane.max() <= 1 for plane in values("a.exr", "R", "G", "B"))
    assert job(f"--content={photo}", *QUICK, "--output_dir=o2", "--output=b.tif") == 0
    assert job(f"--style={photo}", f"--init={photo}", *LAYERS, "--iterations=1", "--output_dir=o3") == 0


@pytest.mark.parametrize(("content", "output"), [("in/f.%04d.exr", "out.####.exr"), ("in", "out.%d.exr")])
def test_frames_keep_their_numbers(job, shots, content, output, capsys):
    clip = (f"--content={content}", "--frames", *QUICK)
    assert job(*clip, "--output_dir=o", f"--output={output}") == 0
    assert "transparency" not in capsys.readouterr().out
    assert sorted(path.name for path in Path().glob("out*")) == [f"out.{n}.exr" for n in (1001, 1002, 1004)]
    for number in (1001, 1002, 1004):
        check_kept(f"out.{number}.exr", shots / f"f.{number}.exr")
    assert Path("o/result.mp4").exists() and len(list(Path("o/frames").iterdir())) == 3


def test_frames_go_on_with_the_same_bits(job, shots, capsys):
    clip = ("--content=in/f.####.exr", "--frames", *QUICK)
    assert job(*clip, "--output_dir=whole", "--output=whole.%04d.exr") == 0
    part = (*clip, "--output_dir=half", "--output=half.%04d.exr")
    assert job(*part, "--end_frame=2") == 0
    assert not Path("half.1004.exr").exists()
    assert job(*part, "--resume") == 0
    for number in (1001, 1002, 1004):
        assert Path(f"half.{number}.exr").read_bytes() == Path(f"whole.{number}.exr").read_bytes()
    assert "not written" not in capsys.readouterr().out
    assert job(*clip, "--output_dir=half", "--output=late.%04d.exr", "--resume") == 0
    assert "--output: 3 frames were painted before and are not written there" in capsys.readouterr().out


def test_frames_of_an_older_longer_run_stay_and_are_named(job, shots, capsys):
    for number in (1002, 1004, 1005, 1006, 77):
        Path(f"f.{number}.exr").write_bytes(b"mine")
    clip = ("--content=in", "--frames", *QUICK, "--output_dir=o", "--output=f.%04d.exr", "--overwrite")
    assert job(*clip, "--end_frame=1") == 0
    told = "--output: frames that this run does not write stay there: {}; remove those of an older run"
    lines = capsys.readouterr().out.splitlines()
    assert told.format("f.1002.exr, f.1004.exr, f.1005.exr, …") in lines
    assert {Path(f"f.{number}.exr").read_bytes() for number in (1002, 1004, 1005, 1006)} == {b"mine"}
    assert job(*clip) == 0
    assert told.format("f.1005.exr, f.1006.exr") in capsys.readouterr().out.splitlines()


def test_frames_whose_windows_move_and_a_mask_of_frames(job, shots):
    (shots.parent / "matte").mkdir()
    for number, left in ((1001, 0), (1002, 8), (1004, 4)):
        file = read(shots / f"f.{number}.exr")
        window = (np.array([left, 0], np.int32), np.array([left + 63, 47], np.int32))
        file.header()["dataWindow"] = window
        file.write(str(shots / f"f.{number}.exr"))
        # White is 1, and grey would be 0.5: masks are the values themselves.
        matte = np.zeros((48, 72), np.float16)
        matte[:, 36:] = 1
        header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
        OpenEXR.File(header, {"Y": matte}).write(f"matte/m.{number}.exr")
    clip = ("--content=in", "--frames", "--content_mask=matte/m.%04d.exr", *QUICK)
    assert job(*clip, "--output_dir=o", "--output=out.%04d.exr") == 0
    with Image.open("o/frames/frame-000001.png") as frame:
        assert frame.size == (72, 48)
    for number, left in ((1001, 0), (1002, 8), (1004, 4)):
        after, before = read(f"out.{number}.exr"), read(shots / f"f.{number}.exr")
        np.testing.assert_array_equal(after.header()["dataWindow"], before.header()["dataWindow"])
        reds = [file.channels()["R"].pixels for file in (after, before)]
        np.testing.assert_array_equal(reds[0][:, : 36 - left], reds[1][:, : 36 - left])
        assert not np.array_equal(*reds)


def test_frames_of_another_format_and_size(job, shots, capsys):
    clip = ("--content=in", "--frames", *QUICK, "--end_frame=1")
    assert job(*clip, "--output_dir=o", "--output=a.%03d.png") == 0
    assert Path("a.1001.png").read_bytes() == Path("o/frames/frame-000001.png").read_bytes()
    write_video(Path("shot7.mp4"), moving_frames(2, *SIZE))
    assert job("--content=shot7.mp4", *QUICK, "--output_dir=o3", "--output=c.%03d.exr") == 0
    assert values("c.002.exr", "R")[0].max() <= 1
    capsys.readouterr()
    assert job(*clip, "--output_dir=o2", "--output=b.%03d.exr", "--image_size=40") == 0
    assert "Z of in are left out" in capsys.readouterr().out
    assert values("b.1001.exr", "R")[0].shape == (30, 40)


def test_mistakes_are_found_at_once(job, shots, capsys):
    clip = ("--content=in/f.%04d.exr", "--frames", *QUICK, "--output_dir=o")
    Path("there.1001.exr").write_bytes(b"mine")
    (shots.parent / "mattes").mkdir()
    for number in range(1001, 1005):
        Image.new("L", SIZE[::-1], 255).save(shots.parent / "mattes" / f"m.{number}.png")
    for change, message in (
        (("--output=in/f.%04d.exr", "--overwrite"), "f.1001.exr is read and would be overwritten"),
        (("--output=there.%d.exr",), "--output: there.1001.exr exists"),
        (("--content_mask=mattes",), "--content_mask: the files of mattes are numbered otherwise than the"),
        (("--output=no/f.%04d.exr",), "there is no folder no"),
        (("--output=f.%04d.exx",), "has the suffix .exx"),
        (("--output=f.exr",), "a clip can be written as .mp4"),
        (("--output=f.%04d.exr", "--jobs=2"), "pictures of frames are written by one process"),
        (("--content=in/g.%04d.exr",), "there are no pictures in in/g.%04d.exr"),
    ):
        assert job(*clip, *change) == 2, change
        assert message in capsys.readouterr().err
    assert Path("there.1001.exr").read_bytes() == b"mine"
    for content, output in (
        ("in", "in/new.%04d.exr"),
        ("in/*.exr", "in/new.####.exr"),
        ("in", "./in/a.webp"),
    ):
        assert job(f"--content={content}", "--frames", *QUICK, "--output_dir=o", f"--output={output}") == 2
        assert f"--output: {output} would be among the frames of {content}" in capsys.readouterr().err
    assert job(*QUICK, "--output_dir=o", "--output=x.%04d.exr") == 2
    assert (
        "--output: x.%04d.exr names the frames of a clip, and this is one picture" in capsys.readouterr().err
    )
    (shots / "f.1001.exr").write_bytes((shots / "f.1001.exr").read_bytes()[:700])
    assert job(*clip) == 2
    error = capsys.readouterr().err
    assert "cut short or damaged" in error and len(error.splitlines()) == 1


def test_a_full_disk_loses_nothing(job, shots, capsys, monkeypatch):
    write = write_module._write

    def full(path, *arguments):
        if str(path) == "out.1002.exr":
            raise write_module.RunError(f"{path} could not be written: {os.strerror(errno.ENOSPC)}")
        write(path, *arguments)

    clip = ("--content=in", "--frames", *QUICK, "--output_dir=o", "--output=out.%04d.exr")
    with monkeypatch.context() as patched:
        patched.setattr(write_module, "_write", full)
        assert job(*clip) == 1
    error = capsys.readouterr().err
    assert (
        "out.1002.exr could not be written: No space left on device" in error
        and "frames/frame-000002.png" in error
    )
    assert Path("out.1001.exr").exists() and not Path("out.1002.exr").exists()
    assert job(*clip, "--resume") == 0
    check_kept("out.1002.exr", shots / "f.1002.exr")


def test_a_photo_that_has_gone_can_be_painted_once_it_is_back(job, shots, capsys, monkeypatch):
    from neural_style_tf.runs import callbacks

    photo, data = shots / "f.1001.exr", (shots / "f.1001.exr").read_bytes()
    on_step = callbacks.Result.on_step

    def removing(self, record):
        photo.unlink(missing_ok=True)
        on_step(self, record)

    command = (f"--content={photo}", *QUICK, "--output_dir=o", "--output=a.exr")
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.Result, "on_step", removing)
        assert job(*command) == 1
    assert "cannot be read again" in capsys.readouterr().err
    photo.write_bytes(data)
    assert job(*command, "--resume") == 0
    check_kept("a.exr", photo)


def test_a_later_part_of_a_clip_is_written_beside_an_earlier_one(job, shots):
    flags = ("--content=in/f.%04d.exr", "--frames", *QUICK, "--output=part.%04d.exr")
    assert job(*flags, "--end_frame=2", "--output_dir=a") == 0
    assert job(*flags, "--start_frame=3", "--output_dir=b") == 0
    assert sorted(path.name for path in Path().glob("part.*")) == [
        f"part.{n}.exr" for n in (1001, 1002, 1004)
    ]
    assert job(*flags, "--start_frame=2", "--output_dir=c") == 2


def test_pictures_of_other_formats_may_be_among_the_frames(job, shots):
    with Image.new("RGB", SIZE[::-1], "teal") as picture:
        picture.save(shots / "f.1003.png")
    flags = ("--content=in", "--frames", *QUICK, "--output_dir=o", "--output=mixed.%04d.exr")
    assert job(*flags) == 0
    assert list(read("mixed.1003.exr").channels()) == ["B", "G", "R"]
    check_kept("mixed.1004.exr", shots / "f.1004.exr")


def test_frames_behind_a_link_are_those_of_the_resumed_run(job, shots):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    flags = ("--content=in/f.%04d.exr", "--frames", *QUICK, "--output_dir=o", "--output=link/f.%04d.exr")
    assert job(*flags, "--end_frame=2") == 0
    assert job(*flags, "--end_frame=3", "--resume") == 0
    assert len(list(Path("real").iterdir())) == 3
