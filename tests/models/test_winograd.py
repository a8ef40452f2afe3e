"""Winograd's convolutions against the naive twin, the network made of them, and where they are chosen."""

import dataclasses

import numpy as np
import objectives as by_hand
import pytest
import reference
import tensorflow as tf
from narrow import make_narrow_weights

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config
from neural_style_tf.models import network as networks
from neural_style_tf.models import precision as precision_module
from neural_style_tf.models import winograd
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.tiling.planner import plan_memory
from neural_style_tf.transfer.session import stylize


def convolve(features, kernel, bias, upstream, padding="zero"):
    """The convolution and its gradient, of NumPy arrays [H, W, N]."""
    transformed = tf.constant(winograd.transform_kernel(kernel), kernel.dtype)

    @tf.function(autograph=False)
    def both(features, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = winograd.convolve(features, transformed, tf.constant(bias), padding=padding)
        return result, tape.gradient(result, features, upstream)

    return (array.numpy()[0] for array in both(features[None], upstream[None]))


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("size", [(1, 1), (8, 13)])
def test_equals_the_naive_twin(size):
    features, upstream = random(*size, 3), random(*size, 5, seed=1)
    kernel, bias = random(3, 3, 3, 5), random(5)
    found, gradient = convolve(features, kernel, bias, upstream)
    np.testing.assert_allclose(found, reference.convolve(features, kernel, bias), rtol=0, atol=1e-13)
    np.testing.assert_allclose(gradient, reference.convolve_backward(upstream, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (7, 4)])
def test_repeats_the_edges(size):
    features, upstream = random(*size, 3), random(*size, 5, seed=1)
    kernel, bias = random(3, 3, 3, 5), random(5)
    found, gradient = convolve(features, kernel, bias, upstream, padding="edge")
    full = reference.convolve(np.pad(features, ((1, 1), (1, 1), (0, 0)), mode="edge"), kernel, bias)
    np.testing.assert_allclose(found, full[1:-1, 1:-1], rtol=0, atol=1e-13)
    around = reference.convolve_backward(np.pad(upstream, ((1, 1), (1, 1), (0, 0))), kernel)
    # The gradient at a repeated position belongs to the position that it repeats.
    rows, columns = (np.clip(np.arange(-1, side + 1), 0, side - 1) for side in size)
    expected = np.zeros_like(features)
    np.add.at(expected, np.ix_(rows, columns), around)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13)


def test_the_turned_kernel_needs_no_transform_of_its_own():
    """Rows of G for reversed coefficients are those of the partners, times constants."""
    kernel, tile = random(3, 3), random(6, 6)
    ours = winograd.sums(turned=True)
    transformed = winograd.transform_kernel(kernel[..., None, None]).ravel()
    found = ours.results @ (transformed * (ours.inputs @ tile.ravel()))
    expected = [np.sum(kernel[::-1, ::-1] * tile[i : i + 3, j : j + 3]) for i in range(4) for j in range(4)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float32", 2e-6), pytest.param("bfloat16", 0.018, marks=pytest.mark.slow)]
)
def test_rounding_at_full_width(dtype, allowed):
    """In mean squares."""
    features, kernel = (tf.cast(random(*shape), dtype) for shape in ((12, 12, 256), (3, 3, 256, 256)))
    kernel, upstream = kernel.numpy(), tf.cast(random(12, 12, 256, seed=1), dtype)
    zero = np.zeros(256)
    found = convolve(features, kernel, zero.astype(kernel.dtype), upstream)
    features, upstream = (tf.cast(tensor, "float64").numpy() for tensor in (features, upstream))
    expected = reference.convolve(features, kernel, zero), reference.convolve_backward(upstream, kernel)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == tf.as_dtype(dtype).as_numpy_dtype
        assert 0 < np.std(ours.astype("float64") - exact) < allowed * np.std(exact)


@pytest.mark.slow
def test_rounds_seven_times_as_much_as_direct_convolutions_in_bfloat16():
    """As docs/solver.md says; of features as after a ReLU."""
    features = tf.cast(np.maximum(random(20, 16, 256), 0), "bfloat16")
    kernel = tf.cast(random(3, 3, 256, 256, seed=1), "bfloat16")
    direct = tf.nn.conv2d(features[None], kernel, 1, "SAME")[0].numpy()
    features, kernel = features.numpy(), kernel.numpy()
    zero = np.zeros(256)
    ours, _ = convolve(features, kernel, zero.astype(kernel.dtype), direct)
    exact = reference.convolve(features.astype("float64"), kernel.astype("float64"), zero)
    rounding = [np.std(found.astype("float64") - exact) for found in (ours, direct)]
    assert 6 < rounding[0] / rounding[1] < 8


def test_points_that_round_little(monkeypatch):
    """In one dimension three quarters of the error of the usual ones, in two half; the reason for ours."""
    tile, kernel, errors = np.abs(random(200, 6, 256)), random(3, 256, seed=1), []
    exact = [np.einsum("tic,ic->t", tile[:, i : i + 3], kernel) for i in range(4)]
    for points in (winograd.POINTS, (0, 1, -1, 2, -2)):
        monkeypatch.setattr(winograd, "POINTS", points)
        winograd._matrices.cache_clear()
        a_transposed, g, b_transposed = winograd._matrices()
        seen = np.einsum("ij,tjc->tic", b_transposed.astype("f"), tile.astype("f"))
        products = np.einsum("tic,ic->ti", seen, (g @ kernel).astype("f"))
        errors.append(np.std(products @ a_transposed.T.astype("f") - np.transpose(exact)))
    winograd._matrices.cache_clear()
    assert errors[0] < 0.75 * errors[1]


SHALLOW = Config(content_layers=(("relu1_2", 1.0),), style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0)))


TWICE = dataclasses.replace(VGG19, winograd=frozenset({"conv1_2", "conv2_1"}))


@pytest.fixture(scope="module")
def narrow_weights():
    """A narrow network with two of Winograd's convolutions."""
    return dataclasses.replace(make_narrow_weights(), architecture=TWICE)


# Nothing but a cut out of a tile above the last convolution.
BARE = Config(content_layers=(("conv1_2", 1.0),), style_layers=(("relu1_1", 1.0), ("conv2_1", 1.0)))


@pytest.mark.parametrize(
    ("config", "tile"),
    [
        # Two windows of one size.
        (BARE.replace(padding="edge"), 16),
        pytest.param(SHALLOW, None, marks=pytest.mark.slow),
    ],
)
def test_same_objective(config, tile):
    """And in tiles, whose shapes the graph does not know."""
    weights = make_narrow_weights(dtype="float64")
    image, content, style = (100 * random(1, 15, 32, 3, seed=seed) for seed in range(3))
    found = []
    for convolution in ("direct", "winograd"):
        network = networks.build_network(
            weights.kernels,
            weights.biases,
            outputs=config.loss.layers,
            padding=config.network.padding,
            convolution=convolution,
            architecture=TWICE,
            dtype="float64",
        )
        pieces = tile if convolution == "winograd" else None
        # With windows of the same size as the objective's.
        objective = by_hand.objective_of(network, content, style, config, tile=pieces)
        found.append(objective(tf.constant(image)))
    (terms, gradient), (ours, our_gradient) = found
    assert {name: float(value) for name, value in ours.items()} == pytest.approx(
        {name: float(value) for name, value in terms.items()}, rel=1e-10
    )
    np.testing.assert_allclose(our_gradient, gradient, rtol=0, atol=1e-10 * np.abs(gradient).max())


def test_features_of_bfloat16(narrow_weights):
    """Kernels of bfloat16 as well; a few times as far from the exact ones as direct."""
    image, found = 100 * random(1, 24, 32, 3).astype("float32"), {}
    for convolution, compute in (("direct", None), ("direct", "bfloat16"), ("winograd", "bfloat16")):
        model = networks.build_network(
            narrow_weights.kernels,
            narrow_weights.biases,
            outputs=["relu1_2"],
            architecture=TWICE,
            convolution=convolution,
            compute_dtype=compute,
        )
        features = tf.function(model, autograph=False)(image)["relu1_2"]
        assert features.dtype == compute or features.dtype == "float32"
        found[convolution, compute] = tf.cast(features, "float64").numpy()
    assert {weight.dtype for weight in model.get_layer("conv1_2").weights} == {"bfloat16"}
    exact, direct, ours = found.values()
    assert 0 < np.std(ours - exact) <= 6 * np.std(direct - exact)


def test_only_where_it_pays(narrow_weights):
    model = networks.build_network(
        narrow_weights.kernels, narrow_weights.biases, outputs=["relu5_1"], convolution="winograd"
    )
    names = [layer.name for layer in model.layers if isinstance(layer, networks.WinogradConvolution)]
    assert names == [f"conv{block}_{index}" for block in (3, 4) for index in (1, 2, 3, 4)]
    assert model.output["relu5_1"].shape == (1, None, None, 64)
    assert model.trainable_weights == []


@pytest.mark.slow
def test_a_run(pictures, narrow_weights):
    """The setting reaches the network, whose losses differ in rounding only; twice, to the same bits."""
    totals = {}
    for convolution in ("direct", "winograd", "winograd"):
        config = SHALLOW.replace(convolution=convolution, iterations=2, log_every=1, save_every=0)
        records = stylize(*pictures, config, weights=narrow_weights)
        found = [(record.terms["total"], record.image.tobytes()) for record in records]
        assert totals.setdefault(convolution, found) == found
    for (direct, _), (ours, _) in zip(*totals.values(), strict=True):
        assert ours == pytest.approx(direct, rel=1e-4)
    assert totals["direct"] != totals["winograd"]


CPU_FLAGS = {"": "avx2", "with bfloat16": "avx512_bf16"}


@pytest.mark.parametrize(
    ("convolution", "precision", "gpus", "pixels", "expected"),
    [
        ("auto", "float32", [], winograd.WORTH_IT, "winograd"),
        ("auto", "float32", [], winograd.WORTH_IT - 1, "direct"),
        ("auto", "auto", [], 10**6, "winograd"),
        ("auto", "auto with bfloat16", [], 10**6, "direct"),
        ("auto", "float32 with bfloat16", [], 10**6, "winograd"),
        ("auto", "bfloat16", [], 10**6, "direct"),
        ("auto", "float32", ["GPU"], 10**6, "direct"),
        ("direct", "float32", [], 10**6, "direct"),
        ("winograd", "bfloat16", ["GPU"], 10, "winograd"),
        ("large", "tf32", ["GPU"], winograd.WORTH_IT, "winograd"),
        ("large", "bfloat16 with bfloat16", [], winograd.WORTH_IT, "winograd"),
        ("large", "tf32", ["GPU"], winograd.WORTH_IT - 1, "direct"),
    ],
)
def test_chosen_where_it_is_faster(monkeypatch, convolution, precision, gpus, pixels, expected):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(precision_module, "_cpu_flags", lambda: CPU_FLAGS[precision.partition(" ")[2]])
    assert winograd.select_convolution(convolution, precision.partition(" ")[0], pixels) == expected


def test_the_choice_is_of_this_picture_and_counts(monkeypatch, pictures):
    """What is chosen for its settings and size is what the network is made of and what memory is told for."""
    layers = {"content_layers": (("conv3_1", 1.0),), "style_layers": (("relu1_1", 1.0),)}
    config = Config(**layers, convolution="auto", precision="bfloat16", iterations=1)
    asked, plain = [], plan_memory(config, (40, 48)).needed

    def choose(*arguments):
        asked.append(arguments)
        return "winograd"

    monkeypatch.setattr(winograd, "select_convolution", choose)
    solver = by_hand.solver_of_run(list(pictures), config, make_narrow_weights())
    assert set(asked) == {("auto", "bfloat16", 40 * 48)}
    assert isinstance(solver.step.evaluation.network.get_layer("conv3_1"), networks.WinogradConvolution)
    assert plan_memory(config, (40, 48)).needed > plain


def test_published_presets_keep_to_the_definition():
    found = {name: preset.network.convolution for name, preset in PRESETS.items()}
    assert found == {"original": "direct", "slides": "direct", "gatys": "direct", "balanced": "auto"}
