"""Clips on the command line: files, resume, repeats, interruptions, mistakes."""

import contextlib
import errno
import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from clips import (
    count_calls,
    damage,
    moving_frames,
    read_video,
    write_animation,
    write_folder,
    write_matte,
    write_video,
)
from command_line import read_metrics, write_picture
from PIL import Image

from neural_style_tf.cli import flags
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.jobs import clip as clip_module
from neural_style_tf.jobs.clip import moving_mask
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.runs import clip_files
from neural_style_tf.video import film, write
from neural_style_tf.video.read import open_clip

LAYERS = ("--content_layers=relu1_2", "--style_layers=relu1_1")
QUICK = (*LAYERS, "--optimizer=adam", "--init=content", "--iterations=3", "--quiet")
CLIP = ("--content=clip.mp4", *QUICK)
SIZE = (48, 64)


@pytest.fixture
def clip(tmp_path):
    """Write `clip.mp4`, of five frames with sound."""
    return write_video(tmp_path / "clip.mp4", moving_frames(5, *SIZE), sound="aac")


def frames(folder="o"):
    return {path.name: path.read_bytes() for path in sorted(Path(folder, "frames").iterdir())}


def facts(folder="o"):
    return json.loads(Path(folder, "run.json").read_text())


def test_a_video_becomes_a_video(job, clip):
    assert job(*CLIP, "--output_dir=o", "--output=mine.webp") == 0
    assert list(frames()) == [f"frame-{number:06d}.png" for number in range(1, 6)]
    painted, times, seconds = read_video("o/result.mp4")
    assert len(painted) == 5 and painted[0].shape == (*SIZE, 3)
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert seconds == pytest.approx(0.5, abs=0.06)
    assert Path("mine.webp").exists() and not Path("o/result.png").exists()
    rows = read_metrics("o")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["time"] for row in rows] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert rows[0]["reliable"] == 0 and all(row["reliable"] > 0.5 for row in rows[1:])
    assert all(row["iterations"] <= 3 and row["total"] > 0 for row in rows)
    assert facts()["status"] == "finished" and facts()["steps"] == 5
    # By its flags and by its manifest it is the same again.
    for number, again in enumerate(("--flagfile=o/flags.txt", "--from_run=o/run.json")):
        assert job.bare(again, f"--output_dir=again{number}", "--quiet") == 0
        assert frames(f"again{number}") == frames()


def test_it_goes_on_with_the_same_bits(job, clip, capsys):
    assert job(*CLIP, "--output_dir=o", "--long_term=1,2") == 0
    part = (*CLIP, "--output_dir=half", "--long_term=1,2")
    assert job(*part, "--end_frame=3") == 0
    assert len(read_video("half/result.mp4")[0]) == 3
    # A newer frame whose state was not written, and a state that is damaged.
    Path("half/frames/frame-000004.png").write_bytes(b"half")
    Path("half/checkpoints/frame-000003.npz").write_bytes(b"half")
    assert job(*part, "--resume") == 0
    assert frames("half") == frames()
    assert [row["step"] for row in read_metrics("half")] == [1, 2, 3, 4, 5]
    assert len(read_video("half/result.mp4")[0]) == 5
    # Nothing is left to paint.
    assert job(*part, "--resume") == 0 and frames("half") == frames()
    Path("flow").mkdir()
    capsys.readouterr()
    for change, message in (
        ("--long_term=1", "--long_term was [1, 2], now [1]"),
        ("--iterations=4", "--iterations was 3, now 4"),
        ("--stretch_contrast", "--stretch_contrast was False, now True: it counts for the whole clip"),
        ("--end_frame=2", "has painted frame 5 already: --end_frame=2 is before it"),
        ("--flow=flow", "there is no flow/backward_2_1.flo"),
    ):
        assert job(*part, "--resume", change) == 2
        assert message in capsys.readouterr().err
    for path in Path("half/checkpoints").iterdir():
        path.write_bytes(b"")
    assert job(*part, "--resume") == 2
    assert "left no state that can be read" in capsys.readouterr().err
    assert frames("half") == frames()


@pytest.fixture
def interrupted(monkeypatch):
    """Return a context in which Ctrl-C comes as soon as the second frame is written."""

    @contextlib.contextmanager
    def context():
        on_step = clip_files.Frames.on_step

        def interrupting(self, record):
            on_step(self, record)
            if record.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as changed:
            changed.setattr(clip_files.Frames, "on_step", interrupting)
            yield

    return context


def test_an_interrupted_clip_can_be_played_and_continued(job, clip, interrupted):
    run = (*CLIP, "--output_dir=o", "--output=mine.mkv")
    with interrupted():
        assert job(*run) == 130
    assert not Path("mine.mkv").exists() and facts()["status"] == "interrupted"
    assert len(read_video("o/result.mp4")[0]) == 2
    assert job(*run, "--resume") == 0
    assert Path("mine.mkv").exists() and len(frames()) == 5
    # If the last frame was done, nothing was interrupted.
    with interrupted():
        assert job(*CLIP, "--end_frame=2", "--output_dir=two", "--output=mine.mp4") == 0
    assert facts("two")["status"] == "finished" and len(read_video("mine.mp4")[0]) == 2


def test_an_interrupted_sweep_of_clips_goes_on(job, clip, interrupted):
    run = (*CLIP, "--sweep=temporal_weight=0,5", "--end_frame=3", "--output_dir=o")
    with interrupted():
        assert job(*run) == 130
    painted = Path("o/temporal_weight=0/frames/frame-000001.png")
    before = painted.stat().st_mtime_ns
    assert job(*run) == 0
    assert painted.stat().st_mtime_ns == before
    assert len(frames("o/temporal_weight=0")) == len(frames("o/temporal_weight=5")) == 3
    assert "result.mp4" in Path("o/index.html").read_text()


def test_frames_of_a_folder(job, tmp_path, capsys):
    folder = write_folder(tmp_path / "shots", moving_frames(6, *SIZE))
    (folder / "f13.png").write_bytes(b"no picture")
    run = ("--content=shots", "--frames", *QUICK, "--start_frame=2", "--every=2", "--output_dir=o")
    assert job(*run, "--end_frame=4", "--frame_rate=10") == 0
    for more in ((), ("--dry_run",)):
        assert job(*run, "--resume", "--frame_rate=30", *more) == 2
    assert "--frame_rate was 10.0, now 30.0" in capsys.readouterr().err
    # The clip of what was painted is there.
    assert job(*run, "--resume", "--frame_rate=10") == 1
    assert "frame 6: " in capsys.readouterr().err
    assert list(frames()) == ["frame-000002.png", "frame-000004.png"]
    assert read_video("o/result.mp4")[1] == pytest.approx([0, 0.2], abs=1e-3)


def test_what_is_read_is_not_removed_to_be_painted_again(job, clip, capsys):
    assert job(*CLIP, "--end_frame=1", "--output_dir=o") == 0
    before = frames()
    other = [flag for flag in CLIP if "init" not in flag]
    for again in (("--content=o/frames", "--frames", *QUICK), (*other, "--init=o/frames/frame-000001.png")):
        assert job(*again, "--output_dir=o", "--overwrite") == 2
        assert "is read, and --overwrite would remove it" in capsys.readouterr().err
    assert frames() == before


def test_a_failure_to_write_leaves_what_is_painted(job, clip, monkeypatch, capsys):
    """A full disk, first for a frame, then for the clip."""
    save, full = clip_files.save_picture, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(path, *args):
        if path.name == "frame-000003.png":
            raise full
        save(path, *args)

    with monkeypatch.context() as changed:
        changed.setattr(clip_files, "save_picture", fail)
        assert job(*CLIP, "--output_dir=o") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(frames()) == ["frame-000001.png", "frame-000002.png"]

    def fail_to_encode(*args, **named):
        raise full

    with monkeypatch.context() as changed:
        changed.setattr(clip_module, "write_clip", fail_to_encode)
        assert job(*CLIP, "--output_dir=o", "--resume") == 1
    assert len(frames()) == 5
    assert job(*CLIP, "--output_dir=o", "--resume") == 0
    assert facts()["status"] == "finished" and facts()["steps"] == 5 and facts()["final"]["total"] > 0
    assert len(read_video("o/result.mp4")[0]) == 5


def halves(count, black=()):
    """Return masks, uint8 [H, W, 3], whose border moves, and their opposites; black in some frames."""
    left = [np.zeros((*SIZE, 3), np.uint8) for _ in range(count)]
    for number, mask in enumerate(left):
        mask[:, : 16 + 8 * number] = 255
    right = [255 - mask for mask in left]
    for number in black:
        left[number][:] = 0
    return left, right


def test_masks_may_move(job, clip, tmp_path, monkeypatch):
    """A region that is out of sight in some frames, the first among them, does not end the run."""
    write_picture(tmp_path / "t.png", (30, 44), seed=5)
    left, right = halves(3, black=(0, 2))
    write_video(tmp_path / "left.mp4", left, pixel_format="yuv444p")
    write_folder(tmp_path / "right", right)
    styles = ("--style=s.png", "--style=t.png", "--colors=content")
    directed = (*styles, "--content_mask=left.mp4", "--content_mask=right")
    run = (*CLIP, *directed, "--content_weight_mask=left.mp4", "--end_frame=3")
    assert job(*run, "--output_dir=o") == 0
    # Where no style goes the frame stays as it is.
    source = read_video("clip.mp4")[0][2].astype(float)
    change = np.abs(np.asarray(Image.open("o/frames/frame-000003.png")) - source)
    assert change[:, :28].mean() < 4 and change[:, 36:].mean() > change[:, :28].mean() + 1
    assert job(*run[:-1], "--end_frame=2", "--output_dir=half") == 0
    # Also if the file does not say how long it is.
    opened = clip_module.open_clip

    def silent(path, **options):
        found = opened(path, **options)
        return clip_module.dataclasses.replace(found, count=0) if "left" in path else found

    monkeypatch.setattr(clip_module, "open_clip", silent)
    assert job(*run, "--resume", "--output_dir=half") == 0
    assert frames("half") == frames()
    # The same as still masks, for a frame.
    for name, masks in (("left", left), ("right", right)):
        Image.fromarray(masks[1]).save(f"{name}.png")
    still = (*styles, "--content_mask=left.png", "--content_mask=right.png", "--content_weight_mask=left.png")
    alone = ("--start_frame=2", "--end_frame=2")
    assert job(*CLIP, *still, *alone, "--output_dir=s") == 0
    assert job(*run[:-1], *alone, "--output_dir=m") == 0
    assert frames("m") == frames("s")


def test_a_mask_that_is_black_in_a_frame_leaves_the_photo(job, clip, tmp_path, capsys):
    """A damaged frame of a mask is replaced by the one before it, and the run says so."""
    masks = [np.full((*SIZE, 3), value, np.uint8) for value in (0, 255, 255, 255, 255)]
    path = write_video(tmp_path / "mask.mov", masks, codec="png", pixel_format="rgb24")
    damage(path, 1)
    flags = ("--content_mask=mask.mov", "--end_frame=2", "--content_layers=", "--output_dir=o")
    assert job(*CLIP, *flags) == 1
    assert "mask.mov: frame 2 is damaged" in capsys.readouterr().err
    for name, source in zip(frames(), read_video("clip.mp4")[0], strict=False):
        assert np.abs(np.asarray(Image.open(Path("o/frames", name))) - source.astype(float)).max() <= 1


def test_frames_of_a_mask_with_transparency_are_their_opacity(tmp_path):
    """As of a picture: what lies below it is often white everywhere."""
    left, _ = halves(3)
    alphas = [mask[..., 0] for mask in left]
    pictures = [np.dstack([np.full_like(alpha, 255)] * 3 + [alpha]) for alpha in alphas]
    matte = write_matte(tmp_path / "matte.mov", alphas, "png", "rgba")
    folders = [write_folder(tmp_path / name, one) for name, one in (("levels", left), ("mattes", pictures))]
    for path in (matte, *folders):
        clip = open_clip(str(path), frames=path != matte, max_pixels=10**6, allow_truncated=False)
        for frame, alpha in zip(clip.read(range(1, 9)), alphas, strict=True):
            np.testing.assert_allclose(moving_mask(clip, frame), alpha / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["matte.mov", "matte.gif"])
def test_transparency_of_a_clip_is_left_out_with_a_note(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    alphas = [np.pad(np.full((24, 64), 255, np.uint8), [(0, 24), (0, 0)])] * 2
    if name == "matte.mov":
        write_matte(tmp_path / name, alphas, "png", "rgba")
    else:
        pictures = [np.dstack([frame, alphas[0]]) for frame in moving_frames(2, *SIZE)]
        write_animation(tmp_path / name, pictures, duration=100, loop=1)
    files = Job(content=name, style=(str(write_picture(tmp_path / "s.png")),))
    run = Run(Config(), files, Machine(), Interrupts())
    assert "  transparency is left out of a clip" in run.files.lines


def test_frames_are_reported_and_a_report_stops_the_clip(job, clip):
    config, files = flags.read(["run.py", *CLIP, "--style=s.png", "--output_dir=o"]).settings()
    reports = []

    def report(step, planned, saved, seconds_left):
        reports.append((step, planned, saved))
        return step == 2

    run = Run(config, files, Machine(), Interrupts(), report=report)
    assert run.execute() == 143
    assert [step for step, _, saved in reports if saved] == [1, 2] and reports[-1][1] == 5
    assert facts()["status"] == "interrupted" and len(frames()) == 2


def test_a_damaged_packet_is_told_and_all_behind_it_is_painted(job, tmp_path, capsys):
    path = write_video(tmp_path / "clip.mov", moving_frames(5, *SIZE), codec="png", pixel_format="rgb24")
    damage(path, 2)
    run = ("--content=clip.mov", *QUICK)
    assert job(*run, "--output_dir=o") == 1
    told = capsys.readouterr().err
    assert "clip.mov: frame 3 is damaged: " in told and len(told.splitlines()) == 1
    assert "ffmpeg -err_detect ignore_err -i clip.mov repaired.mp4" in told
    assert len(frames()) == 5 and facts()["status"] == "finished"
    assert read_video("o/result.mp4")[1] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert job(*run, "--start_frame=5", "--output_dir=behind") == 0
    assert job(*run, "--start_frame=3", "--end_frame=3", "--allow_truncated", "--output_dir=taken") == 0
    assert list(frames("behind")) == ["frame-000005.png"]
    # A sweep is not without a flaw, either.
    assert job(*run, "--start_frame=3", "--end_frame=3", "--sweep=seed=0", "--output_dir=sweep") == 1
    assert len(frames("sweep/seed=0")) == 1


def test_an_animation_that_is_shown_once(job, tmp_path):
    write_animation(
        tmp_path / "clip.gif", moving_frames(3, *SIZE), comment=b"by hand", duration=[100, 100, 2000]
    )
    assert job("--content=clip.gif", *QUICK, "--output=once.gif", "--output_dir=o") == 0
    with Image.open("once.gif") as picture:
        assert "loop" not in picture.info and picture.info["comment"] == b"by hand"
        picture.seek(2)
        assert picture.info["duration"] == 2000


def test_a_clip_that_is_cut_short_is_told(job, tmp_path, capsys):
    path = write_video(tmp_path / "clip.mkv", moving_frames(30, *SIZE))
    run = ("--content=clip.mkv", *QUICK[:-1], "--every=8")
    assert job(*run, "--output_dir=whole") == 0
    assert "cut short" not in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 85 // 100])
    assert job(*run, "--output_dir=short") == 0
    said = capsys.readouterr().out
    assert ("cut short" in said) == (len(frames("short")) < len(frames("whole")))


@pytest.fixture
def cut_clip(tmp_path):
    """Write `clip.mp4`, of two scenes of three frames, with sound."""
    shown = [*moving_frames(3, *SIZE, seed=1), *moving_frames(3, *SIZE, seed=9)]
    return write_video(tmp_path / "clip.mp4", shown, sound="aac")


def test_machines_share_the_scenes(job, cut_clip, monkeypatch, capsys):
    run = CLIP[:-1]
    assert job(*run, "--output_dir=o") == 0
    shared = (*run, "--output_dir=shared", "--output=shared.mkv")
    assert job(*shared, "--shard=2/2", "--dry_run") == 0
    assert "--start_frame=4 --end_frame=6" in capsys.readouterr().out and not Path("shared").exists()
    assert job(*shared, "--shard=2/2") == 0
    assert "scenes painted: 1 of 2" in capsys.readouterr().out and not Path("shared/result.mp4").exists()
    assert job(*shared, "--shard=1/2") == 0
    assert "joined: shared" in capsys.readouterr().out
    scenes = {"start_frame=1,end_frame=3": (1, 2, 3), "start_frame=4,end_frame=6": (4, 5, 6)}
    for folder, numbers in scenes.items():
        for number in numbers:
            name = f"frames/frame-{number:06d}.png"
            assert Path("shared", folder, name).read_bytes() == Path("o", name).read_bytes()
    alone, together = read_video("o/result.mp4"), read_video("shared/result.mp4")
    assert alone[1:] == together[1:]
    np.testing.assert_array_equal(alone[0], together[0])
    assert Path("shared.mkv").exists() and [row["step"] for row in read_metrics("shared")] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert job(*shared, "--shard=1/2") == 0
    assert "finished already: 1 of 1 runs" in capsys.readouterr().out
    Path("holiday.mp4").write_bytes(b"precious")
    monkeypatch.setattr(write, "MOST_ANIMATED", 6 * SIZE[0] * SIZE[1] - 1)
    for changes, message in (
        (("shared", "--output=clip.mp4"), "exists, and the run to resume did not write it"),
        (("shared", "--output=holiday.mp4"), "exists, and the run to resume did not write it"),
        (("new", "--output=clip.mp4", "--overwrite"), "is read and would be overwritten"),
        (("new", "--output=long.gif"), "6 frames of 64×48 are too much for .gif: take .mp4"),
        (("o",), "o holds run.json of something else"),
    ):
        assert job(*run, "--jobs=2", f"--output_dir={changes[0]}", *changes[1:]) == 2
        assert message in capsys.readouterr().err and not Path("new").exists()


@pytest.mark.slow
def test_processes_share_the_scenes(job, cut_clip):
    assert job(*CLIP, "--output_dir=o") == 0
    assert job(*CLIP, "--jobs=2", "--output_dir=shared") == 0
    assert read_video("o/result.mp4")[1:] == read_video("shared/result.mp4")[1:]


def test_scenes_are_checked_without_reading_the_clip_anew(job, tmp_path, monkeypatch):
    shown = [frame for seed in range(6) for frame in moving_frames(5, *SIZE, seed=seed)]
    write_video(tmp_path / "clip.mp4", shown, options={"g": "5"})
    hashed = count_calls(monkeypatch, hashlib, "file_digest")
    decoded = count_calls(monkeypatch, film, "time_of")
    assert job(*CLIP, "--jobs=2", "--dry_run", "--output_dir=o") == 0
    # Once for the mistakes and the scenes, and again less than once, for the first frame of each scene. The
    # style picture is hashed by another function.
    assert len(hashed) == 1 and 30 < len(decoded) < 2 * 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume",), "--resume: a sweep goes on by itself"),
        (("--sweep_zip=seed",), "--sweep_zip is about --sweep, and there is none"),
        (("--shard=1/2", "--overwrite"), "--overwrite: a --shard would join new scenes with old ones"),
        (("--content=c.png",), "--jobs is about the runs of a sweep"),
    ],
)
def test_mistakes_of_shared_clips_are_told_in_one_line(job, cut_clip, capsys, arguments, message):
    content = () if arguments[0].startswith("--content=") else ("--content=clip.mp4",)
    assert job(*content, *arguments, *QUICK, "--jobs=2", "--output_dir=o") == 2
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1 and not Path("o").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--content=lost.mp4",), "--content: no frame of lost.mp4 can be decoded"),
        (
            ("--content_mask=unknown.mp4",),
            "--content_mask: unknown.mp4 holds video for which FFmpeg has no dec",
        ),
        (("--content_mask=empty",), "--content_mask: there are no pictures in empty"),
        (("--content_mask=masks",), "--content_mask: masks has 3 frames, and 5 are painted"),
        # Also if masks are white everywhere in the first frame, which of pictures is the same as none.
        (
            (
                *("--style=s.png", "--style=c.png", "--style_blend=1,2", "--end_frame=3"),
                *["--content_mask=masks"] * 2,
            ),
            "--style_blend mixes styles in one place",
        ),
        (("--image_size=18",), "frames of 18×14 pixels are too small to follow"),
        (("--start_frame=9",), "--start_frame=9: clip.mp4 is not that long"),
        (("--bits=16",), "--bits=16 is about pictures"),
        (("--output=a.jpg",), "a clip can be written as .mp4, .mov, .mkv, .webp, .gif"),
        (("--output=clip.mp4", "--overwrite"), "clip.mp4 is read"),
        (("--flow=none",), "--flow: none is not a folder"),
        (("--content=masks", "--frames", "--sweep=seed=0,1", "--ray=local"), "--ray sends files"),
        (("--frames", "--sweep=content=masks,masks", "--dry_run"), "masks"),
        (("--content=c.png", "--every=2"), "--every is about clips, and c.png is a picture"),
    ],
)
def test_mistakes_are_told_in_one_line(job, clip, tmp_path, capsys, arguments, message):
    (tmp_path / "unknown.mp4").write_bytes(clip.read_bytes().replace(b"avc1", b"zzz1"))
    (tmp_path / "lost.mp4").write_bytes(clip.read_bytes())
    damage(tmp_path / "lost.mp4", 0, 1, 2, 3, 4)
    (tmp_path / "empty").mkdir()
    masks = halves(3)[0]
    masks[0][:] = 255
    write_folder(tmp_path / "masks", masks)
    content = () if any("content=" in flag for flag in arguments) else ("--content=clip.mp4",)
    assert job(*content, *arguments, "--iterations=1", "--output_dir=o") == 2
    said = capsys.readouterr().err
    assert message in said.replace(str(tmp_path) + os.sep, "") and len(said.splitlines()) == 1
    assert not Path("o").exists()


def test_without_the_libraries_it_is_said(job, clip, monkeypatch, capsys):
    monkeypatch.setattr(clip_module, "has_video_library", lambda: False)
    assert job("--content=clip.mp4", "--output_dir=o") == 2
    assert 'needed: pip install "neural-style-tf[video]"' in capsys.readouterr().err
