"""File systems that lack an operation, and permissions."""

import errno
import fcntl
import os
import stat
import warnings

import pytest
from downloads import DATA, published
from weight_files import file_answer, serving

from neural_style_tf.errors import UserError
from neural_style_tf.runs.output_dir import OutputFolder, is_in_use
from neural_style_tf.utils import files
from neural_style_tf.utils.files import write_bytes, write_text
from neural_style_tf.weights.download import download


def lacks(monkeypatch, name, code, owner=os):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_can_neither_sync_nor_rename(monkeypatch, tmp_path, name, code):
    lacks(monkeypatch, name, code)
    if name == "replace":
        lacks(monkeypatch, name, code, files.Path)
    write_bytes(tmp_path / "x", b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"whole"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_is_not_on_the_disk_is_no_file(monkeypatch, tmp_path, code):
    lacks(monkeypatch, "fsync", code)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_bytes(tmp_path / "x", b"lost")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks(monkeypatch, tmp_path, code):
    lacks(monkeypatch, "flock", code, fcntl)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = OutputFolder(tmp_path / "o", overwrite=False)
        assert not is_in_use(tmp_path / "o")
        folder.release()
    assert not (tmp_path / "o").exists()


def test_a_lock_file_that_cannot_be_made_is_still_a_mistake(monkeypatch, tmp_path):
    lacks(monkeypatch, "flock", errno.EIO, fcntl)
    with pytest.raises(UserError, match="cannot write in"):
        OutputFolder(tmp_path / "o", overwrite=False)


@pytest.fixture
def umask():
    """Set the process's own and put it back."""
    former = os.umask(0o022)
    yield os.umask
    os.umask(former)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_usual_permissions(umask, tmp_path, mask, mode):
    umask(mask)
    write_text(tmp_path / "x", "")
    with serving(file_answer(DATA)) as (address, _):
        path = download(published(address), tmp_path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, tmp_path / "x")} == {mode}
