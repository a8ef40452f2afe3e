"""What is kept between processes: whose folder it is, what is damaged, how much there may be."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import environment, spawn, write_picture
from harness import rows

from neural_style_tf.utils import cache
from neural_style_tf.utils.cache import machine_folder, open_code, private_folder

NAME = "12__34__XLA_CPU_JIT.pb"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the cache of a user that has none yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    return tmp_path / "cache"


def compiled(code, data=b"code", name=NAME):
    """Write a file as TensorFlow does."""
    with code.named():
        folder = os.environ["TF_XLA_FLAGS"].rpartition("=")[2].strip("'")
    Path(folder, name).write_bytes(data)


def found(code):
    """Return what TensorFlow would find: name → data."""
    return {path.name: path.read_bytes() for path in code._own.iterdir()}


def test_the_folder_is_private(home):
    folder = machine_folder(2)
    assert stat.S_IMODE(private_folder().stat().st_mode) == stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder == machine_folder(2) != machine_folder(3)


@pytest.mark.parametrize("who", ["a stranger", "all", "a link", "nobody", "a file"])
def test_there_is_none_where_others_could_write(home, who, monkeypatch):
    folder = private_folder()
    if who == "a stranger":
        monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    elif who == "all":
        home.chmod(0o777)
    elif who == "nobody":
        folder.chmod(0o750)
    else:
        folder.rmdir()
        folder.symlink_to(home) if who == "a link" else folder.touch()
    assert private_folder() is None
    assert machine_folder(2) is None


@pytest.mark.parametrize("place", ["", "relative", "\0"])
def test_a_place_that_is_none(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache.platformdirs, "user_cache_path", lambda *_, **__: Path(place))
    assert private_folder() is None
    assert not list(tmp_path.iterdir())


def test_code_is_there_for_the_next_process_once_it_is_kept(home):
    folder = machine_folder(2)
    first, second = open_code(folder), open_code(folder)
    compiled(first)
    assert not found(open_code(folder))
    for code in (first, second):
        compiled(code)
        code.keep()
    assert found(open_code(folder)) == {NAME: b"code"}
    assert len(list(folder.glob("*.pb.*"))) == 1


@pytest.mark.parametrize("data", [b"", b"cod", b"cope"])
def test_a_damaged_file_is_removed(home, data):
    folder = machine_folder(2)
    code = open_code(folder)
    compiled(code)
    compiled(code, b"other", "56.pb")
    code.keep()
    [path] = folder.glob(f"{NAME}.*")
    path.write_bytes(data)
    assert found(open_code(folder)) == {"56.pb": b"other"}
    assert not path.exists()


def test_the_oldest_go(home, monkeypatch):
    folder = machine_folder(2)
    code = open_code(folder)
    for number in range(5):
        compiled(code, bytes(10), f"{number}.pb")
    code.keep()
    for path in folder.glob("*.pb.*"):
        os.utime(path, (0, 10 + int(path.name[0])))
    monkeypatch.setattr(cache, "MOST_BYTES", 29)
    assert sorted(found(open_code(machine_folder(3)))) == []
    assert sorted(found(open_code(folder))) == ["3.pb", "4.pb"]


def test_what_killed_processes_left_goes_some_day(home):
    folder = machine_folder(2)
    killed, running = open_code(folder), open_code(folder)
    os.utime(killed._own, (0, 0))
    (folder / ".partial-x.pb-12").write_bytes(b"")
    os.utime(folder / ".partial-x.pb-12", (0, 0))
    code = open_code(folder)
    assert {path.name for path in folder.iterdir()} == {running._own.name, code._own.name}


def test_a_disk_without_links_gets_copies(home, monkeypatch):
    folder = machine_folder(2)
    code = open_code(folder)
    compiled(code)
    code.keep()
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert found(open_code(folder)) == {NAME: b"code"}


@pytest.mark.parametrize(
    "flags",
    ["--tf_xla_persistent_cache_directory=mine", "--x --tf_xla_persistent_cache_directory=a", "a_file"],
)
def test_what_the_user_told_tensorflow_stays(home, flags, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    assert open_code(machine_folder(2)) is None
    assert os.environ["TF_XLA_FLAGS"] == flags


def test_code_for_a_gpu_is_not_kept(home, monkeypatch):
    monkeypatch.setattr(cache, "nvidia_devices", lambda: ["0"])
    assert open_code(machine_folder(2)) is None


def test_other_flags_stay_beside_ours(home, monkeypatch):
    plain = machine_folder(2)
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_cpu_global_jit")
    folder = machine_folder(2)
    # They may change what is compiled.
    assert folder != plain
    with open_code(folder).named():
        assert os.environ["TF_XLA_FLAGS"].split()[0] == "--tf_xla_cpu_global_jit"
        assert len(os.environ["TF_XLA_FLAGS"].split()) == 2
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_cpu_global_jit"
    monkeypatch.delenv("TF_XLA_FLAGS")
    with open_code(plain).named():
        pass
    assert "TF_XLA_FLAGS" not in os.environ


def test_a_full_disk_keeps_nothing(home, monkeypatch):
    folder = machine_folder(2)
    code = open_code(folder)
    compiled(code)
    monkeypatch.setattr(cache, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError))
    code.keep()
    assert not list(folder.glob("*.pb.*"))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=cache.ROOM))
    assert open_code(folder) is None


@pytest.mark.slow
def test_kept_code_gives_the_same_bits(tmp_path):
    """Code that is compiled, written, read, and damaged; also where a run goes on with it."""
    write_picture(tmp_path / "c.png")
    write_picture(tmp_path / "s.png", (40, 50), seed=1)
    flags = ("--content_layers=relu3_2", "--style_layers=relu1_1", "--convolution=winograd", "--log_every=1")

    def paint(folder, *more):
        process = spawn(
            *(tmp_path, *flags, f"--output_dir={folder}", *more),
            env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        )
        said, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (0, ""), said
        kept = {path.name for path in tmp_path.glob("cache/neural-style-tf/*/*.pb.*")}
        return (tmp_path / folder / "result.png").read_bytes(), rows(tmp_path / folder), kept

    *plain, kept = paint("a", "--iterations=4", "--nocache")
    assert not kept
    *_, kept = paint("b", "--iterations=2")
    assert kept
    *ours, kept_then = paint("b", "--iterations=4", "--resume")
    assert ours == plain and kept_then == kept
    for number, path in enumerate(tmp_path.glob("cache/neural-style-tf/*/*.pb.*")):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if number % 2 else data[:-9] + bytes(9))
    *ours, kept_then = paint("c", "--iterations=4")
    assert ours == plain
    assert {name.rpartition(".")[0] for name in kept_then} == {name.rpartition(".")[0] for name in kept}
    assert not list(tmp_path.glob("cache/neural-style-tf/*/process-*"))
