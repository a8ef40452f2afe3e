import os
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.io
from weight_files import (
    FULL,
    SMALL,
    cell,
    layers43,
    network,
    no_child,
    read,
    refused,
    same,
    small_npz,
    write_h5,
    write_mat,
)

from neural_style_tf.errors import UserError
from neural_style_tf.weights import readers, registry, sandbox
from neural_style_tf.weights.cache_format import converted_path

# The converted form beside a .mat


def test_full_width_mat_is_read_once(tmp_path, monkeypatch):
    kernels, biases = network(FULL)
    path = write_mat(tmp_path / "imagenet-vgg-verydeep-19.mat", kernels, biases, "old")
    log = []
    same(readers.read_file(path, log=log.append), kernels, biases)
    assert len(log) == 1
    assert "converted" in log[0]
    cache = tmp_path / "imagenet-vgg-verydeep-19.mat.converted.npz"
    assert sorted(tmp_path.iterdir()) == [path, cache]
    assert 80_000_000 < cache.stat().st_size < 80_200_000
    monkeypatch.setattr(subprocess, "run", no_child)
    begin = time.perf_counter()
    weights = readers.read_file(path, log=log.append)
    assert time.perf_counter() - begin < 0.5
    same(weights, kernels, biases)
    assert len(log) == 1
    path.unlink()
    same(readers.read_file(cache), kernels, biases)


@pytest.mark.parametrize("harm", ["changed", "touched", "truncated", "flipped", "garbage", "other width"])
def test_stale_or_damaged_conversion_is_made_again(tmp_path, harm):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    read(path)
    cache = converted_path(path)
    if harm == "changed":
        kernels, biases = network(seed=1)
        write_mat(path, kernels, biases)
        os.utime(path, ns=(1, 1))
    elif harm == "touched":
        os.utime(path, ns=(1, 1))
    elif harm == "truncated":
        cache.write_bytes(cache.read_bytes()[:-1000])
    elif harm == "flipped":
        data = bytearray(cache.read_bytes())
        data[len(data) // 2] ^= 0x40
        cache.write_bytes(data)
    elif harm == "garbage":
        cache.write_bytes(b"no zip")
    else:
        small_npz(cache, *network(tuple(n * 2 for n in SMALL)))
    before = cache.stat().st_mtime_ns
    log = []
    same(read(path, log=log.append), kernels, biases)
    assert cache.stat().st_mtime_ns != before
    assert len(log) == 1
    assert "Reading" in log[0]


def test_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    real = sandbox.atomic_file

    def read_only(out):
        if out.parent == tmp_path:
            raise PermissionError(13, "Permission denied", str(out))
        return real(out)

    monkeypatch.setattr(sandbox, "atomic_file", read_only)
    same(read(path), kernels, biases)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_read_only_is_told(tmp_path, monkeypatch):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    said, tried = [], []
    monkeypatch.setattr(sandbox.os, "access", lambda folder, mode: False)
    monkeypatch.setattr(sandbox, "read_once", lambda *given, **named: tried.append(given))
    monkeypatch.setattr(sandbox, "convert", lambda *given, **named: tried.append("in vain"))
    sandbox.read_mat(path, log=said.append)
    assert len(tried) == 1 and tried[0] != "in vain"
    assert "as each run will have to" in said[0] and "--convert" in said[0]


def test_a_name_that_leaves_no_room_for_the_ending_of_the_converted_form_is_read(tmp_path):
    kernels, biases = network()
    path = write_mat(tmp_path / f"{'x' * 245}.mat", kernels, biases)
    same(read(path), kernels, biases)
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_falls_back_to_a_temporary_file(tmp_path, monkeypatch):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    real, seen = subprocess.run, []

    def full_first(command, **options):
        seen.append(command)
        if len(seen) == 1:
            command = [sys.executable, "-c", "import sys; sys.exit(4)"]
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", full_first)
    same(read(path), kernels, biases)
    assert len(seen) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_refused_mat_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.ones(3)})
    refused(path, "x", keep=True)
    assert list(tmp_path.iterdir()) == [path]


def test_mat_that_changes_while_it_is_read(tmp_path, monkeypatch):
    kernels, biases = network()
    path = write_mat(tmp_path / "a.mat", kernels, biases)
    real = subprocess.run

    def slow(*arguments, **options):
        os.utime(path, ns=(1, 1))
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", slow)
    refused(path, "changed while", keep=True)
    assert list(tmp_path.iterdir()) == [path]


# The child process


def child(monkeypatch, code):
    monkeypatch.setattr(sandbox, "_CHILD", (sys.executable, "-c", code))


def test_child_that_crashes_gives_one_line(tmp_path, monkeypatch):
    path = write_mat(tmp_path / "a.mat", *network())
    child(monkeypatch, "import os; os.kill(os.getpid(), 11)")
    refused(path, "crashed", "SIGSEGV", registry.MATCONVNET.url)
    child(monkeypatch, "raise SystemExit('all kinds\\nof \\x1b[31mtalk')")
    message = refused(path, "talk")
    assert "\x1b" not in message
    child(monkeypatch, "print('not an npz')")
    refused(path, "cannot be read back")


@pytest.mark.parametrize("kind", [0, 8, 14])
def test_one_byte_that_crashes_scipy_is_refused(tmp_path, kind):
    """The smallest the fuzzer led to: the type of a layer's name, in a file of 472 bytes."""
    path = write_mat(tmp_path / "a.mat", None, None, layers=[{"name": "conv1_1"}])
    data = bytearray(path.read_bytes())
    data[data.index(b"conv1_1") - 8] = kind
    path.write_bytes(data)
    message = refused(path, "damaged")
    assert "crashed the MATLAB reader (SIGSEGV)" in message or "a damaged MATLAB file" in message


def test_child_that_loops_is_ended_by_its_processor_time(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "a.h5", *network())
    loop = (
        "from neural_style_tf.weights import _sandbox_worker\n"
        "_sandbox_worker.limit(10**9, -1)\n"
        "while True: pass"
    )
    child(monkeypatch, loop)
    begin = time.perf_counter()
    refused(path, "takes far longer")
    assert time.perf_counter() - begin < 10


def test_unknown_hdf5_is_read_in_the_child(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "a.h5", *network())
    child(monkeypatch, "import os; os.kill(os.getpid(), 11)")
    refused(path, "crashed the HDF5 reader (SIGSEGV)")
    # A published file, known by its hash, needs no such care.
    hashes = registry.hash_file(path)
    file = registry.PublishedFile("published", path.name, md5=hashes.md5)
    monkeypatch.setattr(registry, "PUBLISHED", (file,))
    same(read(path), *network())


def test_child_that_hangs_is_ended(tmp_path, monkeypatch):
    path = write_mat(tmp_path / "a.mat", *network())
    child(monkeypatch, "import time; time.sleep(60)")
    begin = time.perf_counter()
    with pytest.raises(UserError, match="took more than 0 seconds"):
        sandbox.convert(path, tmp_path / "o.npz", wait=0.3)
    assert time.perf_counter() - begin < 5
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
def test_child_that_wants_too_much_memory_is_refused(tmp_path):
    layers = layers43(*network())
    layers[-2]["weights"] = cell([np.zeros((1, 1, 5000, 10000), np.float32), np.zeros(3)])
    path = write_mat(tmp_path / "a.mat", None, None, layers=layers, compress=True)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(UserError, match="needs more memory"):
        sandbox.convert(path, tmp_path / "o.npz", widths=SMALL, memory=100_000_000)
    sandbox.convert(path, tmp_path / "o.npz", widths=SMALL)


def test_child_ignores_the_users_folder_and_input(tmp_path, monkeypatch):
    kernels, biases = network()
    write_mat(tmp_path / "a.mat", kernels, biases)
    for name in ("scipy", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    same(read("a.mat"), kernels, biases)
