"""What the losses see of a picture, against naive twins."""

import numpy as np
import pytest
import reference
from narrow import make_narrow_weights

import neural_style_tf as nst
from neural_style_tf.config.schema import NetworkConfig
from neural_style_tf.errors import UserError

LAYERS = ["relu1_1", "pool2", "relu3_1"]


@pytest.mark.parametrize("network", [None, NetworkConfig(pooling="average", padding="edge")])
def test_features_are_those_of_the_naive_twin(pictures, narrow_weights, network):
    content, _ = pictures
    found = nst.extract_features(content, LAYERS, narrow_weights, network)
    settings = network or NetworkConfig()
    expected = reference.features(
        content - reference.MEAN, narrow_weights, nst.VGG19_LAYERS[:12], settings.pooling, settings.padding
    )
    assert list(found) == LAYERS
    for layer in LAYERS:
        assert found[layer].dtype == np.float32
        np.testing.assert_allclose(found[layer], expected[layer], rtol=1e-3, atol=2e-3)


def test_transposed_kernels_are_seen(pictures, narrow_weights):
    plain, turned = (
        nst.extract_features(pictures[0], ["relu1_1"], narrow_weights, NetworkConfig(transpose_kernels=turn))
        for turn in (False, True)
    )
    assert np.abs(plain["relu1_1"] - turned["relu1_1"]).max() > 1


def test_each_call_sees_its_own_weights(pictures):
    one, other = (
        nst.extract_features(pictures[0], ["relu1_1"], make_narrow_weights(seed=seed))["relu1_1"]
        for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 1


@pytest.mark.parametrize(("normalization", "divisor"), [("positions", 20), ("elements", 60)])
def test_gram_matrix_is_eq_3(normalization, divisor):
    features = np.random.default_rng(3).standard_normal((5, 4, 3))
    found = nst.gram_matrix(features, normalization)
    np.testing.assert_allclose(found, reference.gram(features) / divisor, rtol=1e-5)


def test_mistakes_are_one_clear_line(narrow_weights):
    picture = np.zeros((8, 8, 3), np.float32)
    for pixels, layers, message in (
        (picture[..., 0], ["relu1_1"], r"pixels must be an array \[H, W, 3\], not \[8, 8\]"),
        (picture[:0], ["relu1_1"], r"pixels must be an array \[H, W, 3\], not \[0, 8, 3\]"),
        (picture, "relu1_1", "layers must be a list of at least one layer"),
        (picture, [], "layers must be a list of at least one layer"),
        (picture, ["relu1_9"], "no layer 'relu1_9' in VGG-19"),
    ):
        with pytest.raises(UserError, match=message):
            nst.extract_features(pixels, layers, narrow_weights)
    with pytest.raises(UserError, match=r"features must be an array \[H, W, N\], not \[3, 3\]"):
        nst.gram_matrix(np.eye(3))
    with pytest.raises(UserError, match="normalization must be positions or elements, not 'pixels'"):
        nst.gram_matrix(picture, "pixels")
