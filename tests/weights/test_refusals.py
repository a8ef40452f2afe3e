import contextlib
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from weight_files import (
    FULL,
    NAMES,
    cell,
    layers43,
    network,
    no_child,
    read,
    refused,
    small_npz,
    write_h5,
    write_mat,
)

from neural_style_tf.errors import UserError
from neural_style_tf.weights import registry


def vgg16(kernels, biases):
    drop = ("conv3_4", "conv4_4", "conv5_4")
    return [{k: v for k, v in d.items() if k not in drop} for d in (kernels, biases)]


def changed(name, kernel=None, bias=None):
    kernels, biases = network()
    if kernel is not None:
        kernels[name] = kernel(kernels[name])
    if bias is not None:
        biases[name] = bias(biases[name])
    return kernels, biases


def poison(value):
    def put(array):
        array = array.copy()
        array.flat[-1] = value
        return array

    return put


WRONG_NETWORKS = {
    "vgg16": (vgg16(*network()), ["VGG-16", "conv3_4, conv4_4, conv5_4"]),
    "missing": ([{k: v for k, v in d.items() if k != "conv2_2"} for d in network()], ["without conv2_2"]),
    "swapped axes": (
        changed("conv4_1", kernel=lambda k: k.transpose(0, 1, 3, 2)),
        ["conv4_1", "3×3×64×32", "expected 3×3×32×64"],
    ),
    "bias": (changed("conv1_2", bias=lambda b: b[:-1]), ["conv1_2", "bias", "7", "expected 8"]),
    "nan": (changed("conv5_4", kernel=poison(np.nan)), ["NaN", "kernel of conv5_4"]),
    "inf": (changed("conv1_1", bias=poison(np.inf)), ["infinity", "bias of conv1_1"]),
    "integers": (changed("conv3_1", kernel=lambda k: k.astype(np.int8)), ["conv3_1", "int8"]),
}


@pytest.mark.parametrize("case", WRONG_NETWORKS)
@pytest.mark.parametrize("form", ["mat", "h5"])
def test_wrong_network_is_refused_by_name(tmp_path, case, form):
    (kernels, biases), words = WRONG_NETWORKS[case]
    path = tmp_path / f"a.{form}"
    (write_mat if form == "mat" else write_h5)(path, kernels, biases)
    refused(
        path, str(path), "Expected the 16 convolutions", registry.MATCONVNET.url, "--weights=keras", *words
    )


def test_other_matlab_files_are_refused(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"speed": np.ones(3), "mass": 1.0})
    refused(path, "not a MatConvNet network", "speed, mass")
    scipy.io.savemat(path, {"layers": np.ones(3)})
    refused(path, "'layers' are not structs")
    scipy.io.savemat(path, {"layers": cell([{"name": "a"}]), "params": 1.0, "vars": 1.0})
    refused(path, "DagNN")
    layers = [
        {"name": f"conv{i}", "type": "conv", "weights": cell([np.ones((3, 3, 2, 2)), np.ones(2)])}
        for i in "123"
    ]
    scipy.io.savemat(path, {"layers": cell(layers)})
    refused(path, "another network", "conv1, conv2, conv3")
    layers = layers43(*network())
    scipy.io.savemat(path, {"layers": cell([*layers, layers[0]])})
    refused(path, "two layers named conv1_1")
    layers[0]["name"] = "\x1b[31mred"
    scipy.io.savemat(path, {"layers": cell(layers)})
    assert "\x1b" not in refused(path, "without conv1_1")


def test_small_network_is_refused_at_full_width(tmp_path):
    path = write_mat(tmp_path / "a.mat", *network())
    refused(path, "conv1_1", "3×3×3×8", "expected 3×3×3×64", widths=FULL)


def test_other_hdf5_files_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    refused(path, "without the layers block1_conv1")
    write_h5(path, *network())
    with h5py.File(path, "a") as file:
        file["block1_conv1/more"] = np.ones((3, 3, 3, 8))
    refused(path, "conv1_1 has 2 kernels")
    kernels, biases = network()
    write_h5(path, kernels, biases)
    path.write_bytes(path.read_bytes()[:-5000])
    refused(path, "damaged or truncated HDF5")


def test_hdf5_that_declares_a_huge_layer_is_not_read(tmp_path):
    path = write_h5(tmp_path / "a.h5", *network())
    with h5py.File(path, "a") as file:
        del file["block2_conv1"]
        file.create_dataset("block2_conv1/k", shape=(3, 3, 10**6, 10**6), dtype="f4", chunks=(3, 3, 8, 8))
        file["block2_conv1/b"] = np.ones(16, np.float32)
    refused(path, "conv2_1 has a kernel of shape 3×3×1000000×1000000")


@pytest.mark.parametrize("kind", ["external", "virtual"])
def test_hdf5_whose_numbers_lie_in_another_file_is_refused(tmp_path, kind):
    path = write_h5(tmp_path / "a.h5", *network())
    # A pipe: whoever opens it waits for ever.
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "a") as file:
        del file["block1_conv1/block1_conv1_b_1:0"]
        if kind == "external":
            storage = [(str(tmp_path / "pipe"), 0, 32)]
            file.create_dataset("block1_conv1/b", (8,), "f4", external=storage)
        else:
            layout = h5py.VirtualLayout((8,), "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "pipe", "x", (8,), "f4")
            file.create_virtual_dataset("block1_conv1/b", layout)
    refused(path, "conv1_1 keeps its numbers in another file")


def test_plainly_wrong_files_are_refused_without_a_library(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", no_child)
    path = tmp_path / "a.mat"
    for content, word in (
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>404", "web page"),
        (b"<html>", "web page"),
        (b"MATLAB 5.0 MAT-f", "truncated"),
        (bytes(5000), "unfinished download"),
        (b"Hello, I am text", "neither a MATLAB"),
    ):
        path.write_bytes(content)
        refused(path, word, registry.MATCONVNET.url)
    refused(tmp_path, "is a folder", "a.mat")
    refused(tmp_path / "b.mat", "no such file", "did you mean 'a.mat'")
    refused(tmp_path / "no" / "b.mat", "no such file", f"nor a folder {tmp_path / 'no'}")
    refused(tmp_path / "a\0b", "not a file name")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not an ordinary file")


@pytest.mark.parametrize(
    "start",
    [b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n", b"PK\3\4", b"\x08\x07\x12\x07pytorch", b"\x0a\x03VGG"],
)
def test_files_of_a_few_bytes_are_refused(tmp_path, start):
    path = tmp_path / "weights.npz"
    for length in range(1, len(start)):
        path.write_bytes(start[:length])
        refused(path)


def pytorch():
    """The beginning of what torch.save writes: a zip archive, stored, whose first member is a pickle."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("vgg19/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("vgg19/data/0", bytes(100_000))
    return data.getvalue()


class Boom:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("boom", "w")


@pytest.mark.parametrize("suffix", ["pth", "npz", "mat"])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (pytorch(), "a PyTorch file, which is never opened"),
        (pytorch()[:-5000], "a PyTorch file, which is never opened"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + b"rest", "a PyTorch file, which is never opened"),
        (pickle.dumps(Boom()), "a Python pickle, which is never opened"),
        (pickle.dumps({"conv1_1": 1}, protocol=2), "a Python pickle, which is never opened"),
        ((8).to_bytes(8, "little") + b'{"a": {}}', "a safetensors file"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array"),
        (b"\x0a\x13VGG_ILSVRC_19_layer" + b"\x12\x04data", "a Caffe model"),
        (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        (b"\x1f\x8b\x08", "compressed by gzip; unpack it first"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
    ],
)
def test_files_of_other_systems_are_named_and_never_opened(tmp_path, monkeypatch, suffix, content, word):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", no_child)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    refused(path, word, "--weights=keras downloads it")
    assert not Path("boom").exists()


def test_a_keras_archive_is_named(tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    refused(path, "a Keras model archive", "save_weights")


def test_another_onnx_file_is_refused_by_its_hash(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x07\x12\x07tf2onnx" + bytes(100))
    refused(path, "not the network of", "no other ONNX file is read")


def test_matlab_73_is_refused(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["layers"] = np.ones(3)
    data = bytearray(path.read_bytes())
    data[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(data)
    refused(path, "MATLAB 7.3", "-v7")


def test_unreadable_file(tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(b"x")
    path.chmod(0)
    with contextlib.ExitStack() as stack:
        if os.geteuid() == 0:
            os.seteuid(65534)
            stack.callback(os.seteuid, 0)
        refused(path, str(path), "cannot be read", "Permission denied")


@pytest.mark.parametrize("compress", [False, True])
def test_truncated_mat_is_found_without_reading_it(tmp_path, monkeypatch, compress):
    path = write_mat(tmp_path / "a.mat", *network(), compress=compress)
    monkeypatch.setattr(subprocess, "run", no_child)
    data = path.read_bytes()
    for length in (128, 130, 136, 1000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(path, "without content" if length == 128 else "truncated", registry.MATCONVNET.url)


def test_damaged_mat_never_gives_a_traceback(tmp_path):
    path = write_mat(tmp_path / "a.mat", *network())
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(6):
        damaged = bytearray(data)
        # The first part holds the structure; most of the rest is numbers.
        for position in rng.integers(136, 3000, 5):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read(path, keep=False)
        except UserError as error:
            assert "\n" not in str(error)


def test_npz_of_others_and_damaged_ones_are_refused(tmp_path):
    kernels, biases = network()
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones(3))
    refused(path, "did not write", "x")
    np.savez(path, record=np.array({"a": 1}, dtype=object), **{f"{n}.kernel": kernels[n] for n in NAMES})
    refused(path, "no layers with weights")
    small_npz(path, kernels, biases)
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "record": np.array({"a": 1}, dtype=object)})
    refused(path, "damaged or truncated .npz", "allow_pickle")
    for record, word in (("[]", "format 1"), ("{", "damaged"), ('{"format": 1, "origin": 3}', "'origin'")):
        np.savez(path, **{**arrays, "record": np.array(record)})
        refused(path, word)
    np.savez(path, **{**arrays, "conv1_1.kernel": np.zeros((3, 3, 3, 9000), np.float32)})
    refused(path, "conv1_1 has a kernel of")
    np.savez(path, **{**arrays, "conv2_1.bias": np.zeros(15, np.float32)})
    refused(path, "conv2_1", "bias", "expected 16")
    small_npz(path, kernels, biases)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "a truncated .npz file")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    path.write_bytes(flipped)
    refused(path, ".npz", "CRC")


def test_npz_members_that_are_no_arrays_are_refused(tmp_path):
    path = small_npz(tmp_path / "a.npz", *network())
    for content, word in (
        (b"no array", "conv3_1.bias is not an array"),
        # NumPy's parser of headers raises what its tokenizer raises.
        (b"\x93NUMPY\1\0\x05\0(((((", "damaged or truncated .npz file"),
        (b"\x93NUMPY\1\0\x05\0" + b"\0" * 5, "damaged or truncated .npz file"),
        (pickle.dumps([Bomb(tmp_path / "executed")]), "conv3_1.bias is not an array"),
        (object_array(pickle.dumps(Bomb(tmp_path / "executed"))), "Object arrays cannot be loaded"),
    ):
        rewrite_npz(path, path, **{"conv3_1.bias.npy": content})
        refused(path, word)
    assert not (tmp_path / "executed").exists()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def object_array(pickled):
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + pickled


def rewrite_npz(path, out, **members):
    with zipfile.ZipFile(path) as archive:
        old = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (members | {name: members.get(name, old[name]) for name in old}).items():
            archive.writestr(name, data)


def test_npz_with_a_name_twice_is_refused(tmp_path):
    # NumPy would read the member without the ending, whose size nobody looked at.
    path = small_npz(tmp_path / "a.npz", *network())
    rewrite_npz(path, path, **{"conv1_1.bias": bytes(1 << 20)})
    refused(path, "two members named conv1_1.bias")


def test_npz_with_an_endless_directory_is_not_read(tmp_path, monkeypatch):
    path = small_npz(tmp_path / "a.npz", *network())
    data = path.read_bytes()
    rewrite_npz(path, path, **{f"{n}.npy": b"" for n in range(2000)})

    def read(*_, **__):
        raise AssertionError("the directory was read")

    monkeypatch.setattr(zipfile, "ZipFile", read)
    refused(path, "far too many members")
    # The same for a directory that ZIP64 says is longer.
    path.write_bytes(data[:-22] + b"PK\6\7" + bytes(16) + data[-22:])
    refused(path, "far too many members")


def test_records_inside_files_print_safely(tmp_path):
    path = small_npz(tmp_path / "a.npz", *network(), source="x\n\x1b[31m.h5" + "y" * 9999, sha256="\n")
    weights = read(path)
    assert all(text.isprintable() for text in (*weights.notes, weights.source, weights.sha256))
    assert len(weights.notes[0]) < 1000


@pytest.mark.parametrize(
    "name", ["a\nb.npz", "100%s%n.npz", "\udcff.npz", " x.npz ", "\x1b[31m.npz", "-x.npz"]
)
def test_strange_names_print_safely(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        assert refused(path, "there is no such file").isprintable()
    Path(name).write_bytes(b"nothing")
    assert refused(Path(name), "neither a MATLAB").isprintable()
    small_npz(Path(name), *network())
    assert all(note.isprintable() for note in read(name).notes)
    write_h5(name, *network())
    assert all(note.isprintable() for note in read(name).notes)


def test_links_pipes_and_devices_do_not_wait(tmp_path):
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    refused(tmp_path / "loop.npz", "symbolic links")
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", "/dev/zero"):
        refused(path, "not an ordinary file")
    # A pipe where the converted form of a .mat would lie is not waited for.
    path = write_mat(tmp_path / "a.mat", *network())
    os.mkfifo(tmp_path / "a.mat.converted.npz")
    read(path)
