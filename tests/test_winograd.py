"""Winograd's convolutions against the naive twin, the network made of them, and where they are chosen."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from narrow import make_narrow_weights

from neural_style_tf import layers, vgg, winograd
from neural_style_tf.config import Config
from neural_style_tf.objective import compute_targets, make_objective
from neural_style_tf.presets import PRESETS
from neural_style_tf.tiling import make_tiled_objective
from neural_style_tf.transfer import stylize


def convolve(features, kernel, bias, upstream, border=1):
    """The convolution and its gradient, of NumPy arrays [H, W, N]."""
    transformed = tf.constant(winograd.transform_kernel(kernel))

    @tf.function(autograph=False)
    def both(features, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = winograd.convolve(features, transformed, tf.constant(bias), border=border)
        return result, tape.gradient(result, features, upstream)

    return (array.numpy()[0] for array in both(features[None], upstream[None]))


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 12)])
def test_equals_the_naive_twin(size):
    features, upstream = random(*size, 3), random(*size, 5, seed=1)
    kernel, bias = random(3, 3, 3, 5), random(5)
    found, gradient = convolve(features, kernel, bias, upstream)
    np.testing.assert_allclose(found, reference.convolve(features, kernel, bias), rtol=0, atol=1e-13)
    np.testing.assert_allclose(gradient, reference.convolve_backward(upstream, kernel), rtol=0, atol=1e-13)


def test_without_a_border():
    features, upstream = random(9, 6, 3), random(7, 4, 5, seed=1)
    kernel, bias = random(3, 3, 3, 5), random(5)
    found, gradient = convolve(features, kernel, bias, upstream, border=0)
    full = reference.convolve(features, kernel, bias)[1:-1, 1:-1]
    np.testing.assert_allclose(found, full, rtol=0, atol=1e-13)
    around = np.pad(upstream, ((1, 1), (1, 1), (0, 0)))
    np.testing.assert_allclose(gradient, reference.convolve_backward(around, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 4e-6), ("bfloat16", 2**-8)])
def test_rounding_at_full_width(dtype, allowed):
    """Of the largest result: features of bfloat16 are computed with in float32 and rounded once."""
    features, kernel = (tf.cast(random(*shape), dtype) for shape in ((20, 16, 256), (3, 3, 256, 256)))
    kernel, upstream = tf.cast(kernel, "float32").numpy(), tf.cast(random(20, 16, 256, seed=1), dtype)
    zero = np.zeros(256)
    found = convolve(features, kernel, zero.astype("float32"), upstream)
    features, upstream = (tf.cast(tensor, "float64").numpy() for tensor in (features, upstream))
    expected = reference.convolve(features, kernel, zero), reference.convolve_backward(upstream, kernel)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == tf.as_dtype(dtype).as_numpy_dtype
        assert np.abs(ours.astype("float64") - exact).max() < allowed * np.abs(exact).max()


SHALLOW = Config(content_layers=(("relu1_2", 1.0),), style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0)))


@pytest.fixture
def everywhere(monkeypatch):
    """Have narrow networks, too, made of Winograd's convolutions."""
    monkeypatch.setattr(layers, "WINOGRAD_BLOCKS", range(1, 6))


@pytest.mark.parametrize(("padding", "tile"), [("zero", None), ("edge", None), ("zero", 16)])
def test_same_objective(everywhere, padding, tile):
    """And in tiles, whose shapes the graph does not know."""
    config, weights = SHALLOW.replace(padding=padding), make_narrow_weights(dtype="float64")
    image, content, style = (100 * random(1, 29, 39, 3, seed=seed) for seed in range(3))
    found = []
    for convolution in ("direct", "winograd"):
        network = vgg.vgg19(
            weights.kernels,
            weights.biases,
            outputs=config.layers,
            padding=padding,
            convolution=convolution,
            dtype="float64",
        )
        targets = compute_targets(network, content, style, config)
        if tile and convolution == "winograd":
            objective = make_tiled_objective(network, targets, config, image.shape, tile=tile)
        else:
            objective = make_objective(network, targets, config)
        found.append(tf.function(objective, autograph=False)(tf.constant(image)))
    (terms, gradient), (ours, our_gradient) = found
    assert {name: float(value) for name, value in ours.items()} == pytest.approx(
        {name: float(value) for name, value in terms.items()}, rel=1e-10
    )
    np.testing.assert_allclose(our_gradient, gradient, rtol=0, atol=1e-10 * np.abs(gradient).max())


def test_only_where_it_pays():
    weights = make_narrow_weights(divisor=1)
    model = vgg.vgg19(weights.kernels, weights.biases, outputs=["relu5_1"], convolution="winograd")
    names = [layer.name for layer in model.layers if isinstance(layer, vgg.WinogradConvolution)]
    assert names == [f"conv{block}_{index}" for block in (3, 4) for index in (1, 2, 3, 4)]
    assert model.output["relu5_1"].shape == (1, None, None, 512)
    assert model.trainable_weights == []


def test_a_run(everywhere, pictures, narrow_weights, monkeypatch):
    """The setting reaches the network, whose losses differ in rounding only; twice, to the same bits."""
    totals = {}
    for convolution in ("direct", "winograd", "winograd"):
        config = SHALLOW.replace(convolution=convolution, iterations=2, log_every=1, save_every=0)
        records = list(stylize(*pictures, config, weights=narrow_weights))
        found = [(record.terms["total"], record.image.tobytes()) for record in records]
        assert totals.setdefault(convolution, found) == found
    for (direct, _), (ours, _) in zip(*totals.values(), strict=True):
        assert ours == pytest.approx(direct, rel=1e-4)
    assert totals["direct"] != totals["winograd"]


@pytest.mark.parametrize(
    ("convolution", "precision", "gpus", "pixels", "expected"),
    [
        ("direct", "float32", [], 10**6, "direct"),
        ("winograd", "bfloat16", ["GPU"], 10, "winograd"),
        ("auto", "float32", [], 10**6, "winograd"),
        ("auto", "float32", [], winograd.WORTH_COMPILING - 1, "direct"),
        ("auto", "float32", ["GPU"], 10**6, "direct"),
        ("auto", "bfloat16", [], 10**6, "direct"),
    ],
)
def test_chosen_where_it_is_faster(monkeypatch, convolution, precision, gpus, pixels, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    assert winograd.choose(convolution, precision, pixels) == expected


def test_not_chosen_where_xla_is_missing(monkeypatch):
    def no_compiler(*_, **__):
        raise tf.errors.UnimplementedError(None, None, "no XLA")

    assert winograd._xla_compiles()
    winograd._xla_compiles.cache_clear()
    monkeypatch.setattr(tf, "function", lambda *_, **__: no_compiler)
    assert winograd.choose("auto", "float32", 10**6) == "direct"
    winograd._xla_compiles.cache_clear()


def test_published_presets_keep_to_the_definition():
    found = {name: preset.convolution for name, preset in PRESETS.items()}
    assert found == {"original": "direct", "slides": "direct", "gatys": "direct", "balanced": "auto"}
