"""`--from_run`: a run.json is enough to repeat a run, and only that run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import write_picture
from harness import rows

from neural_style_tf.cli import flags, main
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import FORM, Manifest
from neural_style_tf.runs.resume import changes_since

LAYERS = ("--content_layers=relu2_1", "--style_layers=relu1_1,relu2_1:0.5")
SMALL = (*LAYERS, "--iterations=2", "--log_every=1")
NONE = (*LAYERS, "--iterations=0")


def test_a_run_json_repeats_its_run_from_another_folder(job, tmp_path, monkeypatch, capsys, put_back):
    write_picture(tmp_path / "i.png", seed=2)
    assert job(*SMALL, "--init=i.png", "--strength=0.4", "--deterministic", "--output_dir=a", "--quiet") == 0
    facts = json.loads(Path("a/run.json").read_text())
    # Decided once, from the memory at hand, and on record.
    assert facts["config"]["tile"] == "none"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main.run(["run.py", "--from_run=../a/run.json", "--output_dir=b"]) == 0
    assert "may differ" not in capsys.readouterr().out
    assert Path("b/result.png").read_bytes() == Path("../a/result.png").read_bytes()
    assert rows("b") == rows("../a")
    # And so does the repeated run's own.
    config, files = flags.read(["run.py", "--from_run=b/run.json"]).settings()
    assert json.loads(json.dumps(config.loss.style_layers)) == facts["config"]["style_layers"]
    assert Path(files.content) == tmp_path / "c.png" and not files.output_dir


@pytest.fixture
def made(job):
    """Return the folder of a run of no iterations."""
    np.save("i.npy", np.zeros((48, 64, 3)))
    assert job(*NONE, "--init=i.npy", "--output_dir=a", "--quiet") == 0
    return Path("a")


def test_only_on_the_same_files(made, job, capsys):
    shutil.copy("c.png", "moved.png")
    write_picture(Path("c.png"), seed=9)
    again = ["run.py", "--from_run=a/run.json", "--output_dir=b"]
    assert main.run(again) == 2
    error = capsys.readouterr().err
    assert "would not repeat" in error and "the content file is another one" in error
    assert error.count("\n") == 1 and not Path("b").exists()
    np.save("i.npy", np.ones((48, 64, 3)))
    assert main.run([*again, "--content=moved.png"]) == 2
    assert "the init file is another one" in capsys.readouterr().err
    np.save("i.npy", np.zeros((48, 64, 3)))
    facts = json.loads((made / "run.json").read_text())
    facts["weights"]["sha256"] = "f" * 64
    (made / "run.json").write_text(json.dumps(facts))
    assert main.run([*again, "--content=moved.png"]) == 2
    assert "the weights file is another one" in capsys.readouterr().err and not Path("b").exists()


def test_resume_looks_at_the_init_file_not_at_its_name(made, job, capsys):
    shutil.copy("i.npy", "j.npy")
    again = [*NONE, "--output_dir=a", "--resume"]
    assert job(*again, "--init=j.npy", "--quiet") == 0
    np.save("j.npy", np.ones((48, 64, 3)))
    assert job(*again, "--init=j.npy") == 2
    assert "the init file is another one" in capsys.readouterr().err
    assert job(*again, "--init=content") == 2
    assert "--init was" in capsys.readouterr().err


def test_flags_change_single_settings(tmp_path, made):
    config, job_ = flags.read(["run.py", "--from_run=a/run.json", "--seed=4", "--style=other.png"]).settings()
    assert (config.seed, config.iterations, job_.style) == (4, 0, ("other.png",))
    with pytest.raises(UserError, match="--preset changes them"):
        flags.read(["run.py", "--from_run=a/run.json", "--preset=slides"]).settings()


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"manifest": FORM + 1}, "another version of this program wrote it .*: paint anew"),
        ({"config": {"sed": 1}}, "unknown here: sed"),
        ({"config": {"seed": "x"}}, "--seed must be a whole number"),
        ({"config": {"style_layers": [3]}}, "--style_layers must be layers"),
        ({}, "--content=FILE is missing"),
        (None, "No such file"),
    ],
)
def test_a_run_json_that_is_none(tmp_path, facts, message):
    path = tmp_path / "r.json"
    if facts is not None:
        whole = {"manifest": FORM, "config": {}, "job": {}, "inputs": {}, "weights": {}}
        path.write_text(json.dumps(whole | facts))
    with pytest.raises(UserError, match=message) as error:
        flags.read(["run.py", f"--from_run={path}"]).settings()
    assert "\n" not in str(error.value)


def test_a_setting_that_a_run_json_lacks_had_its_default_whatever_the_preset_has(tmp_path):
    """In a file that an editor saved with a byte-order mark."""
    config, job = {"preset": "balanced", "iterations": 7}, {"content": "c.png", "style": "s.png"}
    facts = {"manifest": FORM, "config": config, "job": job, "inputs": {}, "weights": {}}
    (tmp_path / "r.json").write_text(json.dumps(facts), encoding="utf-8-sig")
    config, _ = flags.read(["run.py", f"--from_run={tmp_path / 'r.json'}"]).settings()
    assert (config.preset, config.iterations, config.loss) == ("balanced", 7, Config().loss)


def test_what_may_change_the_bits_is_named():
    lines = changes_since(Manifest({}, {}, {}, circumstances={"device": "CPU (64 cores)"}), "CPU (1 cores)")
    assert "device was CPU (64 cores), now CPU (1 cores): the bits may differ" in lines


def test_the_tile_of_the_first_part_is_kept(monkeypatch, job, capsys):
    """Memory may be another at the time of the resume; the tile is not."""
    from neural_style_tf.tiling import planner

    shallow = ("--content_layers=relu1_1", "--style_layers=relu1_1", "--iterations=0", "--output_dir=o")
    again = (*shallow, "--resume")
    assert job(*shallow, "--tile=32", "--quiet") == 0
    monkeypatch.setattr(planner, "available_bytes", lambda: 10**12)
    assert job(*again, "--quiet") == 0
    assert json.loads(Path("o/run.json").read_text())["config"]["tile"] == "32"
    # A flag changes it.
    assert job(*again, "--tile=none") == 0
    assert "--tile was 32, now none: the run goes on with the same gradient" in capsys.readouterr().out
    assert json.loads(Path("o/run.json").read_text())["config"]["tile"] == "none"


def test_what_auto_was_decided_to_be_is_kept_on_another_processor(monkeypatch, job, capsys):
    """A processor with bfloat16 begins; another without it goes on, and repeats."""
    from neural_style_tf.models import precision

    def network(folder):
        settings = json.loads(Path(folder, "run.json").read_text())["config"]
        return settings["precision"], settings["convolution"]

    first = (*NONE, "--precision=auto", "--convolution=auto", "--output_dir=o")
    monkeypatch.setattr(precision, "_cpu_flags", lambda: "avx512_bf16")
    assert job(*first) == 0
    assert "auto: --precision=bfloat16 --convolution=direct\n" in capsys.readouterr().out
    assert network("o") == ("bfloat16", "direct")
    assert "--precision=bfloat16\n" in Path("o/flags.txt").read_text()
    monkeypatch.setattr(precision, "_cpu_flags", lambda: "avx2")
    assert job(*first, "--resume") == 0
    said = capsys.readouterr().out
    assert "auto: --precision=bfloat16 " in said and "no hardware for bfloat16" in said
    assert network("o") == ("bfloat16", "direct")
    assert job("--from_run=o/run.json", "--output_dir=b", "--quiet") == 0 and network("b") == network("o")
    assert job(*first, "--resume", "--precision=float32") == 2
    assert "--precision was 'bfloat16', now 'float32'" in capsys.readouterr().err
    # A format that only a GPU computes.
    facts = json.loads(Path("o/run.json").read_text())
    Path("o/run.json").write_text(json.dumps(facts | {"config": facts["config"] | {"precision": "tf32"}}))
    before = Path("o/result.png").read_bytes()
    assert job(*first, "--resume") == 2
    error = capsys.readouterr().err
    assert "--precision=tf32 needs" in error and "cannot be continued here" in error
    assert error.count("\n") == 1 and Path("o/result.png").read_bytes() == before
