"""The tiled objective is the plain one, for any tile size, shape, layers and forms of the losses."""

from functools import cache

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf
from narrow import SHALLOW, make_narrow_weights

from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.losses import nearest
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.objective import plan_for
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.models.network import build_network
from neural_style_tf.tiling import grid

WEIGHTS = make_narrow_weights(divisor=32, dtype="float64")

CONFIGS = {
    **PRESETS,
    # Content and style at one layer; layers before their ReLU; pooled ones; average pooling with edges.
    "more layers": Config(
        content_layers=(("relu2_2", 0.5), ("conv2_2", 2.0)),
        style_layers=(("conv2_2", 1.0), ("pool2", 3.0), ("relu1_2", 0.1)),
        pooling="average",
        padding="edge",
        gram="positions",
        content_loss="gatys",
    ),
    "shallow": Config(**SHALLOW),
    "moments": Config(**SHALLOW, style_loss="moments", content_loss="relative"),
    "wasserstein": Config(**SHALLOW, style_loss="wasserstein", content_loss="relative"),
    "nearest": Config(**SHALLOW, style_loss="nearest", content_loss="relative"),
    "no content": Config(content_layers=()),
    "no style, no tv": Config(**SHALLOW | {"style_layers": ()}, tv_weight=0.0),
    "weights of 0": Config(**SHALLOW, content_weight=0.0, tv_weight=0.0),
}
SLOW = ("slides", "gatys", "balanced", "moments", "no content")
"""Combinations of what the others show each for itself; `moments` adds up what `wasserstein` does."""


@cache
def scene(name, height, width, dtype="float64"):
    """Return a network, a content, a style and an image, and the plain objective's terms and gradient."""
    config = CONFIGS[name]
    network = build_network(
        WEIGHTS.kernels,
        WEIGHTS.biases,
        outputs=config.loss.layers,
        pooling=config.network.pooling,
        padding=config.network.padding,
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    content, style, image = (
        tf.constant(50 * rng.standard_normal((1, *shape, 3)), dtype)
        for shape in ((height, width), (61, 123), (height, width))
    )
    targets = by_hand.compute_targets(network, content, style, config)
    plain = by_hand.make_objective(network, targets, config, image.shape)
    return network, content, style, image, targets, plain(image)


def off(found, expected):
    """The largest error, of the largest expected number."""
    return np.abs(found - expected).max() / np.abs(expected).max()


def leaves(target):
    """Return the tensors of a target that are the same however they are computed."""
    if isinstance(target, dict) and "root" in target:
        # Eigenvectors of one eigenvalue, as of channels that are never active, may be any basis.
        target = target | {"root": tf.matmul(target["root"], target["root"], transpose_b=True)}
    return tf.nest.flatten(target)


def check(name, height, width, tile, dtype="float64", tolerance=1e-12):
    config = CONFIGS[name]
    network, content, style, image, targets, (terms, gradient) = scene(name, height, width, dtype)
    found = by_hand.compute_targets(network, content, style, config, tile=tile)
    assert list(found) == list(targets)
    for term, expected in targets.items():
        for values in zip(*map(leaves, (found[term], expected)), strict=True):
            assert not np.any(values) or off(*values) < tolerance, term
    tiled = by_hand.make_objective(network, found, config, image.shape, tile=tile)
    found_terms, found_gradient = tiled(image)
    assert tuple(found_terms) == by_hand.names(config)
    for term, expected in terms.items():
        assert float(found_terms[term]) == pytest.approx(float(expected), rel=tolerance), term
    assert off(found_gradient, gradient) < tolerance
    return tiled, image


@pytest.mark.parametrize(
    ("name", "height", "width", "tile"),
    [
        pytest.param("shallow", 33, 1, 4, marks=pytest.mark.slow),
        # Wide enough for windows that touch neither end.
        ("shallow", 17, 96, 8),
        *(
            pytest.param(name, *shape, marks=pytest.mark.slow)
            for name in ("original", "more layers")
            for shape in ((40, 352, 64), (75, 91, 1000), (339, 24, 96), (333, 277, 160))
        ),
    ],
)
def test_tiled_is_plain_for_any_shape_and_tile(name, height, width, tile):
    check(name, height, width, tile)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in CONFIGS
        if name not in ("original", "shallow")
    ],
)
def test_tiled_is_plain_for_any_config(name, monkeypatch):
    # One block of samples is sixteen; `test_nearest` has several.
    monkeypatch.setattr(nearest, "NEAREST_BLOCK", 4096)
    check(name, 37, 100, 32)


def test_tiled_is_plain_in_single_precision_and_the_same_each_time():
    tiled, image = check("shallow", 37, 100, 16, dtype="float32", tolerance=1e-4)
    _, first = tiled(image)
    for _ in range(3):
        assert (tiled(image)[1].numpy() == first.numpy()).all()


def test_windows_reach_as_far_as_the_deepest_layer_sees():
    plan = plan_for(by_hand.Network(None), make_terms(Config().loss), (16, 16 * 40), 64)
    assert VGG19.halo("relu5_1") == 70
    assert min(t.core[2] - t.window[2] for t in plan if t.window[2] > 0) == 80
    assert min(t.window[3] - t.core[3] for t in plan if t.window[3] < 16 * 40) == 80


@pytest.mark.parametrize(("stride", "halo"), [(16, 80), (8, 32), (1, 2)])
def test_plan(stride, halo):
    for tile in (16, 48, 100, 176, 1000):
        for length in [*range(1, 200, 3), *range(200, 1400, 37)]:
            plan = grid.plan_tiles(length, 10, tile, stride=stride, halo=halo)
            spans = sorted({(t.core[0], t.core[1], t.window[0], t.window[1]) for t in plan})
            assert [0] + [stop for _, stop, _, _ in spans[:-1]] == [start for start, *_ in spans]
            assert spans[-1][1] == length
            for start, stop, first, last in spans:
                assert start < stop <= start + tile
                assert start % stride == 0 and first % stride == 0
                assert last % stride == 0 or last == length
                assert 0 <= first <= max(0, start - halo) and min(length, stop + halo) <= last <= length
                assert last - first <= tile + 2 * halo
            assert len({last - first for *_, first, last in spans}) <= 3
            assert len(spans) == 1 or length > tile - stride


def test_plan_in_two_directions():
    plan = grid.plan_tiles(50, 40, 16, stride=16, halo=16)
    covered = np.zeros((50, 40), int)
    for tile in plan:
        top, bottom, left, right = tile.core
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all() and len(plan) == 12
    assert plan[-1].window[1::2] == (50, 40)


def test_plan_refuses_tiles_below_the_stride():
    with pytest.raises(UserError, match="--tile must be at least 16 with these layers, not 15"):
        plan_for(by_hand.Network(None), make_terms(Config().loss), (100, 100), 15)
    assert len(plan_for(by_hand.Network(None), make_terms(CONFIGS["shallow"].loss), (16, 16), 4)) == 16


def shallow_objective(tile, height=17, width=33):
    network, _, _, image, targets, _ = scene("shallow", height, width)
    return by_hand.make_objective(network, targets, CONFIGS["shallow"], image.shape, tile=tile), image


@pytest.fixture(scope="module", params=["adam", pytest.param("lbfgs", marks=pytest.mark.slow)])
def solvers(request):
    """Return solvers after three updates, in one piece and in tiles, and the image that they began with."""
    found = []
    for tile in (None, 16):
        objective, image = shallow_objective(tile)
        found.append(by_hand.solver_of(objective, image, Config(optimizer=request.param, history=3)))
        assert found[-1].start() and found[-1].advance(3)
    return found, image


def test_solver_cannot_tell_them_apart(solvers):
    (whole, tiled), image = solvers
    assert np.abs(whole.image - image).max() > 1
    assert off(tiled.image.numpy(), whole.image.numpy()) < 1e-9
    assert off(tiled.state["values"].numpy(), whole.state["values"].numpy()) < 1e-9


@pytest.mark.parametrize("number", [0, 1], ids=["in one piece", "in tiles"])
def test_the_gradient_of_pooling_is_never_in_the_graph_of_a_loop(solvers, number):
    """There it would be ten times slower; see `evaluate.outlined_function`."""
    # Updates, line searches and tiles are loops.
    graph = next(iter(solvers[0][number].step._compiled.values())).graph.as_graph_def()
    has_it = [f for f in graph.library.function if any(node.op == "MaxPoolGrad" for node in f.node_def)]
    assert has_it and all(f.attr["_noinline"].b for f in has_it)
    assert not any(node.op in ("While", "StatelessWhile") for f in has_it for node in f.node_def)
    assert not any(node.op == "MaxPoolGrad" for node in graph.node)


def test_graph_holds_one_tile_at_a_time_and_does_not_grow():
    functions = []
    for tile in (64, 16):
        objective, image = shallow_objective(tile, 37, 100)
        functions.append(
            by_hand.compiled(objective).get_concrete_function(image).graph.as_graph_def().library
        )
    loops = [
        node for f in functions[1].function for node in f.node_def if node.op in ("While", "StatelessWhile")
    ]
    assert [loop.attr["parallel_iterations"].i for loop in loops] == [1, 1]
    few, many = (sorted(len(f.node_def) for f in library.function) for library in functions)
    assert few == many
