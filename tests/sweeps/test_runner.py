"""Sweeps by the command line, on the narrow network."""

import csv
import io
import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from command_line import read_metrics, write_picture
from harness import rows
from painters import FakePainter
from PIL import Image

from neural_style_tf.cli import main
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.evaluation.single import evaluate
from neural_style_tf.jobs import painter
from neural_style_tf.jobs.task import Outcome
from neural_style_tf.runs.output_dir import LOCK, OutputFolder
from neural_style_tf.sweeps import executors, report, runner
from neural_style_tf.sweeps.executors import Event
from neural_style_tf.sweeps.folder import SweepFolder, name_runs
from neural_style_tf.utils.console import Console
from neural_style_tf.utils.files import Lock

FAST = (
    *("--content_layers=relu1_1", "--style_layers=relu1_1", "--iterations=2", "--log_every=1"),
    *("--save_every=0", "--output_dir=o"),
)
PAIR = "--sweep=tv_weight=0,5"


def table():
    with Path("o/table.csv").open(newline="") as file:
        return {row["folder"]: row for row in csv.DictReader(file)}


def statuses():
    return [row["status"] for row in table().values()]


def bits(folder):
    return (Path(folder) / "result.png").read_bytes(), rows(folder)


@pytest.fixture
def painting(monkeypatch):
    """Return a function that puts another function around the painting of each run, for the next command."""

    def around(change):
        class Painter(painter.Painter):
            def __call__(self, task, report=None, supplies=None):
                return change(lambda report=None: super(Painter, self).__call__(task, report), task)

        monkeypatch.setattr(executors, "Painter", Painter)

    yield around


def test_a_grid_is_painted_shown_and_skipped_when_given_again(job, capsys):
    grid = (*FAST, "--sweep=style_weight=1,10", "--sweep=seed=1,2")
    assert job(*grid) == 0
    rows = table()
    assert list(rows) == [f"style_weight={weight},seed={seed}" for weight in (1, 10) for seed in (1, 2)]
    assert all(row["status"] == "finished" and float(row["total"]) > 0 for row in rows.values())
    with Image.open("o/sheet.jpg") as sheet:
        # Two rows and two columns of pictures of 64×48, not enlarged, in columns of 256; and labels.
        assert sheet.width > 2 * 256 and 2 * 48 < sheet.height < 2 * 100
    page = Path("o/index.html").read_text()
    assert page.count("<img") == 4 and "style_weight%3D10%2Cseed%3D2/result.png" in page
    assert "<!--" not in page
    # Results are measured, as by `evaluate`; the style picture is not enlarged.
    result = "o/style_weight=1,seed=1/result.png"
    values = evaluate(result, "c.png", "s.png", size=64, measures=["ssim"])
    assert float(rows["style_weight=1,seed=1"]["ssim"]) == pytest.approx(values["ssim"], abs=1e-3)
    assert all(float(row[name]) >= 0 for row in rows.values() for name in ("patches", "colours", "strokes"))
    assert 'data-column="8">ssim' in page
    # HParams would read one such file, and that for all sweeps beside it.
    assert not list(Path("o").glob("events.*"))
    # Each run has the bits of the run alone.
    assert job(*FAST[:-1], "--output_dir=alone", "--style_weight=10", "--seed=2") == 0
    assert bits("alone") == bits("o/style_weight=10,seed=2")
    before = {folder: Path("o", folder, "run.json").stat().st_mtime_ns for folder in rows}
    capsys.readouterr()
    assert job(*grid) == 0
    assert "finished already: 4 of 4 runs" in capsys.readouterr().out
    assert before == {folder: Path("o", folder, "run.json").stat().st_mtime_ns for folder in rows}


def test_more_values_add_runs_and_another_setting_is_refused(job, capsys):
    assert job(*FAST, PAIR) == 0
    # With other tiles the same is computed.
    assert job(*FAST, "--sweep=tv_weight=0,7", "--tile=64") == 0
    assert list(table()) == ["tv_weight=0", "tv_weight=7"]
    assert len(json.loads(Path("o/sweep.json").read_text())["runs"]) == 3
    capsys.readouterr()
    assert job(*FAST, "--sweep=tv_weight=0,7", "--learning_rate=3") == 2
    assert "this is not the sweep in o: --learning_rate was not given, now 3.0" in capsys.readouterr().err
    write_picture("c.png", seed=9)
    assert job(*FAST, "--sweep=tv_weight=0,7") == 2
    assert "the content file is another one" in capsys.readouterr().err


def test_an_interrupted_sweep_goes_on_to_the_same_bits(job, painting, monkeypatch, capsys):
    sweep = (*FAST[:-1], "--iterations=6", "--sweep=tv_weight=0,5,9")
    assert job(*sweep, "--output_dir=whole") == 0

    def interrupting(paint, task):
        def report(step, planned, saved, seconds_left):
            if step == 3 and task.name == "tv_weight=5":
                os.kill(os.getpid(), signal.SIGINT)
            return False

        return paint(report)

    with monkeypatch.context():
        painting(interrupting)
        assert job(*sweep, "--output_dir=o") == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert statuses() == ["finished", "interrupted", "waiting"]
    painting(lambda paint, task: paint())
    assert job(*sweep, "--output_dir=o") == 0
    assert all(bits(f"o/{folder}") == bits(f"whole/{folder}") for folder in table())


def test_a_signal_at_a_second_try_is_no_success(job, painting, capsys):
    tries = []

    def held_at_first(paint, task):
        def report(step, planned, saved, seconds_left):
            if step == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return False

        tries.append(task.name)
        if "=5" not in task.name:
            return paint()
        return paint(report) if tries.count(task.name) > 1 else Outcome("in use")

    painting(held_at_first)
    assert job(*FAST, PAIR) == 130
    assert statuses() == ["finished", "interrupted"]
    assert "the same command goes on" in capsys.readouterr().out


def test_one_failing_run_does_not_stop_the_others(job, painting, capsys):
    painting(lambda paint, task: Outcome("failed", "no more") if "=5" in task.name else paint())
    assert job(*FAST, "--sweep=tv_weight=0,5,9") == 1
    assert "not finished: tv_weight=5: no more" in capsys.readouterr().err
    assert statuses() == ["finished", "waiting", "finished"]
    painting(lambda paint, task: paint())
    assert job(*FAST, "--sweep=tv_weight=0,5,9") == 0


def test_a_picture_that_is_replaced_during_a_sweep_is_refused(job, painting, capsys):
    def replacing(paint, task):
        outcome = paint()
        # Of the same size, and at once: the clock may not have moved on.
        write_picture("other.png", seed=9)
        os.replace("other.png", "c.png")
        return outcome

    painting(replacing)
    assert job(*FAST, PAIR) == 1
    error = capsys.readouterr().err
    assert "not finished: tv_weight=5: c.png was changed after the sweep began: put the former" in error
    assert statuses() == ["finished", "waiting"]


def test_a_run_that_failed_is_tried_again_when_asked(job, capsys):
    assert job(*FAST, PAIR) == 0
    path = Path("o/tv_weight=5/run.json")
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "failed: a full disk"'))
    assert job(*FAST, PAIR) == 1
    error = capsys.readouterr().err
    assert "not finished: tv_weight=5: failed: a full disk; --retry_failed tries it again" in error
    assert statuses() == ["finished", "failed"]
    assert job(*FAST, PAIR, "--retry_failed") == 0
    assert statuses() == ["finished", "finished"]


def test_a_full_disk_is_said_with_what_goes_on(job, monkeypatch, capsys):
    def full(*arguments, **options):
        raise RunError("cannot write") from OSError(28, "No space left on device", "x/result.png")

    monkeypatch.setattr(main, "Run", full)
    monkeypatch.setattr(painter, "Run", full)
    assert job(*FAST) == 1
    assert "make room, then go on with --resume" in capsys.readouterr().err
    assert job(*FAST, PAIR) == 1
    assert "make room, then give the same command with --retry_failed" in capsys.readouterr().err


def test_a_folder_or_a_glob_is_a_batch(job, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("10", "9"):
        write_picture(tmp_path / "photos" / f"{name}.png", seed=int(name))
    assert job(*FAST, "--content=photos", "--output={content}-painted.jpg") == 0
    assert list(table()) == ["content=9", "content=10"]
    assert Path("9-painted.jpg").exists() and Path("10-painted.jpg").exists()
    capsys.readouterr()
    # One picture is a batch, too.
    assert job(*FAST[:-1], "--content=photos/1*.png", "--output_dir=new", "--dry_run") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert "--output_dir=new/content=10 " in line


def test_unreadable_pictures_are_left_out_when_asked(job, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "c.png", "._a.png"):
        write_picture(tmp_path / "photos" / name)
    (tmp_path / "photos" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.new("RGBA", (9, 9)).save(tmp_path / "photos" / "d.png")
    command = (*FAST, "--content=photos")
    assert job(*command) == 2
    error = capsys.readouterr().err
    assert "content=b: photos/b.png is a PNG file that is cut short" in error and "content=d" in error
    assert "--skip_unreadable leaves out what cannot be read" in error and not Path("o").exists()
    command += ("--skip_unreadable",)
    assert job(*command, "--dry_run") == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2 and captured.err.count("skipped: content=") == 2
    # What is wrong with the command is no fault of a picture.
    assert job(*command, "--sweep=tv_weight=1,-2") == 2
    assert job(*command, "--style=photos/b.png") == 2
    assert "--skip_unreadable" not in capsys.readouterr().err and not Path("o").exists()
    assert job(*command) == 1
    assert statuses() == ["finished", "waiting", "finished", "waiting"]
    assert "not finished: content=b: photos/b.png is a PNG file" in capsys.readouterr().err
    write_picture(tmp_path / "photos" / "b.png", seed=5)
    (tmp_path / "photos" / "d.png").unlink()
    assert job(*FAST, "--content=photos") == 0
    assert statuses() == ["finished"] * 3


def test_dry_run_prints_command_lines_that_do_the_same(job, capsys):
    grid = ("--style=s.png", "--style=c.png", "--sweep=style_scale=1,1;2", PAIR)
    assert job(*FAST, *grid, "--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and not Path("o").exists()
    assert "--output_dir=o/style_scale=1,tv_weight=5 " in lines[1] and "--tv_weight=5" in lines[1]
    assert "--style_scale=1,2" in lines[2].replace(".0", "")


def test_dry_run_of_a_repeated_run_and_of_a_folder_that_is_taken(job, capsys):
    assert job(*FAST, "--quiet") == 0
    assert job.bare("--from_run=o/run.json", "--output_dir=again", "--dry_run") == 0
    line = capsys.readouterr().out
    assert "--from_run" not in line
    assert job.bare(*shlex.split(line)[2:], "--quiet") == 0
    assert bits("again") == bits("o")
    before = sorted(path.name for path in Path().iterdir())
    assert job(*FAST, "--dry_run") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert job(*FAST, "--resume", "--tv_weight=7", "--dry_run") == 2
    assert "--tv_weight was" in capsys.readouterr().err
    assert job(*FAST, "--resume", "--dry_run") == 0
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep=tv_weight=1,2,3,4,5,6,x"], "tv_weight=x: --tv_weight must be a number"),
        (["--sweep=tv_weight=1,2", "--tv_weight=3"], "is given, and swept"),
        (["--sweep=clamp=true,false", "--noclamp"], "is given, and swept"),
        (["--content="], "--content=FILE is missing"),
        ([f"--content={'a' * 5000}.png"], "too long"),
        (["--content=nothing-*.jpg"], "no picture there"),
        (["--content=texts"], "no picture there"),
        (["--content=c.png", "--content=c.png"], "is named twice"),
        (["--content=c.png", "--content=broken.png"], "broken.png"),
        (["--sweep=style=s.png,missing.png"], "missing.png"),
        (["--sweep=tv_weight=1,2", "--output=same.png"], "several runs would write same.png"),
        (["--content=c.png", "--content=d.png", "--content=d.jpg", "--output={content}.tif"], "write d.tif"),
        (["--sweep=tv_weight=1,2", "--output={pooling}.png"], "{pooling} is not swept"),
        (["--sweep=tv_weight=1,2", "--resume"], "goes on by itself"),
        (["--sweep=style_layers=relu1_1;relu9_9"], "relu9_9"),
        (["--sweep=tv_weight=-1,2,-3"], "tv_weight=-3: --tv_weight must be at least 0"),
        (["--sweep=tv_weight=1,2", "--jobs=0"], "--jobs must be at least 1"),
        (["--sweep=tv_weight=1,2", "--jobs=2", "--ray=auto"], "give one of them"),
        (["--sweep=tv_weight=1,2", "--shared_output"], "it needs --ray"),
        (["--sweep=tv_weight=1,2", "--shard=3/2"], "--shard must be I/N"),
        (["--sweep=tv_weight=1,2", "--ray=127.0.0.1:1"], "no cluster there"),
    ],
)
def test_bad_sweeps_are_refused_before_anything_is_written(job, arguments, message, tmp_path, capsys):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    for name in ("d.png", "d.jpg"):
        write_picture(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    swept = [one.removeprefix("--sweep=").partition("=")[0] for one in arguments]
    assert job(*(one for one in FAST if one[2:].partition("=")[0] not in swept), *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not Path("o").exists()


@pytest.mark.parametrize("flag", ["--jobs=2", "--shard=1/2", "--ray=auto", "--shared_output"])
def test_what_shares_out_runs_is_refused_for_one(job, flag, capsys):
    assert job(*FAST, flag) == 2
    assert "is about the runs of a sweep, and this is a single run" in capsys.readouterr().err
    assert not Path("o").exists()


def test_processes_beside_each_other_paint_what_one_does(job, monkeypatch, capsys):
    monkeypatch.setattr(executors, "Painter", FakePainter)
    assert job(*FAST, PAIR, "--jobs=2") == 0
    assert "2 of 2 runs are finished" in capsys.readouterr().out
    processes = {row["pid"] for value in (0, 5) for row in read_metrics(f"o/tv_weight={value}")}
    assert len(processes) == 2 and os.getpid() not in processes


def test_parts_of_a_sweep_share_its_folder(job, capsys):
    assert job(*FAST, PAIR, "--shard=1/2") == 0
    assert statuses() == ["finished", "waiting"]
    assert "part 1 of 2: 1 of 2 runs" in capsys.readouterr().out
    # A run that another process paints is left to it.
    held = OutputFolder("o/tv_weight=5", overwrite=False)
    assert job(*FAST, PAIR) == 0
    captured = capsys.readouterr()
    assert "tv_weight=5: another process is painting it" in captured.out and not captured.err
    assert "1 of 2 runs are finished" in captured.out
    held.release()
    assert job(*FAST, PAIR, "--shard=2/2") == 0
    assert "2 of 2 runs are finished" in capsys.readouterr().out


def test_runs_that_others_added_meanwhile_are_kept(tmp_path):
    here, there = SweepFolder(tmp_path), SweepFolder(tmp_path)
    here.write({"tv_weight": ["1"]}, {}, name_runs([{"tv_weight": "1"}], here.runs))
    there.write({"tv_weight": ["2"]}, {}, name_runs([{"tv_weight": "2"}], there.runs))
    assert SweepFolder(tmp_path).runs == {f"tv_weight={value}": {"tv_weight": value} for value in "12"}
    here.note_joined("/out/clip.mp4")
    assert SweepFolder(tmp_path).joined == "/out/clip.mp4"
    late = name_runs([{"content": "a/x.jpg"}], {})
    there.write({}, {}, name_runs([{"content": "b/x.jpg"}], {}))
    with pytest.raises(UserError, match="another command has added runs"):
        here.write({}, {}, late)


@pytest.mark.parametrize(
    "text", ["{", '{"sweep": 2}', '{"sweep": 1, "base": {}, "joined": "", "runs": [{}]}']
)
def test_a_foreign_sweep_json_is_refused(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match="sweep.json is not one that this version wrote: give another"):
        SweepFolder(tmp_path)


def test_who_watches_sees_how_far_the_runs_are(monkeypatch):
    console = Console(stream=io.StringIO())
    monkeypatch.setattr(Console, "interactive", True)
    progress = runner._SweepProgress(console, 3)
    for event in (Event("a"), Event("b" * 200), Event("a", 5, 10), Event("b" * 200, 2, 10)):
        progress.show(event)
    lines = console.stream.getvalue().splitlines()
    assert lines[:2] == ["run 1/3: a", f"run 2/3: {'b' * 200}"]
    assert "0/3 runs  a 5/10" in lines[-1] and " left" in lines[-1] and len(lines[-1]) < 160
    progress.show(Event("a", outcome=Outcome("failed", "no more", "Traceback …")))
    assert "1/3 runs" in console.stream.getvalue().splitlines()[-1]
    for event in (Event("c"), Event("c", outcome=Outcome("in use")), Event("c")):
        progress.show(event)
    assert "c: no other process is painting it any more" in console.stream.getvalue()


@pytest.mark.parametrize(("held", "then"), [((), ["a"]), (("a",), [])])
def test_a_run_that_another_process_held_is_tried_once_more(tmp_path, held, then):
    """A killed sweep's processes save their runs for some seconds; the same command may be quicker."""
    (tmp_path / "a").mkdir()
    tried = []

    def executor(tasks):
        tried.append(tasks)
        return iter([Event(task, outcome=Outcome("finished")) for task in tasks])

    first = [Event("a", outcome=Outcome("in use")), Event("b", outcome=Outcome("finished"))]
    locks = [Lock(tmp_path / name / LOCK) for name in held]
    assert all(lock.acquire() for lock in locks)
    seen = list(runner.with_second_try(iter(first), executor, {"a": "a", "b": "b"}, tmp_path))
    for lock in locks:
        lock.release()
    assert seen[:2] == first and [event.name for event in seen[2:]] == then
    assert tried == ([then] if then else [])
    stopped = [*first, Event("c", outcome=Outcome("interrupted"))]
    assert len(list(runner.with_second_try(iter(stopped), executor, {}, tmp_path))) == 3


def test_names_are_safe_short_stable_and_unlike():
    long = {"style_layers": ",".join(f"relu{i}_1:0.123456" for i in range(1, 6)) * 3}
    runs = [{"content": "a/x y.jpg"}, {"content": "b/x y.jpg"}, {"content": "X_y.jpg"}, long]
    names = list(name_runs(runs))
    assert names == ["content=x_y", "content=x_y-2", "content=X_y-3", "run-0001"]
    again = list(name_runs(runs[1::-1], {"content=x_y-2": {"content": "b/x y.jpg"}}))
    assert again == ["content=x_y-2", "content=x_y"]


def test_files_with_long_names_are_painted_and_their_outputs_stay_unlike(job):
    letters = "写" * 80
    for end in "ab":
        write_picture(Path(f"{letters}{end}.png"))
    contents = [f"--content={letters}{end}.png" for end in "ab"]
    styles = [f"--style={letters}{end}.png" for end in "ba"]
    fast = FAST[:-1]
    assert job(*fast, contents[0], *styles, "--quiet") == 0
    assert job(*fast, *contents, *styles, "--output={content}-by-{style}.jpg", "--quiet") == 0
    assert len(list(Path().glob("*.jpg"))) == 2
    assert {len(list(path.glob("**/result.png"))) for path in Path("output").iterdir()} == {1, 2}


def test_a_sheet_of_very_many_runs_can_be_saved(tmp_path):
    runs = name_runs([{"content": f"{number}.jpg"} for number in range(3000)])
    sheet = report.make_sheet(tmp_path, runs)
    assert max(sheet.size) <= report.LARGEST
    sheet.save(tmp_path / "sheet.jpg")


def test_a_result_too_large_for_pillow_has_no_thumbnail(tmp_path, monkeypatch):
    runs = name_runs([{"content": "a.jpg"}])
    (tmp_path / "content=a").mkdir()
    Image.new("RGB", (100, 100), "red").save(tmp_path / "content=a" / "result.png")
    shown = report.make_sheet(tmp_path, runs)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    left_out = report.make_sheet(tmp_path, runs)
    assert shown.getcolors(10**6) != left_out.getcolors(10**6)
