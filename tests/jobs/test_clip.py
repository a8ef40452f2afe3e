"""Clips on the command line: files, resume, repeats, interruptions, mistakes."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from clips import damage, moving_frames, read_video, write_folder, write_matte, write_video
from command_line import read_metrics
from narrow import SHALLOW
from PIL import Image

from neural_style_tf.jobs import clip as clip_module
from neural_style_tf.runs import clip_files
from neural_style_tf.video import read, write

LAYERS = [f"--{name}={','.join(layer for layer, _ in layers)}" for name, layers in SHALLOW.items()]
QUICK = (*LAYERS, "--optimizer=lbfgs", "--init=content", "--iterations=3", "--quiet")


@pytest.fixture
def clip(tmp_path):
    """Write `clip.mp4`, of five frames with sound."""
    return write_video(tmp_path / "clip.mp4", moving_frames(5, 48, 64), sound="aac")


def frames(folder="o"):
    return {path.name: path.read_bytes() for path in sorted(Path(folder, "frames").iterdir())}


def test_a_video_becomes_a_video(job, clip):
    assert job("--content=clip.mp4", *QUICK, "--output_dir=o", "--output=mine.webp") == 0
    assert list(frames()) == [f"frame-{number:06d}.png" for number in range(1, 6)]
    found, times, seconds = read_video("o/result.mp4")
    assert len(found) == 5 and found[0].shape == (48, 64, 3)
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert seconds == pytest.approx(0.5, abs=0.06)
    assert Path("mine.webp").exists() and not Path("o/result.png").exists()
    rows = read_metrics("o")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["time"] for row in rows] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert rows[0]["reliable"] == 0 and all(row["reliable"] > 0.5 for row in rows[1:])
    facts = json.loads(Path("o/run.json").read_text())
    assert facts["status"] == "finished" and facts["steps"] == 5
    assert len(list(Path("o/checkpoints").iterdir())) == 5
    # By its flags and by its manifest it is the same again.
    for number, again in enumerate(("--flagfile=o/flags.txt", "--from_run=o/run.json")):
        assert job.bare(again, f"--output_dir=again{number}", "--quiet") == 0
        assert frames(f"again{number}") == frames()


def test_it_goes_on_with_the_same_bits(job, clip, capsys):
    assert job("--content=clip.mp4", *QUICK, "--output_dir=o", "--long_term=1,2") == 0
    part = ("--content=clip.mp4", *QUICK, "--output_dir=half", "--long_term=1,2")
    assert job(*part, "--end_frame=3") == 0
    assert len(read_video("half/result.mp4")[0]) == 3
    # A newer frame whose state was not written, and a state that is damaged.
    Path("half/frames/frame-000004.png").write_bytes(b"half")
    Path("half/checkpoints/frame-000003.npz").write_bytes(b"half")
    assert job(*part, "--resume") == 0
    assert frames("half") == frames()
    assert [row["step"] for row in read_metrics("half")] == [1, 2, 3, 4, 5]
    assert len(read_video("half/result.mp4")[0]) == 5
    assert job(*part[:-2], "--output_dir=half", "--long_term=1", "--resume") == 2
    assert "--long_term was [1, 2], now [1]" in capsys.readouterr().err
    before = frames("half")
    assert job(*part, "--resume") == 0
    assert frames("half") == before


def test_without_a_readable_state_it_is_not_begun_anew_unasked(job, clip, capsys):
    run = ("--content=clip.mp4", *QUICK, "--output_dir=o", "--end_frame=2")
    assert job(*run) == 0
    for path in Path("o/checkpoints").iterdir():
        path.write_bytes(b"")
    before = frames()
    assert job(*run, "--resume") == 2
    assert "left no state that can be read" in capsys.readouterr().err
    assert frames() == before


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


def test_an_interrupted_clip_can_be_played_and_continued(job, clip, interrupted, capsys):
    run = ("--content=clip.mp4", *QUICK, "--output_dir=o", "--output=mine.mkv")
    with interrupted():
        assert job(*run) == 130
    assert not Path("mine.mkv").exists()
    assert json.loads(Path("o/run.json").read_text())["status"] == "interrupted"
    assert len(read_video("o/result.mp4")[0]) == 2
    assert job(*run, "--resume", "--stretch_contrast") == 2
    assert "--stretch_contrast was False, now True: it counts for the whole clip" in capsys.readouterr().err
    assert job(*run, "--resume") == 0
    assert Path("mine.mkv").exists()
    assert job("--content=clip.mp4", *QUICK, "--output_dir=whole") == 0
    assert frames() == frames("whole")


def test_frames_keep_their_rate(job, tmp_path, capsys):
    write_folder(tmp_path / "shots", moving_frames(3, 48, 64))
    run = ("--content=shots", "--frames", *QUICK, "--output_dir=o")
    assert job(*run, "--end_frame=2") == 0
    for more in ((), ("--dry_run",)):
        assert job(*run, "--resume", "--frame_rate=30", *more) == 2
    assert "--frame_rate was" in capsys.readouterr().err
    assert job(*run, "--resume") == 0


def test_a_painted_clip_is_not_removed_to_be_painted_again(job, clip, capsys):
    assert job("--content=clip.mp4", *QUICK, "--end_frame=2", "--output_dir=o") == 0
    before = frames()
    assert job("--content=o/frames", "--frames", *QUICK, "--output_dir=o", "--overwrite") == 2
    assert "is read, and --overwrite would remove it" in capsys.readouterr().err
    assert frames() == before


def test_a_clip_whose_last_picture_is_written_is_finished(job, clip, interrupted):
    run = ("--content=clip.mp4", *QUICK, "--end_frame=2", "--output_dir=o", "--output=mine.mp4")
    with interrupted():
        assert job(*run) == 0
    assert json.loads(Path("o/run.json").read_text())["status"] == "finished"
    assert len(read_video("mine.mp4")[0]) == 2


def test_the_frame_a_clip_begins_with_is_not_removed(job, clip, capsys):
    run = ("--content=clip.mp4", *(one for one in QUICK if "init" not in one), "--end_frame=1")
    assert job(*run, "--output_dir=o") == 0
    again = ("--init=o/frames/frame-000001.png", "--output_dir=o", "--overwrite")
    assert job(*run, *again) == 2
    assert "is read, and --overwrite would remove it" in capsys.readouterr().err


def test_an_animation_of_too_many_pixels_is_told_at_once(job, clip, monkeypatch, capsys):
    monkeypatch.setattr(write, "MOST_ANIMATED", 5 * 48 * 64 - 1)
    assert job("--content=clip.mp4", *QUICK, "--output=mine.gif") == 2
    assert "5 frames of 64×48 are too much for .gif: take .mp4" in capsys.readouterr().err
    assert not Path("output").exists()


@pytest.mark.parametrize(
    "content",
    [["--content_layers="], ["--content_layers=", "--tile=16"], ["--content_weight=0", "--tv_weight=0"]],
)
def test_a_mask_that_is_black_in_a_frame_leaves_the_photo(job, clip, tmp_path, content):
    masks = [np.full((48, 64, 3), 255 * (number != 2), np.uint8) for number in range(1, 6)]
    write_folder(tmp_path / "masks", masks)
    styles = ("--content_mask=masks", "--end_frame=3")
    assert job("--content=clip.mp4", *QUICK, *styles, *content, "--output_dir=o") == 0
    assert [row["step"] for row in read_metrics("o")] == [1, 2, 3]


def test_a_full_disk_leaves_what_is_painted(job, clip, monkeypatch, capsys):
    save = clip_files.save_picture

    def full(path, *given):
        if path.name == "frame-000003.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(path, *given)

    monkeypatch.setattr(clip_files, "save_picture", full)
    run = ("--content=clip.mp4", *QUICK, "--output_dir=o")
    assert job(*run) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(frames()) == ["frame-000001.png", "frame-000002.png"]
    monkeypatch.setattr(clip_files, "save_picture", save)
    assert job(*run, "--resume") == 0
    assert len(frames()) == 5


def test_a_clip_that_ends_too_early(job, tmp_path, capsys):
    folder = write_folder(tmp_path / "clip", moving_frames(3, 48, 64))
    (folder / "f10.png").write_bytes(b"no picture")
    run = ("--content=clip", "--frames", *QUICK, "--output_dir=o")
    assert job(*run) == 1
    assert "frame 3: " in capsys.readouterr().err
    assert len(read_video("o/result.mp4")[0]) == 2


def test_a_folder_with_every_second_frame(job, tmp_path):
    write_folder(tmp_path / "clip", moving_frames(6, 48, 64))
    some = ("--start_frame=2", "--end_frame=6", "--every=2", "--frame_rate=10")
    assert job("--content=clip", "--frames", *QUICK, *some, "--output_dir=o") == 0
    assert list(frames()) == ["frame-000002.png", "frame-000004.png", "frame-000006.png"]
    assert read_video("o/result.mp4")[1] == pytest.approx([0, 0.2, 0.4], abs=1e-3)


def test_a_sweep_of_a_clip(job, clip):
    some = (*QUICK, "--end_frame=2", "--output_dir=o")
    assert job("--content=clip.mp4", "--sweep=temporal_weight=0,5", *some) == 0
    for weight in ("0", "5"):
        assert len(frames(f"o/temporal_weight={weight}")) == 2


def test_several_styles_masks_and_colours(job, clip, tmp_path):
    import numpy as np
    from command_line import write_picture
    from PIL import Image

    write_picture(tmp_path / "t.png", (30, 44), seed=5)
    mask = np.zeros((48, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save("left.png")
    Image.fromarray(255 - mask).save("right.png")
    directed = ("--style=s.png", "--style=t.png", "--content_mask=left.png", "--content_mask=right.png")
    run = ("--content=clip.mp4", *directed, "--colors=content", "--tile=16", *QUICK)
    assert job(*run, "--end_frame=3", "--output_dir=o") == 0
    assert job(*run, "--end_frame=1", "--output_dir=half") == 0
    assert job(*run, "--end_frame=3", "--resume", "--output_dir=half") == 0
    assert frames("half") == frames()


def halves(count, black=()):
    """Return masks, uint8 [H, W, 3], whose border moves, and their opposites; black in some frames."""
    import numpy as np

    left = [np.zeros((48, 64, 3), np.uint8) for _ in range(count)]
    for number, mask in enumerate(left):
        mask[:, : 16 + 8 * number] = 255
    right = [255 - mask for mask in left]
    for number in black:
        left[number][:] = 0
    return left, right


def test_masks_may_move(job, clip, tmp_path):
    """A region that is out of sight in some frames, the first among them, does not end the run."""
    import numpy as np
    from command_line import write_picture

    write_picture(tmp_path / "t.png", (30, 44), seed=5)
    left, right = halves(5, black=(0, 3))
    write_video(tmp_path / "left.mp4", left, pixel_format="yuv444p")
    write_folder(tmp_path / "right", right)
    directed = ("--style=s.png", "--style=t.png", "--content_mask=left.mp4", "--content_mask=right")
    run = ("--content=clip.mp4", *directed, "--content_weight_mask=left.mp4", *QUICK)
    assert job(*run, "--output_dir=o") == 0
    still = ("--style=s.png", "--style=t.png", "--content_mask=left.png", "--content_mask=right.png")
    # Where no style goes the frame stays as it is.
    found, source = read_video("o/result.mp4")[0], read_video("clip.mp4")[0]
    assert np.abs(found[3][:, :36].astype(float) - source[3][:, :36]).mean() < 4
    assert np.abs(found[3][:, 44:].astype(float) - source[3][:, 44:]).mean() > 7
    assert job(*run, "--end_frame=3", "--output_dir=half") == 0
    assert job(*run, "--resume", "--output_dir=half") == 0
    assert frames("half") == frames()
    assert job(*run, "--passes=2", "--output_dir=twice") == 0
    assert frames("twice") != frames()
    # The same as still masks, for a frame.
    for name, mask in (("left", left), ("right", right)):
        from PIL import Image

        Image.fromarray(mask[1]).save(f"{name}.png")
    one = ("--start_frame=2", "--end_frame=2")
    assert (
        job("--content=clip.mp4", *still, "--content_weight_mask=left.png", *QUICK, *one, "--output_dir=s")
        == 0
    )
    assert job(*run, *one, "--output_dir=m") == 0
    assert frames("m") == frames("s")


def test_frames_of_a_mask_with_transparency_are_their_opacity(job, clip, tmp_path):
    """As of a picture: what lies below it is often white everywhere."""
    left, _ = halves(5)
    write_folder(tmp_path / "levels", left)
    (tmp_path / "mattes").mkdir()
    for number, mask in enumerate(left, 1):
        white = np.full_like(mask, 255)
        Image.fromarray(np.dstack([white, mask[..., 0]])).save(tmp_path / "mattes" / f"f{number}.png")
    write_matte(tmp_path / "matte.mov", [mask[..., 0] for mask in left], "png", "rgba")
    for name in ("levels", "mattes", "matte.mov"):
        run = ("--content=clip.mp4", f"--content_mask={name}", "--end_frame=3", *QUICK)
        assert job(*run, f"--output_dir={name}-out") == 0
    assert frames("mattes-out") == frames("matte.mov-out") == frames("levels-out")


@pytest.mark.parametrize("name", ["matte.mov", "matte.gif"])
def test_transparency_of_a_clip_is_left_out_with_a_note(job, tmp_path, name, capsys):
    alphas = [np.pad(np.full((24, 64), 255, np.uint8), [(0, 24), (0, 0)])] * 2
    if name == "matte.mov":
        write_matte(tmp_path / name, alphas, "png", "rgba")
    else:
        pixels = [np.dstack([frame, alphas[0]]) for frame in moving_frames(2, 48, 64)]
        pictures = [Image.fromarray(one) for one in pixels]
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=100, loop=1)
    assert job(f"--content={name}", *QUICK[:-1], "--end_frame=1", "--output_dir=o") == 0
    assert "transparency is left out of a clip" in capsys.readouterr().out


def test_a_damaged_packet_is_told_and_all_behind_it_is_painted(job, tmp_path, capsys):
    path = write_video(tmp_path / "clip.mov", moving_frames(5, 48, 64), codec="png", pixel_format="rgb24")
    damage(path, 2)
    run = ("--content=clip.mov", *QUICK)
    assert job(*run, "--output_dir=o") == 1
    told = capsys.readouterr().err
    assert "clip.mov: frame 3 is damaged: " in told and len(told.splitlines()) == 1
    assert "ffmpeg -err_detect ignore_err -i clip.mov repaired.mp4" in told
    assert len(frames()) == 5 and json.loads(Path("o/run.json").read_text())["status"] == "finished"
    assert read_video("o/result.mp4")[1] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert job(*run, "--start_frame=4", "--output_dir=behind") == 0
    assert job(*run, "--end_frame=4", "--allow_truncated", "--output_dir=taken") == 0
    assert list(frames("behind")) == ["frame-000004.png", "frame-000005.png"]
    # A mask, too, is shown by its neighbour; and a sweep is not without a flaw.
    damage(write_video(tmp_path / "mask.mov", halves(5)[0], codec="png", pixel_format="rgb24"), 1)
    capsys.readouterr()
    run = ("--content=clip.mov", "--end_frame=2", "--content_mask=mask.mov", *QUICK)
    assert job(*run, "--sweep=seed=0", "--output_dir=sweep") == 1
    assert "mask.mov: frame 2 is damaged" in capsys.readouterr().err
    assert len(frames("sweep/seed=0")) == 2


def test_an_animation_that_is_shown_once(job, tmp_path):
    pictures = [Image.fromarray(frame) for frame in moving_frames(3, 48, 64)]
    options = {"save_all": True, "append_images": pictures[1:], "duration": [100, 100, 2000]}
    pictures[0].save(tmp_path / "clip.gif", comment=b"by hand", **options)
    for name in ("once.webp", "once.gif"):
        assert job("--content=clip.gif", *QUICK, f"--output={name}", f"--output_dir={name[5:]}") == 0
    with Image.open("once.webp") as picture:
        assert picture.info["loop"] == 1
    with Image.open("once.gif") as picture:
        assert "loop" not in picture.info and picture.info["comment"] == b"by hand"
        picture.seek(2)
        assert picture.info["duration"] == 2000


def test_a_mask_that_does_not_say_its_length(job, clip, tmp_path, monkeypatch):
    left, _ = halves(5)
    write_video(tmp_path / "left.mp4", left, pixel_format="yuv444p")
    opened = clip_module.open_clip

    def silent(path, **options):
        found = opened(path, **options)
        return dataclasses.replace(found, count=0) if "left" in path else found

    monkeypatch.setattr(clip_module, "open_clip", silent)
    run = ("--content=clip.mp4", "--content_mask=left.mp4", "--end_frame=2", *QUICK)
    assert job(*run, "--output_dir=o") == 0


def test_masks_that_cannot_be_are_refused_by_the_first_frame(job, clip, tmp_path, capsys):
    """Even if it is white everywhere there, which of a picture is the same as no mask."""
    left, right = halves(5)
    left[0][:], right[0][:] = 255, 255
    for name, masks in (("left", left), ("right", right)):
        write_folder(tmp_path / name, masks)
    run = ("--content=clip.mp4", "--style=s.png", "--style=c.png", "--style_blend=1,2", *QUICK)
    assert job(*run, "--content_mask=left", "--content_mask=right", "--output_dir=o") == 2
    assert "--style_blend mixes styles in one place" in capsys.readouterr().err
    assert not Path("o").exists()


def test_masks_that_end_too_early(job, clip, tmp_path, capsys):
    write_folder(tmp_path / "masks", halves(3)[0])
    run = ("--content=clip.mp4", "--content_mask=masks", *QUICK, "--output_dir=o")
    assert job(*run) == 2
    assert "--content_mask: masks has 3 frames, and 5 are painted" in capsys.readouterr().err
    assert job(*run, "--end_frame=3") == 0
    assert job("--content=clip.mp4", "--content_mask=none.mp4", *QUICK) == 2
    assert "--content_mask: there is no file none.mp4" in capsys.readouterr().err
    Path("empty").mkdir()
    assert job("--content=clip.mp4", "--content_mask=empty", *QUICK) == 2
    assert "--content_mask: there are no pictures in empty" in capsys.readouterr().err


@pytest.fixture
def cut_clip(tmp_path):
    """Write `clip.mp4`, of two scenes of three frames, with sound."""
    shown = [*moving_frames(3, 48, 64, seed=1), *moving_frames(3, 48, 64, seed=9)]
    return write_video(tmp_path / "clip.mp4", shown, sound="aac")


def test_processes_share_the_scenes(job, cut_clip, monkeypatch, capsys):
    run = ("--content=clip.mp4", *QUICK[:-1])
    assert job(*run, "--output_dir=o") == 0
    shared = (*run, "--jobs=2", "--output_dir=shared", "--output=shared.mkv")
    assert job(*shared, "--dry_run") == 0
    assert "--start_frame=4 --end_frame=6" in capsys.readouterr().out and not Path("shared").exists()
    assert job(*shared) == 0
    assert "joined: shared" in capsys.readouterr().out
    alone, together = read_video("o/result.mp4"), read_video("shared/result.mp4")
    assert alone[1:] == together[1:] and len(together[0]) == 6
    assert Path("shared.mkv").read_bytes() and len(read_metrics("shared")) == 6
    before = Path("shared/result.mp4").read_bytes()
    assert job(*shared) == 0
    assert "finished already: 2 of 2 runs" in capsys.readouterr().out
    assert Path("shared/result.mp4").read_bytes() == before
    Path("holiday.mp4").write_bytes(b"precious")
    for theirs, why in (("clip.mp4", "exists, and is not of the run"), ("holiday.mp4", "exists, and is not")):
        assert job(*run, "--jobs=2", "--output_dir=shared", f"--output={theirs}") == 2
        assert why in capsys.readouterr().err
    assert job(*run, "--jobs=2", "--output_dir=new", "--output=clip.mp4", "--overwrite") == 2
    assert "is read and would be overwritten" in capsys.readouterr().err
    monkeypatch.setattr(write, "MOST_ANIMATED", 6 * 48 * 64 - 1)
    assert job(*run, "--jobs=2", "--output_dir=new", "--output=long.gif") == 2
    assert "are too much for .gif" in capsys.readouterr().err and not Path("new").exists()
    assert job(*run, "--jobs=2", "--output_dir=o") == 2
    assert "o holds run.json of something else" in capsys.readouterr().err


def test_scenes_are_checked_without_reading_the_clip_anew(job, tmp_path, monkeypatch):
    shown = [frame for seed in range(6) for frame in moving_frames(5, 48, 64, seed=seed)]
    write_video(tmp_path / "clip.mp4", shown, options={"g": "5"})
    hashed, decoded = [], []
    digest, stamp = hashlib.file_digest, read.stamp_of
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: hashed.append(1) or digest(*given))
    monkeypatch.setattr(read, "stamp_of", lambda frame: decoded.append(1) or stamp(frame))
    assert job("--content=clip.mp4", *QUICK, "--jobs=2", "--dry_run", "--output_dir=o") == 0
    # Once for the mistakes, once for the scenes; then of each scene its first frame, and what is between it
    # and a key frame.
    assert len(hashed) == 1 and len(decoded) <= 1 + 30 + 6 * 6


def test_one_of_two_machines_joins(job, cut_clip, capsys):
    run = ("--content=clip.mp4", *QUICK[:-1])
    assert job(*run, "--output_dir=o") == 0
    shared = (*run, "--output_dir=shared")
    assert job(*shared, "--shard=2/2") == 0
    assert "scenes painted: 1 of 2" in capsys.readouterr().out and not Path("shared/result.mp4").exists()
    assert job(*shared, "--shard=1/2") == 0
    scenes = {"start_frame=1,end_frame=3": (1, 2, 3), "start_frame=4,end_frame=6": (4, 5, 6)}
    for folder, numbers in scenes.items():
        for number in numbers:
            name = f"frames/frame-{number:06d}.png"
            assert Path("shared", folder, name).read_bytes() == Path("o", name).read_bytes()
    alone, together = read_video("o/result.mp4"), read_video("shared/result.mp4")
    assert all((one == other).all() for one, other in zip(alone[0], together[0], strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--image_size=18",), "frames of 18×14 pixels are too small to follow"),
        (("--start_frame=9",), "--start_frame=9: clip.mp4 is not that long"),
        (("--content=none.mp4",), "there is no file none.mp4"),
        (("--content_mask=none.png",), "none.png"),
        (("--resume",), "--resume: a sweep goes on by itself"),
        (("--sweep_zip=seed",), "--sweep_zip is about --sweep, and there is none"),
        (("--shard=1/2", "--overwrite"), "--overwrite: a --shard would join new scenes with old ones"),
        (("--bits=16",), "neural-style-tf: --bits=16 is about pictures"),
    ],
)
def test_mistakes_of_shared_clips_are_told_in_one_line(job, cut_clip, capsys, arguments, message):
    content = () if "--content" in arguments[0].split("=") else ("--content=clip.mp4",)
    assert job(*content, *arguments, *QUICK, "--jobs=2", "--output_dir=o") == 2
    found = capsys.readouterr().err
    assert message in found and len(found.splitlines()) == 1
    assert not Path("o").exists()


def test_a_picture_is_not_shared(job, capsys):
    assert job("--jobs=2", *QUICK, "--output_dir=o") == 2
    assert "--jobs is about the runs of a sweep" in capsys.readouterr().err


def test_passes_are_interrupted_and_continued(job, clip, monkeypatch, capsys):
    write = clip_files.PassFiles.write

    def interrupting(self, turn, memory):
        write(self, turn, memory)
        if (turn, memory.number) == (2, 3):
            os.kill(os.getpid(), signal.SIGINT)

    run = ("--content=clip.mp4", *QUICK[:-1], "--passes=3")
    assert job(*run, "--output_dir=whole") == 0
    assert "pass 2: frame 4" in capsys.readouterr().out
    monkeypatch.setattr(clip_files.PassFiles, "write", interrupting)
    assert job(*run, "--output_dir=o") == 130
    assert json.loads(Path("o/run.json").read_text())["status"] == "interrupted"
    monkeypatch.setattr(clip_files.PassFiles, "write", write)
    assert job(*run, "--output_dir=o", "--end_frame=4", "--resume") == 2
    assert "--end_frame was 0, now 4" in capsys.readouterr().err
    assert job(*run, "--output_dir=o", "--resume") == 0
    assert "pass 1" not in capsys.readouterr().out
    assert frames() == frames("whole")
    assert read_video("o/result.mp4")[1] == read_video("whole/result.mp4")[1]


def test_passes_of_an_earlier_run_are_not_read_when_it_is_painted_over(job, clip, monkeypatch):
    write = clip_files.PassFiles.write

    def interrupting(self, turn, memory):
        write(self, turn, memory)
        if memory.number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    run = ("--content=clip.mp4", *QUICK[:-1], "--passes=2", "--end_frame=3")
    assert job(*run, "--output_dir=whole") == 0
    monkeypatch.setattr(clip_files.PassFiles, "write", interrupting)
    assert job(*run, "--style_weight=1", "--output_dir=o") == 130
    assert clip_files.holds_passes(Path("o"))
    monkeypatch.setattr(clip_files.PassFiles, "write", write)
    assert job(*run, "--output_dir=o", "--overwrite") == 0
    assert frames() == frames("whole")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--content=text.mp4",), "text.mp4 cannot be read as a video"),
        (
            ("--content=unknown.mp4",),
            "unknown.mp4 holds video for which FFmpeg has no decoder (its codec tag is",
        ),
        (("--content=lost.mp4",), "--content: no frame of lost.mp4 can be decoded"),
        (
            ("--content=clip.mp4", "--content_mask=unknown.mp4"),
            "--content_mask: unknown.mp4 holds video for which FFmpeg has no decoder",
        ),
        (("--content=clip.mp4", "--start_frame=9"), "--start_frame=9: clip.mp4 is not that long"),
        (("--content=clip.mp4", "--bits=16"), "--bits=16 is about pictures"),
        (("--content=clip.mp4", "--output=a.jpg"), "a clip can be written as .mp4, .mov, .mkv, .webp, .gif"),
        (("--content=clip.mp4", "--output=clip.mp4", "--overwrite"), "clip.mp4 is read"),
        (("--content=clip.mp4", "--flow=none"), "--flow: none is no folder"),
        (("--content=clip.mp4", "--long_term=0"), "--long_term must be at least 1, not 0"),
        (("--content=clip.mp4", "--long_term=a"), "--long_term must be whole numbers"),
        (
            ("--content=clip.mp4", "--start_frame=3", "--end_frame=2"),
            "--end_frame=2 is before --start_frame=3",
        ),
        (("--content=clip.mp4", "--frame_rate=24"), "--frame_rate is about --frames"),
        (("--content=clip.mp4", "--image_size=18"), "frames of 18×14 pixels are too small to follow"),
        (("--content=none", "--frames", "--frame_rate=1e-7"), "--frame_rate must be at least 0.001"),
        (("--content=none", "--frames"), "there are no pictures in none"),
        (("--every=2",), "--every is about clips, and c.png is a picture"),
        (("--flow=.",), "--flow is about clips"),
        (("--pixel_format=yuv422p",), "--pixel_format must be one of yuv420p, yuv444p"),
    ],
)
def test_mistakes_are_told_in_one_line(job, clip, tmp_path, capsys, arguments, message):
    (tmp_path / "text.mp4").write_text("a text\n" * 100)
    (tmp_path / "unknown.mp4").write_bytes(clip.read_bytes().replace(b"avc1", b"zzz1"))
    (tmp_path / "lost.mp4").write_bytes(clip.read_bytes())
    damage(tmp_path / "lost.mp4", 0, 1, 2, 3, 4)
    assert job(*arguments, "--iterations=1", "--output_dir=o") == 2
    found = capsys.readouterr().err
    assert message in found.replace(str(tmp_path) + os.sep, "") and len(found.splitlines()) == 1
    assert not Path("o").exists()


def test_without_the_libraries_it_is_said(job, clip, monkeypatch, capsys):
    from neural_style_tf.jobs import clip as module

    monkeypatch.setattr(module, "has_video_library", lambda: False)
    assert job("--content=clip.mp4", "--output_dir=o") == 2
    assert 'needed: pip install "neural-style-tf[video]"' in capsys.readouterr().err


def test_an_interrupted_sweep_of_clips_goes_on(job, clip, interrupted):
    run = ("--content=clip.mp4", "--sweep=seed=0,1", *QUICK, "--end_frame=3", "--output_dir=o")
    with interrupted():
        assert job(*run) == 130
    painted = Path("o/seed=0/frames/frame-000001.png")
    before = painted.stat().st_mtime_ns
    assert job(*run) == 0
    assert painted.stat().st_mtime_ns == before
    assert len(frames("o/seed=0")) == len(frames("o/seed=1")) == 3
    assert "result.mp4" in Path("o/index.html").read_text()


def test_a_clip_whose_encoding_failed_is_finished_by_resume(job, clip, monkeypatch):
    from neural_style_tf.jobs import clip as module

    def full(*given, **named):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write = module.write_clip
    monkeypatch.setattr(module, "write_clip", full)
    run = ("--content=clip.mp4", *QUICK, "--output_dir=o")
    assert job(*run) == 1
    monkeypatch.setattr(module, "write_clip", write)
    assert job(*run, "--resume") == 0
    facts = json.loads(Path("o/run.json").read_text())
    assert facts["status"] == "finished" and facts["steps"] == 5 and facts["final"]["total"] > 0
    assert len(read_video("o/result.mp4")[0]) == 5


def test_what_would_be_painted_unlike_is_refused(job, clip, capsys):
    run = ("--content=clip.mp4", *QUICK, "--end_frame=2", "--output_dir=o")
    assert job(*run) == 0
    assert job(*run, "--iterations=4", "--resume") == 2
    assert "--iterations was 3, now 4" in capsys.readouterr().err
    Path("flow").mkdir()
    assert job(*run, "--flow=flow", "--resume") == 2
    assert "there is no flow/backward_2_1.flo" in capsys.readouterr().err


def test_frames_on_a_cluster_are_refused(job, tmp_path, capsys):
    write_folder(tmp_path / "clip", moving_frames(2, 48, 64))
    run = ("--content=clip", "--frames", "--sweep=seed=0,1", "--ray=local", "--output_dir=o", *QUICK)
    assert job(*run) == 2
    assert "--ray sends files" in capsys.readouterr().err
    assert job("--frames", "--sweep=content=clip,clip", "--dry_run", "--output_dir=o", *QUICK) == 2
    assert "clip" in capsys.readouterr().err


def test_a_clip_that_is_cut_short_is_told(job, tmp_path, capsys):
    frames = moving_frames(40, 200, 300)
    whole = write_video(tmp_path / "clip.mkv", frames)
    short = whole.read_bytes()[: whole.stat().st_size * 9 // 10]
    run = ("--content=clip.mkv", *QUICK[:-1], "--image_size=32", "--every=8")
    assert job(*run, "--output_dir=whole") == 0
    assert "cut short" not in capsys.readouterr().out
    whole.write_bytes(short)
    assert job(*run, "--output_dir=short") == 0
    said = capsys.readouterr().out
    assert ("cut short" in said) == (len(frames_of("short")) < len(frames_of("whole")))


def frames_of(folder):
    return sorted(Path(folder, "frames").iterdir())
