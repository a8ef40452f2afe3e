"""Files of every format, which of them are parsed, and what is refused."""

import os
import pickle
import re
import zipfile

import h5py
import numpy as np
import onnx
import pytest
import scipy.io
from onnx import numpy_helper
from weight_files import cell, network, publish, refused, write_h5, write_mat, write_npz

from neural_style_tf.models.architecture import VGG16, VGG19
from neural_style_tf.weights import formats, read, registry
from neural_style_tf.weights.read import check_file, read_file
from neural_style_tf.weights.structure import gain

WRITERS = {"mat": write_mat, "h5": write_h5, "npz": write_npz}


def write_onnx(path, kernels, biases):
    """A model with the constants of the bundled one."""
    constants = []
    for name, kernel in kernels.items():
        stem = f"functional_1/block{name[4]}_conv{name[6]}_1"
        kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        kernel = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        constants.append(numpy_helper.from_array(kernel, f"{stem}/convolution/ReadVariableOp:0"))
        constants.append(numpy_helper.from_array(biases[name], f"{stem}/Squeeze:0"))
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], constants)), path)
    return path


def assert_same(weights, kernels, biases, architecture):
    """The arrays of a file; those of VGG-16 times the quotients of its gains."""
    before, names = 1.0, [name for name, _ in architecture.channels]
    assert weights.architecture is architecture
    assert list(weights.kernels) == names == list(weights.biases)
    for name in names:
        c = gain(name) if architecture is VGG16 else 1.0
        for array, expected in (
            (weights.kernels[name], kernels[name] * np.float32(c / before)),
            (weights.biases[name], biases[name] * np.float32(c)),
        ):
            np.testing.assert_array_equal(array, expected, err_msg=name)
            assert array.dtype == np.float32 and array.flags.c_contiguous
        before = c


@pytest.mark.parametrize("architecture", [VGG19, VGG16], ids=lambda network: network.name)
def test_all_formats_have_equal_arrays(tmp_path, architecture):
    kernels, biases = network(architecture)
    writers = WRITERS | ({"onnx": write_onnx} if architecture is VGG16 else {})
    for suffix, write in writers.items():
        weights = read_file(write(tmp_path / f"a.{suffix}", kernels, biases), trust=True)
        assert_same(weights, kernels, biases, architecture)
        # As named in the file, not as its name says.
        assert weights.source == f"a.{suffix}" and weights.generation == ""
        assert "not one of the published files" in weights.notes[-1] and weights.sha256 in weights.notes[-1]


@pytest.mark.parametrize(
    ("layout", "order", "compress"),
    [("old", list, False), ("new", list, True), ("filters", list, False), ("new", reversed, False)],
)
def test_matconvnet_of_every_generation(tmp_path, layout, order, compress):
    """Layers are found by name, not by their position."""
    kernels, biases = network()
    ordered = {name: kernels[name] for name in order(list(kernels))}
    path = write_mat(tmp_path / "a.mat", ordered, biases, layout, compress=compress)
    assert_same(read_file(path, trust=True), kernels, biases, VGG19)


@pytest.mark.parametrize("form", ["nested", "model", "keras3"])
def test_keras_of_every_version(tmp_path, form):
    kernels, biases = network()
    # The format of a file is told by its first bytes, not by its name.
    path = write_h5(tmp_path / "a.mat", kernels, biases, form)
    assert_same(read_file(path, trust=True), kernels, biases, VGG19)


def test_float64_is_taken(tmp_path):
    kernels, biases = network()
    wide = {name: kernel.astype(np.float64) for name, kernel in kernels.items()}
    assert_same(read_file(write_h5(tmp_path / "a.h5", wide, biases), trust=True), kernels, biases, VGG19)


# Which files are parsed


def test_published_hashes_are_well_formed():
    for file in registry.PUBLISHED:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) or re.fullmatch("[0-9a-f]{32}", file.md5)
        assert registry.generation_of(file.md5, file.sha256) == file.generation
    assert len({file.generation for file in registry.PUBLISHED}) == len(registry.PUBLISHED)
    assert registry.generation_of("0" * 32, "0" * 64) == ""
    for file in registry.DOWNLOADS.values():
        assert file in registry.PUBLISHED
        assert file.url.startswith("https://") and file.url.endswith(f"/{file.name}") and file.advice


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_is_parsed_if_it_is_published_or_trusted(tmp_path, monkeypatch, suffix):
    path = WRITERS[suffix](tmp_path / f"a.{suffix}", *network())
    for library, name in ((scipy.io, "loadmat"), (h5py, "File")):
        with monkeypatch.context() as patch:
            patch.setattr(library, name, None)
            message = refused(path, trust=False)
    if suffix == "npz":
        assert "not converted by this program" in message
        assert read_file(path, trust=True).origin == "npz"
        return
    for words in ("not a published file (SHA-256", registry.hash_file(path)[1], "--trust_weights"):
        assert words in message
    assert read_file(path, trust=True).generation == ""
    formats.converted_path(path).unlink(missing_ok=True)
    publish(monkeypatch, path)
    weights = read_file(path)
    assert (weights.generation, weights.notes) == ("the test's", ())


def test_a_published_file_without_sha256_is_known_by_its_md5(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "a.h5", *network())
    publish(monkeypatch, path, sha256="", md5=registry.hash_file(path)[0])
    assert read_file(path).generation == "the test's"
    publish(monkeypatch, path, generation="known by SHA-256 only", sha256="0" * 64, md5="")
    # A changed file is hashed anew.
    write_h5(path, *network(seed=1))
    refused(path, "not a published file", trust=False)


# The converted form


@pytest.fixture
def mat(tmp_path, monkeypatch):
    path = write_mat(tmp_path / "vgg.mat", *network())
    publish(monkeypatch, path)
    return path


def test_a_mat_is_read_once(mat, monkeypatch):
    log = []
    first = read_file(mat, log=log.append)
    assert log == [f"Reading {mat} once; the next run reads its converted form"]
    monkeypatch.setattr(scipy.io, "loadmat", None)
    monkeypatch.setattr(registry, "_hash_file", None)
    check_file(mat)
    path = formats.converted_path(mat)
    moved = path.with_name("elsewhere.npz")
    moved.write_bytes(path.read_bytes())
    for weights in (read_file(mat, log=log.append), read_file(moved, log=log.append)):
        assert_same(weights, *network(), VGG19)
        for name in ("origin", "source", "sha256", "generation", "notes"):
            assert getattr(weights, name) == getattr(first, name)
    assert len(log) == 1


@pytest.mark.parametrize("harm", ["other time", "truncated", "an array", "older format", "a pipe"])
def test_a_converted_form_that_is_not_todays_is_made_again(mat, harm, monkeypatch):
    read_file(mat)
    path = formats.converted_path(mat)
    if harm == "other time":
        os.utime(mat, (1, 1))
    elif harm == "truncated":
        os.truncate(path, 1000)
    elif harm == "an array":
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(bytes(100))
    elif harm == "older format":
        with monkeypatch.context() as patch:
            patch.setattr(formats, "CONVERTED_FORMAT", 1)
            path.unlink()
            read_file(mat)
        refused(path, "another version", trust=False)
    else:
        path.unlink()
        os.mkfifo(path)
    assert_same(read_file(mat), *network(), VGG19)
    if harm != "a pipe":
        monkeypatch.setattr(scipy.io, "loadmat", None)
        assert_same(read_file(mat), *network(), VGG19)


def test_a_folder_that_cannot_be_written_is_no_error(mat, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    log = []
    monkeypatch.setattr(read, "write_converted", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert read_file(mat, log=log.append).generation == "the test's"
    assert log == [f"Reading {mat} each time: its folder is read-only"]


def test_the_converted_form_of_a_trusted_file_needs_trust(tmp_path):
    path = write_mat(tmp_path / "mine.mat", *network())
    read_file(path, trust=True)
    refused(path, "--trust_weights", trust=False)
    refused(formats.converted_path(path), "--trust_weights", trust=False)
    assert read_file(formats.converted_path(path), trust=True).source == "mine.mat"


# Trusted files of the wrong structure


def without(*names):
    return [{key: value for key, value in arrays.items() if key not in names} for arrays in network()]


def changed(name, kernel=lambda k: k, bias=lambda b: b):
    kernels, biases = network()
    return kernels | {name: kernel(kernels[name])}, biases | {name: bias(biases[name])}


WRONG_NETWORKS = {
    "one missing": (without("conv2_2"), ["no conv2_2, as VGG-19 has"]),
    "another network": (without(*network()[0].keys() - {"conv1_1"}), ["no conv1_2", "VGG-16"]),
    "swapped axes": (changed("conv4_1", lambda k: k.transpose(0, 1, 3, 2)), ["3×3×64×32", "3×3×32×N"]),
    "bias": (changed("conv1_2", bias=lambda b: b[:-1]), ["conv1_2 has a bias of shape 7, expected 8"]),
    "NaN": (changed("conv5_4", lambda k: np.full_like(k, np.nan)), ["NaN or infinity in conv5_4"]),
    "integers": (changed("conv3_1", lambda k: k.astype(np.int8)), ["conv3_1 holds int8"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_NETWORKS)
def test_a_wrong_network_is_refused_in_one_line(tmp_path, case):
    (kernels, biases), words = WRONG_NETWORKS[case]
    path = write_npz(tmp_path / "a.npz", kernels, biases)
    refused(path, str(path), "--weights=keras downloads VGG-19", *words)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pytorch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vgg19/data.pkl", pickle.dumps(Bomb(path.with_name("executed"))))


def objects(path):
    with path.open("wb") as file:
        np.savez(file, **{"conv1_1.kernel": np.array([Bomb(path.with_name("executed"))], object)})


def two_kernels(path):
    write_h5(path, *network())
    with h5py.File(path, "a") as file:
        file["block1_conv1/more"] = np.ones((3, 3, 3, 8))


def empty_hdf5(path):
    h5py.File(path, "w").close()


WRONG_FILES = {
    "MATLAB": (lambda path: scipy.io.savemat(path, {"x": 1.0}), "without MatConvNet's list of layers"),
    "no structs": (lambda path: scipy.io.savemat(path, {"layers": np.ones(3)}), "'matconvnet'"),
    "unnamed": (lambda path: scipy.io.savemat(path, {"layers": cell([{"a": 1.0}] * 2)}), "no convolution"),
    "HDF5": (empty_hdf5, "it has no convolution"),
    "two kernels": (two_kernels, "conv1_1 has 3 arrays"),
    "ONNX": (lambda path: path.write_bytes(b"\x08\x07\x12\x07pytorch"), "it has no convolution"),
    "PyTorch": (pytorch, "it has no convolution"),
    "objects": (objects, "Object arrays cannot be loaded"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_trusted_file_that_cannot_be_read_is_refused_in_one_line(tmp_path, case):
    write, words = WRONG_FILES[case]
    path = tmp_path / "a"
    write(path)
    refused(path, words, "--weights=keras")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_truncated_file_is_refused_in_one_line(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / "a", *network())
    os.truncate(path, path.stat().st_size * 2 // 3)
    refused(path, "cannot be read as a file of the format")


# What is refused by its first bytes or its name


def test_files_of_no_format_are_refused_without_a_library(tmp_path):
    path = tmp_path / "a.mat"
    for content, words in (
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "neither a MATLAB 5, nor an HDF5, nor an .npz file: it begins with b'<!DOC"),
        (b"\x80\x02ctorch\n", "it begins with b'\\x80\\x02ctorch"),
        (b"MATLAB 5.0 MAT-f", "it begins with b'MATLAB 5.0 MAT-f'"),
        (bytes(5000), "it begins with b'\\x00"),
    ):  # fmt: skip
        path.write_bytes(content)
        refused(path, words, "--weights=keras")
    refused(tmp_path, "is a folder", "a.mat")
    refused(tmp_path / "b.mat", "no such file", "did you mean 'a.mat'")
    refused(tmp_path / "no" / "b.mat", "no such file", f"nor a folder {tmp_path / 'no'}")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    refused(tmp_path / "loop.npz", "symbolic links")
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", "/dev/zero"):
        refused(other, "not an ordinary file")
