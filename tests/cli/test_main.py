"""The command line for real: with the bundled network, on small pictures."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import BUNDLED, SMALL, environment, read_metrics, spawn, write_picture
from paths import ROOT
from PIL import Image

from neural_style_tf.cli import flags
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import load_image
from neural_style_tf.jobs import machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Supplies
from neural_style_tf.runs import callbacks
from neural_style_tf.runs.checkpoints import saved_steps
from neural_style_tf.runs.outputs import check_outputs


def test_a_photo_smaller_than_asked_for_is_told_and_can_be_enlarged(job, capsys):
    shallow = ["--content_layers=relu1_1", "--style_layers=relu1_1", "--iterations=0", "--overwrite"]
    assert job(*shallow, "--image_size=128", "--output_dir=o") == 0
    said = capsys.readouterr().out
    assert "result: 64×48, the size of the photo, which is smaller than --image_size=128; --enlarge" in said
    assert job(*shallow, "--image_size=128", "--enlarge", "--output_dir=o") == 0
    assert "result:" not in capsys.readouterr().out
    with Image.open("o/result.png") as result:
        assert result.size == (128, 96)
    assert job(*shallow, "--image_size=64", "--output_dir=o") == 0
    assert "result:" not in capsys.readouterr().out


def test_a_run_writes_what_the_readme_says(real_job, tmp_path, capsys):
    assert real_job("--iterations=6", "--log_every=3", "--save_every=3", "--output=out.jpg") == 0
    folder = tmp_path / "output" / "c-s"
    assert sorted(path.name for path in folder.iterdir() if "events" not in path.name) == [
        "checkpoints",
        "flags.txt",
        "images",
        "metrics.jsonl",
        "result.png",
        "run.json",
    ]
    pictures = sorted(path.name for path in (folder / "images").iterdir())
    assert pictures == ["step-000000.png", "step-000003.png", "step-000006.png"]
    with Image.open(folder / "result.png") as result, Image.open("out.jpg") as copy:
        assert result.size == copy.size == (64, 48)
    rows = read_metrics(folder)
    assert [row["step"] for row in rows] == [0, 3, 6]
    for row in rows:
        parts = 5 * row["content"] + 100 * row["style"] + 100 * row["tv"]
        assert row["total"] == pytest.approx(parts, rel=1e-5)
        assert row["style"] == pytest.approx(sum(row[f"style/relu{i}_1"] for i in range(1, 6)), rel=1e-5)
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished" and facts["steps"] == 6
    assert facts["config"]["content_weight"] == 5 and facts["final"]["total"] == rows[-1]["total"]
    assert facts["weights"]["origin"] == "bundled" and any("VGG-16" in n for n in facts["weights"]["notes"])
    assert len(facts["inputs"]["style"]["sha256"]) == 64
    said = capsys.readouterr().out
    assert said.count("ImageNet's VGG-16:") == 1 and "device:" in said and "step 6/6" in said
    assert saved_steps(folder / "checkpoints")[0] == 6


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(job, tmp_path, capsys):
    assert job("--iterations=1", "--quiet") == 0
    folder = tmp_path / "output" / "c-s"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert job("--iterations=2") == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_output_is_not_overwritten_unasked(job, tmp_path, capsys):
    (tmp_path / "mine.png").write_text("precious")
    assert job("--iterations=1", "--output=mine.png") == 2
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "mine.png").read_text() == "precious"
    assert not (tmp_path / "output").exists()


def test_only_its_own_output_is_replaced_by_a_resumed_run(job, tmp_path, capsys):
    (tmp_path / "holiday.png").write_text("precious")
    there = f"--output_dir={tmp_path / 'o'}"
    run = ("--output_dir=o", "--output=holiday.png", "--quiet")
    assert job("--iterations=1", *run, "--resume") == 2
    assert "the run to resume did not write it" in capsys.readouterr().err
    assert job("--iterations=1", "--output_dir=o", "--output=mine.png", "--quiet") == 0
    assert job("--iterations=2", *run, "--resume") == 2
    assert (tmp_path / "holiday.png").read_text() == "precious"
    first = (tmp_path / "mine.png").read_bytes()
    assert job("--iterations=5", "--output_dir=o", "--output=mine.png", "--quiet", "--resume") == 0
    assert (tmp_path / "mine.png").read_bytes() != first
    # What is meant is the file, whatever it is called, and wherever one is.
    assert job("--iterations=6", there, "--output=./o/../mine.png", "--quiet", "--resume") == 0
    assert job("--iterations=7", there, "--quiet", "--resume") == 0
    for name in ("elsewhere", "c.png", "s.png"):
        os.link(name, f"elsewhere/{name}") if "." in name else Path(name).mkdir()
    os.chdir("elsewhere")
    Path("mine.png").write_text("precious")
    assert job("--iterations=8", there, "--output=mine.png", "--quiet", "--resume") == 2
    assert job("--iterations=8", there, "--output=../mine.png", "--quiet", "--resume") == 0


def test_a_folder_called_like_an_initial_image_is_no_input(job, tmp_path):
    (tmp_path / "content").mkdir()
    write_picture(tmp_path / "content" / "cat.png")
    run = ("--init=content", "--iterations=1", "--quiet", "--output=content/painted.png", "--overwrite")
    assert [job("--content=content/cat.png", *run) for _ in range(2)] == [0, 0]


def test_a_folder_is_cleared_from_the_end(job, monkeypatch, tmp_path):
    """Without `run.json` it would belong to nobody; so that goes last, even if all is over in between."""
    run = ("--output_dir=o", "--iterations=1", "--quiet")
    assert job(*run) == 0

    def lost(self):
        raise RunError("no power")

    with monkeypatch.context() as context:
        context.setattr(Path, "rmdir", lost)
        assert job(*run, "--overwrite") == 1
    assert job(*run, "--overwrite") == 0


@pytest.mark.parametrize("when", ["at first", "while it is painted last", "while it is written last"])
def test_a_signal_at_the_last_step(job, monkeypatch, tmp_path, when):
    """The user's own file only gets what is finished; what is finished is not interrupted any more."""
    on_step, finished = callbacks.Result.on_step, when != "at first"

    def interrupt(at):
        if at == when:
            os.kill(os.getpid(), signal.SIGINT)

    def interrupting(self, record):
        on_step(self, record)
        interrupt({0: "at first", 6: "while it is written last"}.get(record.step))

    def ticked(self, step):
        interrupt("while it is painted last" if step == 6 else "")

    monkeypatch.setattr(callbacks.Result, "on_step", interrupting)
    monkeypatch.setattr(callbacks.Result, "on_tick", ticked)
    (tmp_path / "best.png").write_text("precious")
    code = job("--iterations=6", "--log_every=3", "--output=best.png", "--overwrite", "--quiet")
    facts = json.loads((tmp_path / "output" / "c-s" / "run.json").read_text())
    assert (code, facts["status"]) == ((0, "finished") if finished else (130, "interrupted"))
    assert ((tmp_path / "best.png").read_bytes() == b"precious") == (not finished)


def test_on_another_machine_the_output_is_written_there(job, tmp_path):
    """As on a node of a cluster: `supplies` says where."""
    job("--iterations=1", "--quiet", "--output_dir=o")
    line = ("--content=c.png", "--style=s.png", *BUNDLED, "--iterations=1", "--output=/nowhere/out.png")
    config, files = flags.read(["run.py", *line]).settings()
    supplies = Supplies(output_dir=str(tmp_path / "run"), output=str(tmp_path / "there.png"))
    assert Run(config, files, machine.Machine(), Interrupts(), supplies=supplies).execute() == 0
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "run" / "result.png").read_bytes()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["job"]["output"] == "/nowhere/out.png"


def test_a_poster_too_long_for_its_format_is_told_at_once(job, tmp_path):
    picture = load_image("c.png")
    with pytest.raises(UserError, match=r"20000 pixels is too long for this format .* use .png"):
        check_outputs(
            Job(output="poster.webp", output_dir="o"), Config(), picture, size=(100, 20_000), say=print
        )


def test_what_overwriting_removes_is_not_read(job, tmp_path, capsys):
    run = ("--output_dir=o", "--iterations=1", "--save_every=1", "--quiet")
    assert job(*run) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()}
    for read in ("--init=o/images/step-000001.png", "--style=o/images/step-000000.png"):
        assert job(*run, "--overwrite", read) == 2
        assert "is read, and --overwrite would remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "o").rglob("*") if path.is_file()} == before


def test_stretch_contrast_reaches_both_ends(job, tmp_path):
    assert job("--iterations=1", "--stretch_contrast", "--quiet") == 0
    pixels = np.asarray(Image.open(tmp_path / "output" / "c-s" / "result.png"))
    assert pixels.min() == 0 and pixels.max() == 255


def test_a_run_that_cannot_go_on_keeps_the_best(job, tmp_path, capsys):
    assert job("--iterations=30", "--learning_rate=1e18") == 1
    folder = tmp_path / "output" / "c-s"
    assert "not finite" in capsys.readouterr().err
    assert np.asarray(Image.open(folder / "result.png")).shape == (48, 64, 3)
    assert json.loads((folder / "run.json").read_text())["status"].startswith("failed")


def test_overwrite_wants_a_run_of_ours_and_takes_only_its_files(job, tmp_path, capsys):
    theirs = tmp_path / "proj" / "checkpoints" / "model.h5"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    assert job("--output_dir=proj", "--overwrite") == 2
    assert "no run.json that this program can read" in capsys.readouterr().err
    assert job("--output_dir=mine", "--iterations=2", "--save_every=1", "--quiet") == 0
    names = ("checkpoints/model.h5", "images/a.png", "events.out.tfevents.1.theirs", ".lock", "notes.txt")
    for name in names:
        (tmp_path / "mine" / name).write_text("theirs")
    assert job("--output_dir=mine", "--iterations=1", "--save_every=1", "--quiet", "--overwrite") == 0
    assert all((tmp_path / "mine" / name).read_text() == "theirs" for name in names)
    images = sorted(path.name for path in (tmp_path / "mine" / "images").iterdir())
    assert images == ["a.png", "step-000000.png", "step-000001.png"]
    assert len(list((tmp_path / "mine").glob("events.*"))) == 2


@pytest.mark.parametrize(
    "flags", [["--output=c.png"], ["--output=s.png"], ["--init=i.png", "--output=i.png"]]
)
def test_an_input_is_never_overwritten(job, tmp_path, capsys, flags):
    write_picture(tmp_path / "i.png", seed=2)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert job("--iterations=1", "--overwrite", *flags) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.png")} == before


def test_transparency_and_several_scales(job, tmp_path, capsys):
    with Image.open("c.png") as picture:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        picture.save("c.png")
    flags = ["--scales=2", "--scale_iterations=1", "--iterations=1", "--save_every=1", "--output=o.jpg"]
    assert job(*flags) == 0
    assert "JPEG cannot hold the transparency" in capsys.readouterr().out
    with Image.open(tmp_path / "output/c-s/images/step-000001.png") as small:
        assert small.mode == "RGBA" and small.size == (32, 24)


def test_a_name_that_is_not_utf8(job, tmp_path, capsys):
    name = os.fsdecode(b"c\xff.png")
    (tmp_path / "c.png").rename(tmp_path / name)
    assert job(f"--content={name}", "--output_dir=o", "--iterations=1", "--quiet") == 0
    assert b"c\xff.png" in (tmp_path / "o" / "flags.txt").read_bytes()
    assert job(f"--content={name}", "--iterations=1") == 2
    assert "--output_dir" in capsys.readouterr().err


@pytest.mark.slow
def test_running_out_is_one_line_and_keeps_what_was_saved(job, tmp_path):
    """A limit on the size of files stands for a full disk; the shell sets it for the child only."""
    command = [sys.executable, str(ROOT / "run.py"), "--content=c.png", "--style=s.png", *BUNDLED]
    line = "ulimit -f 100; exec " + " ".join([*command, "--iterations=40", "--output_dir=o"])
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "what was saved before is kept" in done.stderr
    with Image.open(tmp_path / "o" / "result.png") as result:
        result.load()


def test_closed_standard_output(job, tmp_path, monkeypatch, capsys):
    """A process is without it from the beginning; what paints then finds it as None."""
    command = f"{sys.executable} {ROOT / 'run.py'} --content=c.png --style=s.png {' '.join(BUNDLED)}"
    line = f"{command} --output_dir=o --dry_run >&-"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setattr(sys, "stdout", None)
    assert job("--iterations=1", "--output_dir=o") == 0 and not capsys.readouterr().err


@pytest.mark.parametrize("delay", [0.2, 1.5])
def test_interrupted_while_it_starts(job, tmp_path, delay):
    process = spawn(tmp_path, "--iterations=100000", "--output_dir=o")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Before Python has started, the system ends it; while it starts, before a line of ours, it ends itself.
    ended_itself = process.returncode == 1 and not any(
        ours in errors for ours in ("run.py", "neural_style_tf/")
    )
    assert process.returncode in (130, -signal.SIGINT) or ended_itself, errors
    assert "Traceback" not in errors or ended_itself


@pytest.mark.parametrize("given", [signal.SIG_DFL, signal.SIG_IGN])
def test_ctrl_c_while_python_imports_is_left_to_the_system(given):
    """Python would raise an exception, which its import machinery may swallow: the run went on."""
    code = f"""
import runpy, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "neural_style_tf.cli.main":
            print(signal.getsignal(signal.SIGINT) == {int(given)})
sys.meta_path.insert(0, Finder())
if {int(given)}:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.argv = ["run.py", "--help"]
runpy.run_path("run.py", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "True"), done.stderr


@pytest.mark.parametrize("error", [None, UserError("TensorFlow cannot be imported")])
def test_an_interrupt_whose_exception_was_swallowed_still_ends_the_run(
    job, tmp_path, monkeypatch, capsys, error
):
    """The machinery of imports may go on, or make another error of it."""
    load = machine.load_weights

    def interrupted(*given, **named):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if error:
            raise error
        return load(*given, **named)

    monkeypatch.setattr(machine, "load_weights", interrupted)
    assert job("--iterations=3", "--output_dir=o") == 130
    assert capsys.readouterr().err == "neural-style-tf: interrupted\n"
    assert not (tmp_path / "o").exists()


MISTAKES = {
    "missing content": (["--content=nope.png"], "nope.png"),
    "near name": (["--content=cc.png"], "c.png"),
    "a folder": (["--style=."], "folder"),
    "a text": (["--style=t.png"], "t.png"),
    "layer": (["--content_layers=relu4-2"], "did you mean 'relu4_2'"),
    "output suffix": (["--output=x.psd"], ".psd"),
    "output folder": (["--output=nowhere/x.png"], "nowhere"),
    "too small": (["--preset=original", "--image_size=12"], "at least 16"),
    "weights": (["--weights=kers"], "did you mean 'keras'"),
    "weights file": (["--weights=gone.mat"], "gone.mat"),
    "limit": (["--max_pixels=100"], "max_pixels"),
    "init": (["--init=gone.png"], "gone.png"),
    "output_dir": (["--output_dir=t.png"], "t.png"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_with_one_line_and_code_2(job, tmp_path, capsys, mistake):
    (tmp_path / "t.png").write_text("not a picture")
    arguments, message = MISTAKES[mistake]
    assert job(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "s.png", "t.png"]


def test_help_and_mistakes_do_without_tensorflow(job, tmp_path):
    for arguments, code in ((["--help"], 0), (["--content=nope.png"], 2), (["--weights=x.mat"], 2)):
        process = spawn(tmp_path, *arguments, env=environment(PYTHONPROFILEIMPORTTIME="1"))
        _, errors = process.communicate(timeout=30)
        assert process.returncode == code
        imported = {line.rsplit("|")[-1].strip() for line in errors.splitlines()}
        assert "neural_style_tf.cli.flags" in imported
        assert not imported & {"tensorflow", "keras", "h5py", "scipy"}


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, neural_style_tf as n; n.Config, n.load_image; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_total_variation_that_drowns_all_else_is_told(job, capsys):
    flags = (*SMALL, "--iterations=0", "--overwrite")
    assert job(*flags, "--style_loss=relative", "--content_loss=relative", "--tv_weight=10") == 0
    assert "--tv_weight=10 outweighs losses that are relative" in capsys.readouterr().out
    for fine in (
        ("--style_loss=relative", "--content_loss=relative", "--tv_weight=0"),
        ("--tv_weight=1000",),
    ):
        assert job(*flags, *fine) == 0
        assert "outweighs" not in capsys.readouterr().out
