"""`stylize`: its records, its pace, its faults."""

import dataclasses
import itertools
import json
import re
import types

import numpy as np
import pytest
import tensorflow as tf
from narrow import SHALLOW, warm_session, warm_stylize
from tensorflow.python.client import device_lib
from tensorflow.python.framework import func_graph

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.optim.adam import Adam
from neural_style_tf.runs import checkpoints
from neural_style_tf.runs.callbacks import Metrics
from neural_style_tf.tiling import planner
from neural_style_tf.transfer import loop, session
from neural_style_tf.transfer.initial import initial_pixels
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs, plan_run
from neural_style_tf.transfer.session import Session, stylize
from neural_style_tf.transfer.solver import Solver


def run(pictures, weights, **settings):
    records = []
    for record in warm_stylize(*pictures, Config(**SHALLOW, **settings), weights=weights):
        records.append((record, record.image, record.best))
    return records


def test_records_come_when_due_and_the_last_is_marked(pictures, narrow_weights):
    records = run(pictures, narrow_weights, iterations=25, log_every=10, save_every=15)
    assert [r.step for r, _, _ in records] == [0, 10, 15, 20, 25]
    assert [r.last for r, _, _ in records] == [False] * 4 + [True]
    seconds = [r.seconds for r, _, _ in records]
    assert seconds == sorted(seconds)


def test_no_iterations_is_the_initial_image(pictures, narrow_weights):
    [(record, image, _)] = run(pictures, narrow_weights, iterations=0, init="content")
    assert record.step == 0 and record.last
    assert image == pytest.approx(pictures[0], abs=1e-4)


def test_a_file_to_begin_with_is_of_the_full_size(pictures, narrow_weights, tmp_path):
    """Coarse scales see it smaller, as they do where a picture is given."""
    start = pictures[0][::-1]
    np.save(tmp_path / "i.npy", start)
    config = Config(**SHALLOW, iterations=1, scales=2, scale_iterations=(1,), init=str(tmp_path / "i.npy"))
    by_name = list(warm_stylize(*pictures, config, weights=narrow_weights))[-1].best
    given = list(warm_stylize(*pictures, config, weights=narrow_weights, initial=start))[-1].best
    np.testing.assert_array_equal(by_name, given)


def test_the_end_of_a_coarse_scale_is_recorded_once(pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=2, scales=2, scale_iterations=(6,), log_every=1)
    enough = {"until": lambda record: record.scale == 0 and record.step == 3}
    steps = [record.step for record in warm_stylize(*pictures, config, weights=narrow_weights, **enough)]
    assert steps[:4] == [0, 1, 2, 3] and len(set(steps)) == len(steps)


@pytest.mark.parametrize("scarce", [False, True])
def test_the_average_counts_where_a_run_ends_early_and_memory_may_run_out(
    pictures, narrow_weights, monkeypatch, scarce
):
    config = Config(**SHALLOW, iterations=60, averaging=0.6, log_every=1, learning_rate=30.0)
    asked, score = [], Solver.score_average

    def note(self):
        asked.append(1)
        if scarce:
            raise tf.errors.ResourceExhaustedError(None, None, "injected")
        return score(self)

    monkeypatch.setattr(Solver, "score_average", note)
    early = {"until": lambda record: record.step == 20}
    last = list(warm_stylize(*pictures, config, weights=narrow_weights, **early))[-1]
    assert asked == [1] and last.finished and last.step == 20
    assert any("the average of the images is left out" in note for note in last.notes) == scarce


def test_clipping_is_told_only_where_the_photo_s_colours_are_put_on(pictures, narrow_weights, monkeypatch):
    """Not of a mask, whose uncovered part is the photo."""
    half = np.tile(np.arange(48) < 30, (40, 1)).astype(np.float32)
    monkeypatch.setattr(loop, "clipped_share", lambda rows: 1.0)
    config = Config(**SHALLOW, iterations=1)
    inputs = Inputs(pictures[0], (pictures[1],), None, Masks(content=(half,)))
    session_ = warm_session(narrow_weights)
    told = []
    for colors in ("style", "content"):
        *_, last = session_.run(inputs, config.replace(colors=colors))
        told.append(any("photo's colours" in note for note in last.notes))
    assert told == [False, True]


def test_the_loss_falls_and_the_best_is_kept(pictures, narrow_weights):
    records = run(pictures, narrow_weights, iterations=40)
    first, last = records[0][0], records[-1][0]
    assert last.total < 0.1 * first.total
    assert last.best_total <= min(r.total for r, _, _ in records)


def test_the_seed_decides(pictures, narrow_weights):
    one, same, other = (run(pictures, narrow_weights, iterations=5, seed=s)[-1][1] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1


def test_tick_ends_the_run_with_a_last_record(pictures, narrow_weights):
    ticks = []
    config = Config(**SHALLOW, iterations=10_000, log_every=1000, save_every=0)
    records = list(
        warm_stylize(
            *pictures, config, weights=narrow_weights, tick=lambda step: bool(ticks.append(step)) or step > 3
        )
    )
    assert records[-1].last and 3 < records[-1].step <= config.saving.log_every
    assert ticks[-1] == records[-1].step


def test_a_rate_too_high_recovers_or_ends_honestly(pictures, narrow_weights):
    """A million grey levels a step overflow float32: the run must not keep a NaN."""
    records = []
    with pytest.raises(RunError, match=r"not finite 4 times .*after step \d+.*best.*learning_rate"):
        for record in warm_stylize(
            *pictures, Config(**SHALLOW, iterations=50, learning_rate=1e18), weights=narrow_weights
        ):
            records.append((record, record.image))
    assert records[-1][0].last
    assert all(np.isfinite(image).all() and np.isfinite(r.total) for r, image in records)
    assert "not finite" in records[1][0].notes[0] and "halving the learning rate" in records[1][0].notes[0]


def test_a_network_with_nan_is_told_at_once(pictures, narrow_weights):
    kernels = {"conv1_1": narrow_weights.kernels["conv1_1"] * np.float32("nan")}
    broken = dataclasses.replace(narrow_weights, kernels=kernels)
    layers = {"content_layers": "conv1_1", "style_layers": "conv1_1"}
    with pytest.raises(RunError, match="initial image is not finite"):
        next(stylize(*pictures, Config(**layers, iterations=5), weights=broken))


@pytest.mark.parametrize(
    ("scales", "said"), [((40,), "the run ends early"), ((30, 3), "on to the next scale")]
)
def test_lbfgs_that_can_gain_nothing_ends_early_and_says_why(pictures, narrow_weights, scales, said):
    """From the content picture, with hardly any style: a scale goes over to the next, the last one ends."""
    *coarse, last = scales
    weights = {"style_weight": 1e-12, "tv_weight": 1e-12, "optimizer": "lbfgs", "init": "content"}
    config = Config(**SHALLOW, **weights, scales=len(scales), scale_iterations=tuple(coarse), iterations=last)
    records = list(
        warm_stylize(*pictures, config.replace(log_every=100, save_every=0), weights=narrow_weights)
    )
    [told] = [note for record in records for note in record.notes]
    assert "no further step lowers the loss" in told and said in told
    assert [record.last for record in records] == [False] * (len(records) - 1) + [True]
    assert (records[-1].step, records[-1].planned) == ((33, 33) if coarse else (4, 40))


def pictures_of_last_scale(content, style, **settings):
    planned = plan_run(Inputs(content, style), Config(**settings)).prepared()
    return planned.at(planned.scales[-1])[0]


def test_the_style_is_seen_at_the_size_of_the_result():
    def sizes(content, style, **settings):
        black = (np.zeros((*size, 3)) for size in (content, style))
        return [picture.shape[:2] for picture in pictures_of_last_scale(*black, **settings)]

    assert sizes((200, 300), (672, 500), image_size=1024) == [(200, 300), (300, 223)]
    assert sizes((200, 300), (672, 500), image_size=0) == [(200, 300), (300, 223)]
    assert sizes((200, 300), (672, 500), image_size=150) == [(100, 150), (150, 112)]
    assert sizes((200, 300), (672, 500), image_size=150, style_scale=2.0) == [(100, 150), (300, 224)]
    assert sizes((200, 300), (672, 500), image_size=150, style_size=200) == [(100, 150), (200, 149)]
    assert sizes((200, 300), (672, 500), image_size=150, style_size=0) == [(100, 150), (672, 500)]
    # A small style picture keeps its size, and a small photo unless it is to be enlarged.
    assert sizes((200, 300), (60, 80), image_size=1024) == [(200, 300), (60, 80)]
    assert sizes((200, 300), (672, 500), image_size=450, enlarge=True) == [(300, 450), (450, 335)]


def test_a_larger_style_keeps_its_detail():
    """With --style_scale it is reduced once, not first to the size of the result and then enlarged."""
    style = np.random.default_rng(0).uniform(0, 255, (96, 96, 3)).astype(np.float32)
    _, seen = pictures_of_last_scale(np.zeros((48, 48, 3)), style, style_scale=2.0)
    np.testing.assert_array_equal(seen, style)


def test_too_small_for_the_network(pictures, narrow_weights):
    with pytest.raises(UserError, match="content picture would be 48×8.*relu5_1 needs sides of at least 16"):
        next(warm_stylize(pictures[0][:8], pictures[1], Config(), weights=narrow_weights))


def test_initial_pixels(pictures, tmp_path):
    content, style = pictures
    noise = initial_pixels(Config(), content, style)
    assert noise.mean() == pytest.approx(np.mean([123.68, 116.779, 103.939]), abs=0.1)
    assert noise.std(axis=(0, 1)) == pytest.approx([1, 1, 1], abs=0.1)
    np.testing.assert_array_equal(initial_pixels(Config(init="content"), content, style), content)
    assert initial_pixels(Config(init="style"), content, style).shape == content.shape
    exact = np.random.default_rng(0).uniform(-20, 300, content.shape).astype(np.float32)
    np.save(tmp_path / "x.npy", exact)
    np.testing.assert_array_equal(initial_pixels(Config(init=str(tmp_path / "x.npy")), content, style), exact)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), r"must hold numbers \[40, 48, 3\] like the content, not float64 \[4, 4, 3\]"),
        (np.full((40, 48, 3), np.nan), "not finite"),
        (np.full((40, 48, 3), "a"), "must hold numbers"),
        (np.array([{}], dtype=object), "cannot read"),
    ],
)
def test_a_wrong_init_array(pictures, tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message):
        initial_pixels(Config(init=str(tmp_path / "x.npy")), *pictures)


def test_a_mistyped_init(pictures, tmp_path):
    with pytest.raises(UserError, match="did you mean 'noise'"):
        initial_pixels(Config(init="nois"), *pictures)
    (tmp_path / "x.npy").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot read"):
        initial_pixels(Config(init=str(tmp_path / "x.npy")), *pictures)
    with pytest.raises(UserError, match=r"gone.npy' as a .npy array: No such file or directory$"):
        initial_pixels(Config(init=str(tmp_path / "gone.npy")), *pictures)


def test_saves_by_minutes_come_beside_the_others_and_are_not_logged(
    pictures, narrow_weights, tmp_path, monkeypatch
):
    clock = itertools.count(step=60.0)
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    config = Config(**SHALLOW, iterations=9, log_every=4, save_every=0, save_minutes=20)
    saver, metrics = checkpoints.Checkpoints(tmp_path / "c", config.saving), Metrics(tmp_path / "m.jsonl")
    records = []
    for record in warm_stylize(*pictures, config, weights=narrow_weights):
        records.append(record)
        saver.on_step(record), metrics.on_step(record)
    metrics.on_end()
    due = [r.step for r in records if r.due]
    assert due and checkpoints.saved_steps(tmp_path / "c") == due[: -checkpoints.CHECKPOINTS_KEPT - 1 : -1]
    assert [r.step for r in records if r.logged] == [0, 4, 8, 9]
    assert any(not r.logged for r in records)
    assert [json.loads(line)["step"] for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [
        0,
        4,
        8,
        9,
    ]
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: 0.0))
    assert not any(r.due for r in warm_stylize(*pictures, config, weights=narrow_weights))


def test_how_often_is_logged_changes_no_bit(pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=10, save_every=0)
    often, seldom = (
        list(warm_stylize(*pictures, config.replace(log_every=every), weights=narrow_weights))
        for every in (1, 10)
    )
    assert (len(often), len(seldom)) == (11, 2) and often[-1].terms == seldom[-1].terms
    np.testing.assert_array_equal(often[-1].image, seldom[-1].image)
    np.testing.assert_array_equal(often[-1].best, seldom[-1].best)


def test_a_run_that_ends_early_leaves_a_checkpoint_even_if_none_are_saved(pictures, narrow_weights, tmp_path):
    for name, stop, wanted in (("early", True, True), ("whole", False, True), ("unwanted", True, False)):
        config = Config(**SHALLOW, iterations=9, save_every=0, checkpoints=wanted)
        saver = checkpoints.Checkpoints(tmp_path / name, config.saving)
        for record in warm_stylize(*pictures, config, weights=narrow_weights, tick=lambda _, stop=stop: stop):
            saver.on_step(record)
    assert checkpoints.saved_steps(tmp_path / "early")
    assert not (tmp_path / "whole").exists() and not (tmp_path / "unwanted").exists()


def test_the_average_is_the_result_where_it_is_better(pictures, narrow_weights, monkeypatch):
    settings = {"iterations": 6, "init": "content", "log_every": 1}
    plain = run(pictures, narrow_weights, **settings)
    # This short run only comes closer: its last image is better than the average.
    for (_, image, best), (_, same, same_best) in zip(
        plain, run(pictures, narrow_weights, averaging=0.6, **settings), strict=True
    ):
        assert (same == image).all() and (same_best == best).all()
    scores = []

    def good(self, score=Solver.score_average):
        scores.append(score(self))
        return 1.0

    monkeypatch.setattr(Solver, "score_average", good)
    averaged = run(pictures, narrow_weights, averaging=0.6, **settings)
    average = plain[1][1]
    for count, (_, image, _) in enumerate(plain[2:], 2):
        average = average + max(0.4, 1 / count) * (image - average)
    record, image, best = averaged[-1]
    np.testing.assert_allclose(best, average, atol=1e-3)
    assert (image == plain[-1][1]).all() and (averaged[-2][2] == plain[-2][2]).all()
    assert record.best_total == 1 and record.best_step == 6 and len(scores) == 1
    assert plain[-1][0].total < scores[0] < plain[2][0].total


def test_a_best_image_that_turned_bad_ends_the_run(pictures, narrow_weights, monkeypatch):
    """Nothing can go on from there: without its gradient a step would fail inside TensorFlow."""
    monkeypatch.setattr(Solver, "advance", lambda self, count: False)
    monkeypatch.setattr(Solver, "retreat", lambda self: False)
    steps = []
    with pytest.raises(RunError, match="not finite 4 times"):
        for record in warm_stylize(
            *pictures, Config(**SHALLOW, iterations=4, log_every=1), weights=narrow_weights
        ):
            steps.append(record.step)
    assert steps == [0, 0]


def test_an_average_survives_a_fault():
    image = tf.Variable(tf.ones([1, 2, 2, 3]))
    adam = Adam(averaging=0.9)
    state = adam.init(image)
    state["average"].assign(image * np.nan)
    adam.reset(state, tf.constant(0.5))
    adam.update(lambda x: ({}, x), state, image, {}, tf.ones_like(image))
    assert (state["average"].numpy() == image.numpy()).all() and (image.numpy() != 1).all()


def test_auto_tiles_only_where_memory_is_short(monkeypatch):
    size, config = (2000, 3000), Config()
    for available, expected in ((None, None), (10**12, None), (10**9, 256)):
        monkeypatch.setattr(planner, "available_bytes", lambda available=available: available)
        assert planner.plan_memory(config, size).tile == expected
    monkeypatch.setattr(planner, "available_bytes", lambda: 6 * 10**9)
    assert 256 < planner.plan_memory(config, size).tile < 4096
    assert planner.plan_memory(Config(tile="64"), size).tile == 64
    assert planner.plan_memory(Config(tile="3000"), size).tile is None
    with pytest.raises(UserError, match="--tile must be auto, none or a number of pixels, not '-5'"):
        Config(tile="-5")


def test_tiles_suffice_for_the_gpu_with_the_least_memory(monkeypatch):
    kinds = (("CPU", 10**6), ("GPU", 24 * 10**9), ("GPU", 8 * 10**9), ("GPU", 16 * 10**9))
    devices = [types.SimpleNamespace(device_type=kind, memory_limit=size) for kind, size in kinds]
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: devices)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU"])
    assert planner.memory_at_hand() == 8 * 10**9


@pytest.fixture
def hardware(monkeypatch):
    """Return a function that sets what this machine has, and forget what runs set for the process."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()

    def has(bfloat16=False, tf32=False):
        monkeypatch.setattr(session, "has_bfloat16", lambda: bfloat16)
        monkeypatch.setattr(session, "has_tf32", lambda: tf32)

    has()
    yield has
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.parametrize(
    ("asked", "chief", "has_bfloat16", "size", "found"),
    [
        (("auto", "auto"), ("auto", "auto"), (True, True), (999, 999), ("bfloat16", "direct")),
        (("auto", "auto"), ("auto", "auto"), (True, False), (999, 999), ("float32", "winograd")),
        (("auto", "auto"), ("auto", "auto"), (False, True), (170, 170), ("float32", "direct")),
        # The chief goes on with a run that was begun elsewhere.
        (("auto", "auto"), ("bfloat16", "large"), (False, False), (499, 499), ("bfloat16", "large")),
        (("float32", "winograd"), ("float32", "winograd"), (True, True), (9, 9), ("float32", "winograd")),
    ],
)
def test_what_auto_means_is_decided_once_for_all_workers(hardware, asked, chief, has_bfloat16, size, found):
    hardware(bfloat16=has_bfloat16[1])
    # What the chief says at each exchange; this worker is the second.
    said = iter([list(chief), [has_bfloat16[0], False], None])

    def all_gather(value):
        first = next(said)
        return [value if first is None else first, value]

    config = Config(precision=asked[0], convolution=asked[1])
    config = session.settle(config, size, types.SimpleNamespace(all_gather=all_gather))
    assert (config.network.precision, config.network.convolution) == found


def test_float32_is_float32_and_tf32_a_precision_of_its_own(hardware, pictures, narrow_weights):
    config = Config(content_layers="relu1_1", style_layers="relu1_1", iterations=0)
    with pytest.raises(UserError, match="--precision=tf32 needs an NVIDIA GPU .*: take --precision=float32"):
        next(warm_stylize(*pictures, config.replace(precision="tf32"), weights=narrow_weights))
    hardware(tf32=True)
    session_ = Session(narrow_weights)
    for precision, allowed in (("float32", False), ("tf32", True), ("float32", False)):
        one = config.replace(precision=precision)
        for record in session_.run(Inputs(*pictures), one):
            assert tf.config.experimental.tensor_float_32_execution_enabled() is allowed
            assert record.image.dtype == np.float32


def test_style_pictures_count_as_they_are_seen(job, monkeypatch):
    """For the line that a run begins with, for the limit that it is held to, and at each of its sizes."""
    seen = []

    def spy(module, name):
        asked = getattr(module, name)

        def note(*given, styles, **named):
            seen.append((name, styles[0]))
            return asked(*given, styles=styles, **named)

        monkeypatch.setattr(module, name, note)

    spy(planner, "plan_memory")
    spy(planner, "check_memory")
    spy(session, "plan_memory")
    assert job("--style_scale=2", "--scales=2", "--scale_iterations=1", "--iterations=1", "--quiet") == 0
    names, sizes = zip(*seen, strict=True)
    assert names == ("plan_memory", "check_memory", "plan_memory", "plan_memory")
    assert sizes[0] == sizes[1] == sizes[3] and sizes[2] == tuple(side / 2 for side in sizes[3])


def test_a_limit_on_memory_that_will_not_do_is_told_at_once(monkeypatch):
    monkeypatch.setattr(planner, "allowed_bytes", lambda: 10**9)
    planner.check_memory(Config(), (256, 256), None)
    with pytest.raises(
        RunError, match="3000×2000 pixels need about .* leaves 1000 MB.*--tile=512, a smaller"
    ):
        planner.check_memory(Config(), (2000, 3000), None)
    monkeypatch.setattr(planner, "allowed_bytes", lambda: None)
    planner.check_memory(Config(), (20000, 30000), None)


def test_the_room_is_told(monkeypatch):
    monkeypatch.setattr(planner, "available_bytes", lambda: 16 * 10**9)
    line = str(planner.plan_memory(Config(tile="512"), (8000, 8000)))
    assert re.fullmatch(r"memory: about \S+ GB needed, 16\.0 GB available; in pieces of 512 pixels", line)
    monkeypatch.setattr(planner, "available_bytes", lambda: None)
    line = str(planner.plan_memory(Config(optimizer="lbfgs"), (2000, 1000)))
    # 24 MB per megapixel and pair.
    assert re.fullmatch(r"memory: about \S+ GB needed \(1\.0 GB of it for --history\); in one piece", line)
    monkeypatch.setattr(planner, "available_bytes", lambda: 10**9)
    line = str(planner.plan_memory(Config(), (8000, 8000)))
    assert line.endswith("too much: try a smaller --tile, --image_size, --style_size or --history")


@pytest.fixture
def graphs(monkeypatch):
    """Return a list that grows with every graph that TensorFlow traces."""
    made, begin = [], func_graph.FuncGraph.__init__

    def note(self, *arguments, **keywords):
        made.append(arguments)
        begin(self, *arguments, **keywords)

    monkeypatch.setattr(func_graph.FuncGraph, "__init__", note)
    return made


SMALL = {"iterations": 3, "log_every": 1, "save_every": 0}
KINDS = [
    {"optimizer": "adam", "averaging": 0.8, "clamp": True},
    {"optimizer": "lbfgs", "history": 2, "style_loss": "moments", "content_loss": "relative"},
    pytest.param(
        {"optimizer": "lbfgs", "history": 2, "preconditioner": "scalar", "scales": 2, "tile": "32"},
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_like_an_earlier_one_compiles_nothing_and_has_the_bits_of_a_run_alone(
    kind, pictures, narrow_weights, graphs
):
    content, style = pictures
    first = Config(**SHALLOW, **SMALL, **kind)
    changed = {"style_weight": 7.0, "tv_weight": 3.0, "learning_rate": 2.0, "seed": 5, "strength": 0.7}
    changed["strength_deepest"] = 0.5
    changed["style_layers"] = tuple(
        (layer, 0.5 + index) for index, (layer, _) in enumerate(first.loss.style_layers)
    )
    # All at once: what an earlier run leaves behind must not show. Two scales, of other sizes; in tiles a
    # compiled step is for one size.
    rows, columns, lines = (None, None, None) if "tile" in kind else (-7, -10, -5)
    others = content[:rows, :columns][::-1].copy(), style[:lines, ::-1].copy()
    if kind["optimizer"] == "adam":
        changed |= {"scales": 2, "scale_iterations": (3,)}
    session = Session(narrow_weights, keep_bytes=2**30)
    earlier = list(session.run(Inputs(*pictures), first))
    assert graphs
    for inputs, config in ((others, first.replace(**changed)), (pictures, first)):
        graphs.clear()
        records = list(session.run(Inputs(*inputs), config))
        assert not graphs
        alone = earlier if config is first else list(stylize(*inputs, config, weights=narrow_weights))
        assert [record.terms for record in records] == [record.terms for record in alone]
        np.testing.assert_array_equal(records[-1].best, alone[-1].best)


def test_a_checkpoint_of_another_size_or_kind_of_run_is_refused(tmp_path, pictures, narrow_weights):
    config = Config(**SHALLOW, **SMALL, optimizer="lbfgs")
    scaled = config.replace(scales=2, scale_iterations=(3,))
    for record in warm_stylize(*pictures, scaled, weights=narrow_weights):
        if record.step == 5:
            prefix = tf.train.Checkpoint(state=record.state).write(str(tmp_path / "checkpoint"))
    content, style = pictures
    for photo, other, said in (
        (content[:28, :32].copy(), scaled, "its image is not 32×28 pixels"),
        (content, config, "no size that this run has; remove it to go on from the one before"),
        (content, scaled.replace(optimizer="adam"), "of another optimiser"),
    ):
        with pytest.raises(UserError, match=said):
            list(warm_stylize(photo, style, other, weights=narrow_weights, resume=prefix))


def test_the_last_record_of_a_run_outlives_the_next(pictures, narrow_weights):
    session = warm_session(narrow_weights)
    config = Config(**SHALLOW, **SMALL)
    *_, record = session.run(Inputs(*pictures), config)
    image, best = record.image, record.best
    list(session.run(Inputs(*pictures), config.replace(seed=1)))
    np.testing.assert_array_equal(record.image, image)
    np.testing.assert_array_equal(record.best, best)


def test_a_record_that_is_kept_has_no_later_pictures(pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=1, scales=2, scale_iterations=(1,), log_every=1, save_every=0)
    *earlier, last = warm_stylize(*pictures, config, weights=narrow_weights)
    assert [record.scale for record in (*earlier, last)] == [0, 0, 1] and last.image.shape == last.best.shape
    for record in earlier:
        for name in ("image", "best"):
            with pytest.raises(UserError, match=f"record of step {record.step} are gone.*read `image`"):
                getattr(record, name)


def test_runs_of_one_session_may_overlap_and_be_given_up(pictures, narrow_weights):
    session = warm_session(narrow_weights)
    config = Config(**SHALLOW, **SMALL, optimizer="lbfgs")
    alone = list(session.run(Inputs(*pictures), config))
    one, other = (
        session.run(Inputs(*pictures), config),
        session.run(Inputs(*pictures), config.replace(seed=1)),
    )
    given_up = session.run(Inputs(*pictures), config)
    next(given_up)
    next(given_up)
    given_up.close()
    pairs = list(zip(one, other, strict=True))
    assert [record.total for record, _ in pairs] == [record.total for record in alone]
    assert pairs[-1][1].total != alone[-1].total
    again = list(session.run(Inputs(*pictures), config))
    assert [record.total for record in again] == [record.total for record in alone]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"style_loss": "wasserstein", "precision": "bfloat16"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_resumed_at_its_second_scale_has_the_bits_of_one_run(
    tmp_path, pictures, narrow_weights, settings
):
    """The one begins with what the first scale has compiled, the other compiles for the second."""
    config = Config(**SHALLOW, **SMALL, **settings, optimizer="lbfgs", scales=2, scale_iterations=(3,))
    for record in warm_stylize(*pictures, config, weights=narrow_weights):
        if record.step == 5:
            prefix = tf.train.Checkpoint(state=record.state).write(str(tmp_path / "checkpoint"))
    resumed = list(warm_stylize(*pictures, config, weights=narrow_weights, resume=prefix))
    assert [found.step for found in resumed] == [6]
    assert resumed[-1].terms == record.terms
    np.testing.assert_array_equal(resumed[-1].best, record.best)


def test_an_unknown_number_does_not_outlive_its_run(pictures, narrow_weights):
    """A run that fails leaves nothing that a later one of the same kind would see."""
    session = warm_session(narrow_weights)
    config = Config(**SHALLOW, **SMALL, init="content")
    expected = [record.total for record in session.run(Inputs(*pictures), config)]
    with pytest.raises(RunError, match="not finite"):
        list(session.run(Inputs(*pictures, np.full_like(pictures[0], np.nan)), config))
    assert [record.total for record in session.run(Inputs(*pictures), config)] == expected


def test_a_session_keeps_no_more_than_it_may(narrow_weights):
    session = Session(narrow_weights, keep_bytes=100)
    for key, size in (("a", 60), ("b", 40), ("a", 60), ("c", 40), ("large", 101)):
        session._keep(key, object, size)
    # The one that was used last stays.
    assert sorted(session._kept) == ["a", "c"]
