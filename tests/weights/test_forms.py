import dataclasses
import re
import subprocess

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

from neural_style_tf.weights import registry, structure
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
    for file in registry.PUBLISHED:
        assert re.fullmatch("[0-9a-f]{32}", file.md5 or "0" * 32)
        assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64)
        assert file.md5 or file.sha256
        assert registry.generation_of(registry.Hashes(file.md5, file.sha256)) == file.generation
    assert len({file.generation for file in registry.PUBLISHED}) == len(registry.PUBLISHED) == 7
    assert registry.generation_of(registry.Hashes("0" * 32, "0" * 64)) == ""
    # A file with a SHA-256 is not recognised by its MD5, which can be forged.
    assert registry.generation_of(registry.Hashes(registry.MATCONVNET.md5, "0" * 64)) == ""


@pytest.mark.parametrize("by", ["md5", "sha256"])
def test_known_hash_is_reported_and_unknown_noted(tmp_path, monkeypatch, by):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    weights = read(path)
    assert weights.generation == ""
    assert len(weights.notes) == 1
    assert weights.sha256 in weights.notes[0]
    assert weights.sha256 == subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout[:64]
    hashes = dataclasses.asdict(registry.hash_file(path))
    monkeypatch.setattr(
        registry, "PUBLISHED", (registry.PublishedFile("the test's", "x", **{by: hashes[by]}),)
    )
    weights = read(path)
    assert weights.generation == "the test's"
    assert weights.notes == ()


def test_orientation_of_the_first_layer(tmp_path):
    kernels, biases = fingerprinted()
    kernel = kernels["conv1_1"]
    assert registry.orientation(kernel) == "agrees"
    assert registry.orientation(kernel.transpose(1, 0, 2, 3)) == "transposed"
    assert registry.orientation(kernel[:, :, ::-1]) == "channels reversed"
    assert registry.orientation(network()[0]["conv1_1"]) == "other"
    assert len(read(write_h5(tmp_path / "a.h5", kernels, biases)).notes) == 1
    kernels["conv1_1"] = kernel.transpose(1, 0, 2, 3)
    assert "rows and columns swapped" in read(write_h5(tmp_path / "a.h5", kernels, biases)).notes[1]
    kernels["conv1_1"] = kernel[:, :, ::-1]
    assert "BGR" in read(write_h5(tmp_path / "a.h5", kernels, biases)).notes[1]
