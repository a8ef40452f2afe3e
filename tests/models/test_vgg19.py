"""The network: shapes, parameters, parity with Keras' own, a naive twin, and its quirks."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from narrow import make_narrow_weights

from neural_style_tf.errors import UserError
from neural_style_tf.models.architecture import VGG16, VGG19, VGG19_LAYERS
from neural_style_tf.models.network import build_network, repeat_edges

WEIGHTS64 = make_narrow_weights(dtype="float64")


def build(outputs, **options):
    return build_network(WEIGHTS64.kernels, WEIGHTS64.biases, outputs=outputs, dtype="float64", **options)


def test_layer_tuple_is_the_slides():
    assert len(VGG19_LAYERS) == 36
    assert [sum(n.startswith(k) for n in VGG19_LAYERS) for k in ("conv", "relu", "pool")] == [16, 16, 4]


@pytest.mark.parametrize(("pooling", "padding"), [("average", "zero"), ("max", "edge")])
def test_every_layer_equals_the_naive_twin(pooling, padding):
    """Its shape, rounded up at each pooling, is that of the geometry."""
    image = np.random.default_rng(0).uniform(-100, 100, (19, 23, 3))
    twins = reference.features(image, WEIGHTS64, VGG19_LAYERS, pooling, padding)
    layers = build(VGG19_LAYERS, pooling=pooling, padding=padding)(image[np.newaxis])
    for name in VGG19_LAYERS:
        features = layers[name].numpy()
        assert features[0] == pytest.approx(twins[name], rel=1e-9, abs=1e-9), name
        assert features[..., 0].size == VGG19.positions(name, 19, 23), name
        assert features.shape[-1] == VGG19.depth(name) // 8, name


@pytest.mark.parametrize("padding", ["zero", "edge"])
def test_only_edges_repeated_leave_no_frame(padding):
    """All over a flat picture the features are the same, at its border, too."""
    found = build(["relu3_2"], padding=padding)(np.full((1, 40, 40, 3), 50.0))["relu3_2"].numpy()
    spread = np.ptp(found, axis=(1, 2)).max() / found.max()
    assert spread < 1e-12 if padding == "edge" else spread > 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (6, 7)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_edges_repeated_as_by_tensorflow(size, dtype):
    rng = np.random.default_rng(0)
    features = tf.Variable(tf.cast(rng.uniform(-1, 1, (1, *size, 4)), dtype))
    upstream = tf.cast(rng.uniform(-1, 1, (1, size[0] + 2, size[1] + 2, 4)), dtype)
    found, expected = [], []
    for pad, out in ((repeat_edges, found), (symmetric, expected)):
        with tf.GradientTape() as tape:
            padded = pad(tf.convert_to_tensor(features))
        out += [padded, tape.gradient(padded, features, upstream)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(tf.cast(one, "float64"), tf.cast(other, "float64"))


def symmetric(features):
    return tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")


@pytest.mark.parametrize("name", ["relu2_2", "pool4", pytest.param("relu5_1", marks=pytest.mark.slow)])
def test_halo_is_the_receptive_field(name):
    """A pixel reaches exactly `halo` positions beyond its stride cell, measured by brute force."""
    step, reach = VGG19.stride(name), VGG19.halo(name)
    size = (2 * reach // step + 6) * step
    image = tf.Variable(np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)))
    kernels = {key: np.abs(kernel) for key, kernel in WEIGHTS64.kernels.items()}
    biases = {key: np.abs(bias) for key, bias in WEIGHTS64.biases.items()}
    model = build_network(kernels, biases, outputs=[name], dtype="float64", pooling="average")
    cell = size // step // 2
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(tf.convert_to_tensor(image))[name][:, cell, cell])
    seen = np.nonzero(np.abs(tape.gradient(value, image).numpy()).sum((0, 2, 3)))[0]
    assert seen.min() == cell * step - reach
    assert seen.max() == cell * step + step - 1 + reach


def test_network_is_cut_after_the_deepest_layer():
    names = [layer.name for layer in build(["relu1_1", "conv2_1"]).layers]
    assert names[-1] == "conv2_1" and "relu2_1" not in names


def test_transposed_kernels_on_a_picture_are_the_network_on_the_transposed_picture():
    image = np.random.default_rng(0).uniform(-100, 100, (1, 32, 48, 3))
    plain = build(["relu4_2"])(image.transpose(0, 2, 1, 3))["relu4_2"].numpy()
    quirk = build(["relu4_2"], transpose_kernels=True)(image)["relu4_2"].numpy()
    assert quirk == pytest.approx(plain.transpose(0, 2, 1, 3), rel=1e-10, abs=1e-10)
    assert np.abs(quirk - build(["relu4_2"])(image)["relu4_2"].numpy()).max() > 0.1


def test_unknown_layer_suggests_the_nearest():
    with pytest.raises(UserError, match=r"'relu4-2'.*relu4_2"):
        build(["relu4-2"])


def test_parity_with_keras_applications():
    """Equal weights, a side that is even at every pooling: Keras' own VGG19 gives the same features."""
    weights = make_narrow_weights(divisor=1)
    theirs = keras.applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in theirs.layers:
        if "conv" in layer.name:
            name = layer.name.replace("block", "conv").replace("_conv", "_")
            layer.set_weights([weights.kernels[name], weights.biases[name]])
    names = [layer.name for layer in theirs.layers if "conv" in layer.name]
    ours = build_network(
        weights.kernels, weights.biases, outputs=[f"relu{name[5]}_{name[-1]}" for name in names]
    )
    assert ours.count_params() == theirs.count_params() == 20_024_384
    assert ours.trainable_weights == []
    image = np.random.default_rng(0).uniform(-100, 100, (1, 32, 32, 3)).astype("float32")
    theirs = keras.Model(theirs.input, [theirs.get_layer(name).output for name in names])
    for (name, features), expected in zip(ours(image).items(), theirs(image), strict=True):
        assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max(), name


def test_no_filter_gradient_is_computed():
    model = build(["relu5_1"])

    @tf.function(autograph=False)
    def step(image):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            loss = tf.reduce_sum(model(image)["relu5_1"])
        return tape.gradient(loss, image)

    graph = step.get_concrete_function(tf.TensorSpec([1, 32, 32, 3], tf.float64)).graph
    executed, waiting = set(), [output.op for output in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in executed:
            executed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    kinds = [operation.type for operation in executed]
    assert kinds.count("Conv2DBackpropInput") == 13
    assert "Conv2DBackpropFilter" not in kinds and "BiasAddGrad" not in kinds


def test_vgg16_has_the_features_of_vgg19_with_identities():
    """To the bit: an identity and another ReLU change nothing."""
    kernels, biases = dict(WEIGHTS64.kernels), dict(WEIGHTS64.biases)
    for name in ("conv3_4", "conv4_4", "conv5_4"):
        width = biases[name].size
        kernels[name], biases[name] = np.zeros((3, 3, width, width)), np.zeros(width)
        kernels[name][1, 1] = np.eye(width)
    image = np.random.default_rng(0).uniform(-100, 100, (1, 20, 28, 3))
    layers = ("relu1_1", "relu3_4", "relu4_2", "conv4_4", "relu5_1", "relu5_4")
    shaped = build_network(kernels, biases, outputs=layers, dtype="float64")(image)
    thirteen = {name: kernels[name] for name, _ in VGG16.channels}
    resolved = {layer: VGG16.resolve(layer) for layer in layers}
    itself = build_network(thirteen, biases, outputs=tuple(dict.fromkeys(resolved.values())), dtype="float64")
    assert itself.architecture is VGG16
    assert list(resolved.values()) == ["relu1_1", "relu3_3", "relu4_2", "relu4_3", "relu5_1", "relu5_3"]
    features = itself(image)
    for layer, other in resolved.items():
        np.testing.assert_array_equal(features[other], shaped[layer], err_msg=layer)
    assert VGG16.alignment(("relu5_1",)) == (16, 64) and VGG16.halo("relu5_1") == 58
