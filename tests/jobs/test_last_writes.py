"""The writing of each kind of output fails at its last step: what was painted is readable, and is named."""

import errno
import fnmatch
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clips import moving_frames, write_video
from PIL import Image

from neural_style_tf.images import deep
from neural_style_tf.runs import callbacks, clip_files, manifest, tensorboard
from neural_style_tf.utils import files
from neural_style_tf.video import write

SHALLOW = ("--content_layers=relu1_1", "--style_layers=relu1_1", "--log_every=1", "--output_dir=o")
PICTURE = (*SHALLOW, "--iterations=2", "--save_every=0")
CLIP = (*SHALLOW, "--iterations=2", "--content=clip.mp4", "--init=content")
SWEEP = (*PICTURE, "--sweep=tv_weight=0,5")


def disk(pattern, code=errno.ENOSPC):
    """Let no file whose name matches get it."""

    def broken(monkeypatch):
        move = files._move_into_place

        def fail(file, temporary, path):
            if fnmatch.fnmatch(path.name, pattern):
                raise OSError(code, os.strerror(code), str(temporary))
            move(file, temporary, path)

        monkeypatch.setattr(files, "_move_into_place", fail)

    return broken


def fails(owner, name, error=None, when=lambda given: True):
    """Let a function raise when its last argument is such."""

    def broken(monkeypatch):
        function = getattr(owner, name)

        def fail(*given, **named):
            if when(given[-1]):
                raise error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*given, **named)

        monkeypatch.setattr(owner, name, fail)

    return broken


def at_last(record):
    return record.step == 2


FULL = tf.errors.ResourceExhaustedError(None, None, "o/x.tempstate; No space left on device")
ODD = ValueError("encoder error -2")
RESULT, ELSEWHERE = r"is painted is in (o/result\.png)$", r"the picture is in (\S+/elsewhere/\S+)$"
COPY = r"the picture is in (o/result\.png)$"
PICTURES = {
    "result.png, full": (disk("result.png"), [], ELSEWHERE),
    "result.png, denied": (disk("result.png", errno.EACCES), [], ELSEWHERE),
    "result.png, encoder": (fails(Image.Image, "save", ODD), [], ELSEWHERE),
    "result.png, but --output": (disk("result.png"), ["--output=x.png"], r"the picture is in (x\.png)$"),
    "--output": (disk("x.*"), ["--output=x.jpg"], COPY),
    "16 bits": (disk("x.tif", errno.EDQUOT), ["--output=x.tif", "--bits=16"], COPY),
    "16 bits, encoder": (fails(deep, "encode", ODD), ["--output=x.tif", "--bits=16"], ELSEWHERE),
    "images": (disk("step-000002.png"), ["--save_every=1"], RESULT),
    "metrics": (fails(callbacks.Metrics, "on_step", when=at_last), [], RESULT),
    "metrics, not at the end": (
        fails(callbacks.Metrics, "on_step", when=lambda record: record.step == 1),
        ["--iterations=40"],
        RESULT,
    ),
    "checkpoint": (fails(tf.train.Checkpoint, "write", FULL), ["--save_every=2"], RESULT),
    "TensorBoard": (fails(tensorboard.Curves, "on_step", FULL, when=at_last), [], RESULT),
    "TensorBoard, closed": (fails(tensorboard.Curves, "on_end", FULL), [], RESULT),
    "run.json": (fails(manifest.ManifestWriter, "finish"), [], RESULT),
}
FRAMES, PLAYED = r"the frames are in (o/frames)$", r"the clip is in (o/result\.mp4)$"
CLIPS = {
    "result.mp4": (disk("result.mp4"), [], FRAMES),
    "result.mp4, encoder": (fails(write, "_write_video", ODD), [], FRAMES),
    "--output, a container": (disk("x.*"), ["--output=x.mkv"], PLAYED),
    "--output, an animation": (disk("x.*"), ["--output=x.webp"], PLAYED),
    "result.mp4, but --output": (disk("result.mp4"), ["--output=x.gif"], r"the clip is in (x\.gif)$"),
    "animation, encoder": (
        fails(Image.Image, "save", ODD, when=lambda kind: kind == "GIF"),
        ["--output=x.gif"],
        PLAYED,
    ),
    "frame": (disk("frame-000002.png"), [], ELSEWHERE),
    "state": (disk("frame-000002.npz"), [], r"is painted is in (o/frames)$"),
    "metrics": (fails(callbacks.Metrics, "on_step", when=at_last), [], r"is painted is in (o/frames)$"),
    "progress": (
        fails(clip_files.FrameProgress, "on_step", when=at_last),
        [],
        r"is painted is in (o/frames)$",
    ),
}


@pytest.fixture
def ending(job, tmp_path, monkeypatch, capsys):
    """Return a function that runs a job with a broken writer and returns where the painting is said to be."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(callbacks.tempfile, "tempdir", str(tmp_path / "elsewhere"))

    def run(broken, said, *flags):
        broken(monkeypatch)
        assert job(*flags) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and "Traceback" not in lines[0], lines
        return Path(re.search(said, lines[0])[1])

    return run


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture(ending, case):
    broken, flags, said = PICTURES[case]
    found = ending(broken, said, *PICTURE, *flags)
    if found.suffix == ".npy":
        assert np.load(found).shape == (48, 64, 3)
    else:
        with Image.open(found) as picture:
            assert np.asarray(picture).shape == (48, 64, 3)
    assert not [path for path in Path().rglob(".*") if path.is_file()]


@pytest.mark.parametrize("case", CLIPS)
def test_a_clip(ending, tmp_path, case):
    write_video(tmp_path / "clip.mp4", moving_frames(2, 48, 64))
    broken, flags, said = CLIPS[case]
    found = ending(broken, said, *CLIP, *flags)
    for path in found.glob("*.png") if found.is_dir() else [found] if found.suffix == ".png" else []:
        with Image.open(path) as picture:
            assert np.asarray(picture).shape == (48, 64, 3)
    assert found.exists() and (found.is_file() or len(list(found.iterdir())) == 2)


@pytest.mark.parametrize("name", ["table.csv", "index.html", "sheet.jpg"])
def test_a_sweep(ending, name):
    said = rf"(o/{name}) could not be written: .*; the results are beside it$"
    assert not ending(disk(name), said, *SWEEP).exists()
    assert len(list(Path("o").glob("*/result.png"))) == 2
    assert sum((Path("o") / one).exists() for one in ("table.csv", "index.html", "sheet.jpg")) == 2
