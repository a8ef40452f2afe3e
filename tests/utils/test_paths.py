"""Paths in a folder that may not be searched."""

import os

import pytest

from neural_style_tf.config.schema import Job
from neural_style_tf.errors import UserError
from neural_style_tf.runs.output_dir import holds_run
from neural_style_tf.runs.outputs import check_not_read
from neural_style_tf.runs.resume import continued
from neural_style_tf.sweeps.folder import SweepFolder
from neural_style_tf.utils import files
from neural_style_tf.video.read import open_clip
from neural_style_tf.weights.resolve import check_spec


@pytest.fixture
def hidden(tmp_path, monkeypatch):
    """Return a folder that may not be searched, also by root."""
    folder, stat = tmp_path / "hidden", os.stat

    def refusing(path, *arguments, **options):
        if str(path).startswith(f"{folder}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    folder.mkdir()
    monkeypatch.setattr(os, "stat", refusing)
    return folder


def test_what_is_hidden_is_not_there(hidden, tmp_path):
    assert not files.exists(hidden / "a.png") and not files.is_file(hidden / "a.png")
    assert files.exists(tmp_path) and not files.is_file(tmp_path)
    (tmp_path / "a").touch()
    assert files.is_file(tmp_path / "a")


def test_checks_before_a_run_leave_it_to_who_reads_or_writes(hidden):
    job = Job(content=str(hidden / "c.png"), output=str(hidden / "o.png"), output_dir=str(hidden / "o"))
    check_not_read(job, "result.png", "noise")
    check_not_read(job.replace(overwrite=True), "result.png", "noise")
    assert not SweepFolder(hidden / "o").runs
    assert continued(job) == job and not holds_run(hidden / "o")
    check_spec("auto", hidden / "w")
    check_spec("bundled", hidden / "w")
    with pytest.raises(UserError, match="c.mp4 cannot be read: permission denied"):
        open_clip(str(hidden / "c.mp4"))
    with pytest.raises(UserError, match="vgg.mat"):
        check_spec(str(hidden / "vgg.mat"))
