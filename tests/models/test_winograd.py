"""Winograd's convolutions against the naive twin, the network made of them, and where they are chosen."""

import dataclasses

import keras
import numpy as np
import objectives as by_hand
import pytest
import reference
import tensorflow as tf
from narrow import make_narrow_weights

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.models import network as networks
from neural_style_tf.models import precision as precision_module
from neural_style_tf.models import winograd
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.tiling.planner import plan_memory
from neural_style_tf.transfer.session import stylize


def convolve(features, kernel, bias, upstream, border=1):
    """The convolution and its gradient, of NumPy arrays [H, W, N]."""
    transformed = tf.constant(winograd.transform_kernel(kernel), kernel.dtype)

    @tf.function(autograph=False)
    def both(features, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = winograd.convolve(features, transformed, tf.constant(bias), border=border)
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


@pytest.mark.parametrize(("rows", "columns"), [(7, 4)])
def test_without_a_border(rows, columns):
    features, upstream = random(rows + 2, columns + 2, 3), random(rows, columns, 5, seed=1)
    kernel, bias = random(3, 3, 3, 5), random(5)
    found, gradient = convolve(features, kernel, bias, upstream, border=0)
    full = reference.convolve(features, kernel, bias)[1:-1, 1:-1]
    np.testing.assert_allclose(found, full, rtol=0, atol=1e-13)
    around = np.pad(upstream, ((1, 1), (1, 1), (0, 0)))
    np.testing.assert_allclose(gradient, reference.convolve_backward(around, kernel), rtol=0, atol=1e-13)


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
        a, g, b = (np.array(matrix) for matrix in winograd._matrices()[:3])
        seen = np.einsum("ij,tjc->tic", b.astype("f"), tile.astype("f"))
        products = np.einsum("tic,ic->ti", seen, (g @ kernel).astype("f"))
        errors.append(np.std(products @ a.T.astype("f") - np.transpose(exact)))
    winograd._matrices.cache_clear()
    assert errors[0] < 0.75 * errors[1]


SHALLOW = Config(content_layers=(("relu1_2", 1.0),), style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0)))


# XLA compiles four functions for each layer and size.
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


CPU_FLAGS = {"": "avx2", "with bfloat16": "avx512_bf16", "with bfloat16 and AMX": "avx512_bf16 amx_bf16"}


@pytest.mark.parametrize(
    ("convolution", "precision", "gpus", "pixels", "expected"),
    [
        ("auto", "float32", [], 130_000, "winograd"),
        ("auto", "auto", [], 10**6, "winograd"),
        ("auto", "auto with bfloat16", [], 10**6, "winograd"),
        ("auto", "auto with bfloat16 and AMX", [], 10**6, "direct"),
        ("auto", "float32 with bfloat16 and AMX", [], 10**6, "winograd"),
        ("direct", "float32", [], 10**6, "direct"),
        ("winograd", "bfloat16", ["GPU"], 10, "winograd"),
        ("auto", "float32", [], 129_999, "direct"),
        ("auto", "float32", ["GPU"], 10**6, "direct"),
        ("auto", "bfloat16", [], 700_000, "winograd"),
        ("auto", "bfloat16", [], 699_999, "direct"),
        ("large", "tf32", ["GPU"], 130_000, "winograd"),
        ("large", "bfloat16 with bfloat16 and AMX", [], 700_000, "winograd"),
        ("large", "tf32", ["GPU"], 129_999, "direct"),
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


@pytest.mark.parametrize("tile", ["none", pytest.param("32", marks=pytest.mark.slow)])
def test_the_style_picture_is_seen_directly_and_steps_are_traced_once(
    pictures, narrow_weights, tile, monkeypatch
):
    """XLA need not compile for the style picture: its targets have the bits of direct convolutions."""
    traced, convolve = [], winograd.convolve

    def count(*arguments, **keywords):
        traced.append(1)
        return convolve(*arguments, **keywords)

    monkeypatch.setattr(winograd, "convolve", count)
    direct, ours = (
        by_hand.solver_of_run(
            list(pictures), SHALLOW.replace(convolution=convolution, tile=tile), narrow_weights
        )
        for convolution in ("direct", "winograd")
    )
    assert ours.step.evaluation.tile == direct.step.evaluation.tile
    styles = [term.name for term in ours.step.evaluation.terms if term.part == "style"]
    assert styles == ["style/relu1_1", "style/relu2_1"]
    for name in styles:
        np.testing.assert_array_equal(*(solver.arguments.targets[name] for solver in (direct, ours)))
    targets = (solver.arguments.targets["content/relu1_2"] for solver in (direct, ours))
    assert not np.array_equal(*(target["features"].values for target in targets))
    ours.start()
    before = len(traced)
    ours.advance()
    assert len(traced) == before > 0


@pytest.fixture
def asked_anew():
    """Forget whether XLA is there, before and after."""
    winograd._xla_compiles.cache_clear()
    yield
    winograd._xla_compiles.cache_clear()


def test_not_chosen_where_xla_is_missing(monkeypatch, asked_anew):
    def no_compiler(*_, **__):
        raise tf.errors.UnimplementedError(None, None, "no XLA")

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert winograd._xla_compiles()
    winograd._xla_compiles.cache_clear()
    monkeypatch.setattr(tf, "function", lambda *_, **__: no_compiler)
    assert winograd.select_convolution("auto", "float32", 10**6) == "direct"
    with pytest.raises(UserError, match="--convolution=large needs XLA, .*: use --convolution=direct"):
        winograd.select_convolution("large", "float32", 10**6)


def test_published_presets_keep_to_the_definition():
    found = {name: preset.network.convolution for name, preset in PRESETS.items()}
    assert found == {"original": "direct", "slides": "direct", "gatys": "direct", "balanced": "auto"}


@pytest.mark.parametrize("padding", ["zero", "edge"])
def test_a_network_uses_the_functions_that_were_traced_before(padding):
    """Their names, by which XLA keeps its code, depend on what else was made until then."""
    # No other test has this many channels.
    channels = 11 if padding == "zero" else 13
    winograd.trace(channels, channels, "float32", int(padding == "zero"))
    functions = (
        *(winograd._split_inputs, winograd._split_results),
        *(winograd._join_results, winograd._join_inputs),
    )
    before = [function.experimental_get_tracing_count() for function in functions]
    kernel = np.ones((3, 3, channels, channels), np.float32)
    image = keras.Input((None, None, channels), batch_size=1)
    layer = networks.WinogradConvolution(kernel, np.zeros(channels, np.float32), padding=padding)
    model = keras.Model(image, layer(image))

    @tf.function(input_signature=[tf.TensorSpec([1, None, None, channels])], autograph=False)
    def gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(tf.square(model(features)))
        return tape.gradient(total, features)

    gradient.get_concrete_function()
    assert [function.experimental_get_tracing_count() for function in functions] == before
