"""Coarse to fine: which sizes, how many steps, and what is carried up."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from narrow import SHALLOW, warm_stylize

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.images import resize
from neural_style_tf.optim.adam import Adam
from neural_style_tf.transfer import session
from neural_style_tf.transfer.initial import enlarged
from neural_style_tf.transfer.pace import Pace, Times
from neural_style_tf.transfer.scales import plan_scales


def test_one_scale_is_the_whole_run():
    [scale] = plan_scales((300, 400), [(50, 60)], Config(iterations=7))
    assert (scale.content, scale.styles) == ((300, 400), ((50, 60),))
    assert (scale.iterations, scale.first_step) == (7, 0)


def test_scales_go_from_coarse_to_the_exact_size():
    config = Config(scales=3, scale_iterations=(9, 8), iterations=7, style_scale=0.5)
    scales = plan_scales((333, 500), [(200, 400)], config)
    assert [s.content for s in scales] == [(83, 125), (166, 250), (333, 500)]
    assert [s.styles for s in scales] == [((25, 50),), ((50, 100),), ((100, 200),)]
    assert [(s.first_step, s.end) for s in scales] == [(0, 9), (9, 17), (17, 24)]


@pytest.mark.parametrize(
    ("longest", "expected"),
    [
        (48, [(48, 5)]),
        # A single coarser scale is the last of them.
        (96, [(48, 8), (96, 5)]),
        (256, [(64, 9), (128, 8), (256, 5)]),
        (1024, [(64, 9), (128, 9), (256, 9), (512, 8), (1024, 5)]),
    ],
)
def test_scales_of_0_begin_at_about_the_same_size_however_large_the_picture(longest, expected):
    config = Config(scales=0, scale_iterations=(9, 8), iterations=5)
    scales = plan_scales((longest, longest), [(longest, longest)], config)
    assert [(max(scale.content), scale.iterations) for scale in scales] == expected
    alike = plan_scales((256, 256), [(256, 256)], Config(scales=0))
    assert [scale.iterations for scale in alike] == [1000] * 3


@pytest.mark.parametrize(("quality", "expected"), [("draft", [3, 3, 0]), ("fine", [27, 24, 0])])
def test_quality_multiplies_the_iterations_of_each_scale(quality, expected):
    config = Config(scales=3, scale_iterations=(9, 8), iterations=0, quality=quality)
    scales = plan_scales((256, 256), [(256, 256)], config)
    assert [scale.iterations for scale in scales] == expected
    # Not twice, when the settings of a scale are planned again.
    assert [scale.settings(config).quality for scale in scales] == ["normal"] * 3


def test_the_content_weight_falls_geometrically_from_coarse_to_fine():
    config = Config(scales=3, coarse_content=16, content_weight=5)
    scales = plan_scales((256, 256), [(256, 256)], config)
    assert [scale.settings(config).loss.content_weight for scale in scales] == [80, 20, 5]
    [only] = plan_scales((256, 256), [(256, 256)], Config(coarse_content=16, content_weight=5))
    assert only.content_factor == 1


def test_the_logged_content_has_no_factor_of_its_scale(pictures, narrow_weights):
    config = Config(
        **SHALLOW, scales=2, scale_iterations=(1,), iterations=1, coarse_content=4, log_every=1, seed=3
    )
    records = list(warm_stylize(*pictures, config, weights=narrow_weights))
    for record in records:
        [layer] = [value for name, value in record.terms.items() if name.startswith("content/")]
        assert record.terms["content"] == pytest.approx(layer, rel=1e-5)
    plain = next(iter(warm_stylize(*pictures, config.replace(coarse_content=1.0), weights=narrow_weights)))
    assert records[0].terms["total"] > plain.terms["total"]


def test_a_ratio_near_1_does_not_make_thousands_of_scales():
    config = Config(scales=0, scale_ratio=1.0000001)
    with pytest.raises(UserError, match="makes more than 32 sizes from 64 pixels on"):
        plan_scales((512, 512), [(512, 512)], config)


def test_scales_too_small_for_the_network_are_left_out():
    scales = plan_scales((40, 48), [(33, 51)], Config(scales=4, iterations=5))
    assert [s.content for s in scales] == [(20, 24), (40, 48)]
    assert [(s.index, s.first_step) for s in scales] == [(0, 0), (1, 5)]


def test_the_time_left_is_told_with_each_record(pictures, narrow_weights, monkeypatch):
    now = [0.0]

    def tick(step):
        # The second scale takes twice as long as it did.
        now[0] += 1 if step <= 3 else 8

    monkeypatch.setattr("neural_style_tf.transfer.loop.time", SimpleNamespace(monotonic=lambda: now[0]))
    config = Config(**SHALLOW, scales=2, scale_iterations=(3,), iterations=5, log_every=1, init="content")
    scales = plan_scales((40, 48), [(33, 51)], config)
    pace = Pace(scales, Times((480, 1920), (1, 4), (2, 6)))
    records = warm_stylize(*pictures, config, weights=narrow_weights, tick=tick, pace=pace)
    later = 6 + 5 * 4
    assert [record.seconds_left for record in records] == pytest.approx(
        [3 + later, 2 + later, 1 + later, later, 4 * 8, 3 * 8, 2 * 8, 8, 0]
    )
    assert pace.times.steps == pytest.approx((1, 8))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_grows_and_its_steps_go_on(pictures, narrow_weights, optimizer):
    config = Config(
        **SHALLOW,
        optimizer=optimizer,
        scales=2,
        scale_iterations=(6,),
        iterations=4,
        log_every=2,
        init="content",
        learning_rate=2.0,
    )
    seen = [
        (r.step, r.scale, r.image.shape[:2], r.total)
        for r in warm_stylize(*pictures, config, weights=narrow_weights)
    ]
    assert [s[:2] for s in seen] == [(0, 0), (2, 0), (4, 0), (6, 0), (8, 1), (10, 1)]
    assert seen[3][2] == (20, 24) and seen[4][2] == (40, 48)
    assert seen[3][3] < 0.8 * seen[0][3]


def test_what_a_coarse_scale_cannot_hold_is_put_back():
    photo = np.random.default_rng(0).uniform(0, 255, (40, 48, 3)).astype(np.float32)
    small = resize(photo, (20, 24))
    np.testing.assert_allclose(enlarged(small, photo, 1.0), photo, atol=1e-3)
    np.testing.assert_array_equal(enlarged(small, photo, 0.0), resize(small, (40, 48)))
    # What was painted stays; of the photo, only what is finer.
    np.testing.assert_allclose(enlarged(small + 9, photo, 1.0), photo + 9, atol=1e-3)
    # Two scales may have one size; the photo is the caller's.
    before = photo.copy()
    np.testing.assert_array_equal(enlarged(photo, photo, 1.0), before)
    np.testing.assert_array_equal(photo, before)
    flat = np.full_like(photo, 100)
    np.testing.assert_allclose(enlarged(small, flat, 1.0), resize(small, (40, 48)), atol=1e-3)


def test_a_larger_size_begins_with_the_photo_s_detail(pictures, narrow_weights):
    config = Config(**SHALLOW, iterations=3, init="content", optimizer="lbfgs", log_every=1, save_every=0)
    coarse_to_fine = config.replace(scales=2, scale_iterations=(0,))
    at_once, with_detail, without = (
        [record.total for record in warm_stylize(*pictures, one, weights=narrow_weights)]
        for one in (config, coarse_to_fine.replace(scale_detail=1.0), coarse_to_fine)
    )
    # Where the coarse scale has painted nothing it is the photo itself.
    assert with_detail[-1] == pytest.approx(at_once[-1], rel=1e-3)
    assert without[-1] != pytest.approx(at_once[-1], rel=1e-2)


def test_all_scales_share_one_network(pictures, narrow_weights, monkeypatch):
    made, build = [], session.build_network
    note = lambda *a, **k: made.append(k["convolution"]) or build(*a, **k)  # noqa: E731
    monkeypatch.setattr(session, "build_network", note)
    config = Config(**SHALLOW, iterations=1, scales=2, scale_iterations=(1,), save_every=0)
    list(session.stylize(*pictures, config, weights=narrow_weights))
    assert made == ["direct"]


def test_adam_carries_its_moments_up():
    coarse, fine = (tf.Variable(tf.zeros([1, side, side, 3])) for side in (8, 16))
    adam = Adam()
    before, after = (adam.init(image) for image in (coarse, fine))
    bowl = lambda image: ({"total": tf.reduce_sum(image)}, tf.ones_like(image))  # noqa: E731
    adam.update(bowl, before, coarse, {}, tf.ones_like(coarse))
    adam.reset(before, tf.constant(0.5))
    adam.update(bowl, before, coarse, {}, tf.ones_like(coarse))
    adam.inherit(after, before)
    assert after["m"].shape == (1, 16, 16, 3)
    np.testing.assert_allclose(after["m"], 0.1, rtol=1e-5)
    assert after["rate"].numpy() == 5
    assert int(after["t"]) == 1


def test_cosine_schedule_ends_at_no_step():
    image = tf.Variable(tf.zeros([1, 4, 4, 3]))
    adam = Adam(8.0, learning_rate_schedule="cosine", iterations=4)
    state = adam.init(image)
    positions = [0.0]
    for _ in range(6):
        adam.update(lambda i: ({}, tf.ones_like(i)), state, image, {}, tf.ones_like(image))
        positions.append(float(image[0, 0, 0, 0]))
    # Adam's step under a constant gradient is the rate itself.
    assert -np.diff(positions) == pytest.approx([8, 6.828, 4, 1.172, 0, 0], abs=1e-2)
