"""Pictures as large as memory allows: what a run holds, lets go of, and does when it runs out."""

import gc
import sys
import tracemalloc
import weakref

import keras
import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf
from narrow import SHALLOW, warm_stylize
from resident import number_from

from neural_style_tf.config.schema import Config
from neural_style_tf.distributed.replicas import Cluster
from neural_style_tf.images import load_image, save_image
from neural_style_tf.losses import objective, targets
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.objective import Evaluation
from neural_style_tf.losses.targets import gather_statistics
from neural_style_tf.models.network import build_network
from neural_style_tf.optim.adam import Adam
from neural_style_tf.tiling import memory_model
from neural_style_tf.transfer import session
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import Rows
from neural_style_tf.transfer.session import stylize


@pytest.mark.parametrize(("dtype", "off"), [("float64", 1e-5), ("float32", 1e-4)])
def test_adam_is_that_of_keras(dtype, off):
    rng = np.random.default_rng(0)
    ours, theirs = (tf.Variable(np.full((1, 33, 27, 3), 5, dtype)) for _ in range(2))
    adam = Adam(7.0, beta1=0.8, beta2=0.99, epsilon=1e-3)
    judge = keras.optimizers.Adam(7.0, beta_1=0.8, beta_2=0.99, epsilon=1e-3)
    judge.build([theirs])
    state = adam.init(ours)

    @tf.function(autograph=False)
    def update(gradient):
        adam.update(lambda image: ({}, image), state, ours, {}, gradient)
        judge.apply_gradients([(gradient, theirs)])

    for _ in range(12):
        update(tf.constant(rng.normal(0, 10 ** rng.uniform(-6, 6), ours.shape), dtype))
        np.testing.assert_allclose(ours, theirs, rtol=off, atol=off)
    steps, _, m, v = judge.variables
    for one, other in zip((state["t"], state["m"], state["v"]), (steps, m, v), strict=True):
        np.testing.assert_allclose(one, other, rtol=off)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_update_copies_nothing():
    script = (
        "import threading, time, tensorflow as tf\n"
        "from resident import now\n"
        "from neural_style_tf.optim.adam import Adam\n"
        "peak = 0\n"
        "def watch():\n"
        "    global peak\n"
        "    while True: peak = max(peak, now()); time.sleep(0.001)\n"
        "image = tf.Variable(tf.zeros([1, 4000, 4000, 3]))\n"
        "gradient, adam = tf.Variable(image + 1), Adam()\n"
        "state = adam.init(image)\n"
        "def move(): adam.update(lambda image: ({}, image), state, image, {}, gradient.read_value())\n"
        "update = tf.function(lambda: (move(), None)[1], autograph=False)\n"
        "update()\n"
        "before = now()\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "[update() for _ in range(3)]\n"
        "print(peak - before)"
    )
    assert number_from(script) < 96e6


@pytest.fixture
def scarce(monkeypatch):
    """Return a function that makes memory run out: at the evaluations of these numbers, from 1 on."""

    def arrange(*numbers, sizes=(32, 16)):
        monkeypatch.setattr(memory_model, "TILES", sizes)
        count, evaluate = iter(range(1, 100)), Evaluation.__call__

        def give_out():
            if next(count) in numbers:
                raise MemoryError("injected")
            return np.float32(0)

        def call(self, image, arguments):
            nothing = tf.ensure_shape(tf.numpy_function(give_out, [], tf.float32), [])
            return evaluate(self, image + nothing, arguments)

        monkeypatch.setattr(Evaluation, "__call__", call)

    return arrange


FEW = {"content_layers": "relu2_1", "style_layers": "relu1_1"}


def config_of(**settings):
    return Config(**FEW | {"log_every": 1, "init": "content", "iterations": 4} | settings)


@pytest.mark.parametrize(
    ("optimizer", "at"), [("adam", (4,)), pytest.param("lbfgs", (4, 5), marks=pytest.mark.slow)]
)
def test_out_of_memory_goes_on_in_smaller_tiles(optimizer, at, pictures, narrow_weights, scarce):
    config = config_of(optimizer=optimizer, **(SHALLOW if optimizer == "lbfgs" else {}))
    expected = list(warm_stylize(*pictures, config, weights=narrow_weights))
    scarce(*at)
    found = list(stylize(*pictures, config, weights=narrow_weights))
    notes = [note for record in found for note in record.notes]
    assert notes == [f"out of memory: going on in pieces of {tile} pixels" for tile in (32, 16)[: len(at)]]
    # From where it was: the same losses, but for the rounding of other sums, which optimisers magnify.
    losses = {record.step: record.total for record in found}
    assert len(found) == len(expected)
    for record in expected[: 5 if optimizer == "adam" else 3]:
        assert losses[record.step] == pytest.approx(record.total, rel=1e-2)


def test_out_of_memory_in_the_smallest_tiles_is_the_end():
    assert Evaluation(None, (), (2000, 3000), 256).smaller((2000, 3000)) is None
    assert Evaluation(None, (), (2000, 3000), 512).smaller((2000, 3000)).tile == 256
    # The command line decides once, and on record, what `auto` means; so none is not for ever.
    assert Evaluation(None, (), (2000, 3000), None).smaller((2000, 3000)).tile == 2048


def test_out_of_memory_while_the_pictures_are_looked_at(pictures, narrow_weights, monkeypatch):
    monkeypatch.setattr(memory_model, "TILES", (32, 16))

    def fail(*given, plans, **named):
        if not any(plans):
            raise tf.errors.ResourceExhaustedError(None, None, "injected")
        return compute(*given, plans=plans, **named)

    compute = gather_statistics
    config = config_of()
    expected = [record.total for record in warm_stylize(*pictures, config, weights=narrow_weights)]
    monkeypatch.setattr(objective, "gather_statistics", fail)
    kept = session.Session(narrow_weights, keep_bytes=2**30)
    records = list(kept.run(Inputs(*pictures), config))
    assert records[0].notes == ("out of memory: going on in pieces of 32 pixels",)
    assert records[-1].step == 4
    # The session keeps the smaller tiles as what they are: a later run with enough memory is in one piece.
    monkeypatch.setattr(objective, "gather_statistics", compute)
    assert [record.total for record in kept.run(Inputs(*pictures), config)] == expected


class Shared(Cluster):
    """A cluster of one replica that shares its work with nobody."""

    def run(self, function, *arguments):
        return function(0, *arguments)

    def sum(self, tree):
        return tree


def test_a_style_picture_much_larger_than_the_result_is_looked_at_in_tiles(
    pictures, narrow_weights, monkeypatch
):
    """And gives the targets that it gives in one piece; also with replicas."""
    content, style = pictures[0], np.tile(pictures[1], (6, 4, 1))
    config, windows = Config(**SHALLOW), []
    network = build_network(narrow_weights.kernels, narrow_weights.biases, outputs=config.loss.layers)
    preprocess = targets.preprocess

    def targets_of(replicas=None):
        windows.clear()
        terms = make_terms(config.loss)
        made = objective.Objective(network, terms, content=content, styles=[style], replicas=replicas)
        return tf.nest.flatten(made.arguments.targets)

    def remember(window):
        windows.append(window.shape[0] * window.shape[1])
        return preprocess(window)

    monkeypatch.setattr(targets, "preprocess", remember)
    whole = targets_of()
    assert max(windows) == style[..., 0].size
    monkeypatch.setattr(memory_model, "LEAST_LOOKED_AT", 0)
    monkeypatch.setattr(memory_model, "TILES", (64, 32, 16))
    for replicas in (None, Shared()):
        tiled = targets_of(replicas)
        assert max(windows) <= memory_model.PIXELS_LOOKED_AT * content[..., 0].size < style[..., 0].size
        for expected, found in zip(whole, tiled, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_bfloat16_features_are_kept_in_half_the_bytes(narrow_weights):
    config = Config(**SHALLOW)
    model = build_network(
        narrow_weights.kernels, narrow_weights.biases, outputs=config.loss.layers, compute_dtype="bfloat16"
    )
    picture = tf.random.stateless_normal([1, 48, 64, 3], (1, 2)) * 50
    targets = by_hand.compute_targets(model, picture, picture, config, tile=32)
    assert targets["content/relu2_2"]["features"].values.dtype == tf.bfloat16


def test_what_is_done_with_is_let_go(pictures, narrow_weights, monkeypatch):
    """Content and style after the last targets; a coarse solver at the next scale, records kept or not.

    Its image and targets, too: TensorFlow keeps graphs with custom gradients, and what these hold. The
    network serves all scales, and goes with the last.
    """
    solvers, inputs, tensors = [], [], []
    make = session.Session._solver

    def remember(*arguments, **keywords):
        solver = make(*arguments, **keywords)
        solvers.append(weakref.ref(solver))
        target, network = solver.arguments.targets["content/relu2_1"], solver.step.evaluation.network
        tensors.append([weakref.ref(tensor) for tensor in tf.nest.flatten(target)])
        tensors[-1].append(weakref.ref(solver.image.handle))
        tensors[-1].append(weakref.ref(network.get_layer("conv2_1").kernel.value.handle))
        return solver

    monkeypatch.setattr(session.Session, "_solver", remember)
    # Each in a list, to be handed over: nothing else may hold them.
    given = [picture.copy() for picture in (*pictures, pictures[0], pictures[0][..., 0] / 256)]
    inputs = [weakref.ref(picture) for picture in given]
    config = Config(**FEW, iterations=1, scales=2, scale_iterations=(1,), log_every=1, tile="16")
    run = session.Session(narrow_weights, keep_bytes=0).run
    mask = Masks(content_weight=given.pop())
    steps = run(Inputs(given.pop(0), (given.pop(0),), given.pop(0), mask), config)
    del mask
    records = []
    for record in steps:
        records.append(record)
        if record.last:
            gc.collect()
            assert [solver() is None for solver in solvers] == [True, False]
            assert [picture() for picture in inputs] == [None] * 4
            assert [tensor() is None for tensor in tensors[0]] == [True, True, True, True, False]
    assert {record.scale for record in records} == {0, 1}
    # At the end, and at once: no other run should find it beside its own.
    assert [solver() for solver in solvers] == [None, None]
    assert records[-1].best.shape == pictures[0].shape
    del steps, record, records
    gc.collect()
    assert [tensor() for tensor in tensors[0] + tensors[1]] == [None] * 10


def peak_of(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_saving_makes_no_second_picture(tmp_path):
    shape = (2000, 2000, 3)
    rows = Rows(shape, lambda top, bottom: np.full((bottom - top, 2000, 3), 99, np.float32))
    array = np.full(shape, 99, np.float32)
    for name, pixels in (("a.png", rows), ("b.png", array), ("c.tiff", array)):
        assert peak_of(lambda n=name, p=pixels: save_image(tmp_path / n, p)) < 20e6
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert peak_of(lambda: load_image(tmp_path / "c.tiff")) < 48e6 + 40e6


def test_reading_sixteen_bits_makes_no_second_picture(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((2000, 2000), 30000, np.uint16)).save(tmp_path / "grey.tiff")
    assert peak_of(lambda: load_image(tmp_path / "grey.tiff")) < 48e6 + 64e6
