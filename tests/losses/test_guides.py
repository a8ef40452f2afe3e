"""Regions and several styles: twins in NumPy, and the properties that masks must have."""

import numpy as np
import objectives as by_hand
import pytest
import tensorflow as tf
from style_losses import correlated as picture

from neural_style_tf.config.schema import Config
from neural_style_tf.losses import functional, nearest
from neural_style_tf.losses.catalogue import make_terms
from neural_style_tf.losses.guides import Guidance, Region, at_layer, scale_overlaps
from neural_style_tf.losses.targets import make_sources
from neural_style_tf.models.architecture import VGG19

RNG = np.random.default_rng(3)
# Second moments alone; the first, too; the features themselves. The first is a part of the second.
FORMS = ("relative", "wasserstein", "nearest")
DEEP = FORMS[1:]


def config_of(form, **changes):
    style = {"style_loss": form, "style_layers": (("relu1_1", 1.0), ("relu2_1", 2.0))}
    return Config(**style, content_weight=0.0, tv_weight=0.0, style_weight=1.0, **changes)


@pytest.fixture(autouse=True)
def one_block(monkeypatch):
    """A block of samples is sixteen; `test_nearest` has several."""
    monkeypatch.setattr(nearest, "NEAREST_BLOCK", 4096)


@by_hand.Network
def network(image):
    """Features that are pixels, and means of 2×2 of them: twins are plain to see."""
    return {
        "relu1_1": image,
        "relu2_1": tf.nn.avg_pool2d(image, 2, 2, "SAME"),
        "relu4_2": image[:, ::8, ::8],
    }


def evaluate(image, styles, config, guidance, tile=None):
    """Return losses and gradient, with `image` as the content picture, too."""
    objective = by_hand.objective_of(network, image, styles, config, guidance=guidance, tile=tile)
    return objective(tf.constant(image))


def halves(height, width):
    left = np.zeros((height, width), np.float32)
    left[:, : width // 2] = 1
    return left, 1 - left


def test_a_mask_is_averaged_over_the_cells_of_a_layer_or_its_least_over_what_is_seen():
    mask = RNG.uniform(0, 1, (37, 50)).astype(np.float32)
    step, reach = VGG19.stride("relu3_1"), VGG19.halo("relu3_1")
    for kind in ("simple", "inside"):
        found = at_layer(mask, "relu3_1", kind)[0, ..., 0]
        assert found.shape == (10, 13) and found.size == VGG19.positions("relu3_1", 37, 50)
        for row, column in ((0, 0), (4, 7), (9, 12)):
            margin = 0 if kind == "simple" else reach
            top, left = max(0, row * step - margin), max(0, column * step - margin)
            seen = mask[top : (row + 1) * step + margin, left : (column + 1) * step + margin]
            expected = seen.mean() if kind == "simple" else seen.min()
            assert found[row, column] == pytest.approx(expected, abs=0.5 / 256)
            assert float(tf.cast(found[row, column], tf.bfloat16)) == found[row, column]


def test_overlapping_masks_share_the_place_and_uncovered_places_stay_free():
    one, two = np.array([[1.0, 1.0, 0.0, 0.5]]), np.array([[0.0, 1.0, 0.0, 0.25]])
    first, second = scale_overlaps([one, two])
    np.testing.assert_allclose(first, [[1, 0.5, 0, 0.5]])
    np.testing.assert_allclose(second, [[0, 0.5, 0, 0.25]])


def guides_of(kind, height=5, width=7):
    """Return three guides [H, W, 1]."""
    numbers = RNG.integers(0, 3, (height, width))
    hard = np.stack([numbers == number for number in range(3)]).astype(np.float64)
    found = {
        "soft": RNG.uniform(0.1, 0.9, hard.shape),
        "hard": hard,
        "borders": np.where(np.arange(width) < 3, RNG.uniform(0, 1, hard.shape), hard),
        "overlapping": np.maximum(hard, np.roll(hard, 1, 0)),
        "in part": 0.5 * hard,
        "uncovered": hard * (np.arange(width) < 4),
        "nowhere": 0 * hard,
        "one everywhere": np.stack([hard[0] ** 0, 0 * hard[0], 0 * hard[0]]),
    }[kind]
    return found[..., np.newaxis]


@pytest.mark.parametrize(
    "kind",
    ["soft", "hard", "borders", "overlapping", "in part", "uncovered", "nowhere", "one everywhere"],
)
def test_guided_moments_and_their_gradient(kind):
    features, guides = RNG.normal(0, 1, (1, 5, 7, 4)), guides_of(kind)[:, np.newaxis]
    flat, columns = features.reshape(-1, 4), guides.reshape(3, -1, 1)
    down = [(RNG.normal(0, 1, 4), RNG.normal(0, 1, (4, 4))) for _ in guides]
    variable = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        found = functional.guided_moment_sums(variable, [tf.constant(guide) for guide in guides])
        value = sum(
            tf.reduce_sum(first * of_first) + tf.reduce_sum(second * of_second)
            for (first, second), (of_first, of_second) in zip(found, down, strict=True)
        )
    expected = np.zeros_like(flat)
    for (first, second), column, (of_first, of_second) in zip(found, columns, down, strict=True):
        np.testing.assert_allclose(first, (column * flat).sum(0), atol=1e-12)
        np.testing.assert_allclose(second, flat.T @ (column * flat), atol=1e-12)
        expected += column * (of_first + flat @ (of_second + of_second.T))
    np.testing.assert_allclose(tape.gradient(value, variable).numpy().reshape(-1, 4), expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_region_is_as_a_picture_that_is_cut_out(form):
    """Each half with its style: the sum of the losses of two pictures, by their share of the place."""
    image, styles = picture(16, 24), [picture(12, 12), picture(10, 14)]
    masks = halves(16, 24)
    guidance = Guidance((Region(masks[0], (0,)), Region(masks[1], (1,), 3.0)), (None, None))
    config = config_of(form)
    losses, gradient = evaluate(image, styles, config, guidance)
    alone = [
        evaluate(part, [style], config, Guidance())
        for part, style in zip((image[:, :, :12], image[:, :, 12:]), styles, strict=True)
    ]
    for number in (0, 1):
        for layer in ("relu1_1", "relu2_1"):
            name = f"style/{layer}"
            expected = float(alone[number][0][name])
            assert float(losses[f"{name}/region{number + 1}"]) == pytest.approx(expected, rel=1e-6)
    expected = 0.5 * float(alone[0][0]["total"]) + 3 * 0.5 * float(alone[1][0]["total"])
    assert float(losses["total"]) == pytest.approx(expected, rel=1e-6)
    joined = np.concatenate([0.5 * alone[0][1], 1.5 * alone[1][1]], 2)
    assert np.abs(gradient - joined).max() < 1e-6 * np.abs(joined).max()


@pytest.mark.parametrize("form", DEEP)
def test_a_style_mask_takes_the_style_from_a_part_of_its_picture(form):
    image, style = picture(16, 16), picture(12, 20)
    left, _ = halves(12, 20)
    guided = evaluate(image, [style], config_of(form), Guidance(sources=(left,)))
    cut_out = evaluate(image, [style[:, :, :10]], config_of(form), Guidance())
    assert float(guided[0]["total"]) == pytest.approx(float(cut_out[0]["total"]), rel=1e-6)
    assert np.abs(guided[1] - cut_out[1]).max() < 1e-6 * np.abs(cut_out[1]).max()


@pytest.mark.parametrize("form", [pytest.param("wasserstein", marks=pytest.mark.slow), "nearest"])
def test_soft_masks_by_finite_differences_and_in_tiles(form):
    image, styles = picture(20, 28), [picture(12, 12), picture(10, 14)]
    ramp = np.tile(np.linspace(0, 1, 28, dtype=np.float32), (20, 1))
    guidance = Guidance((Region(ramp, (0,)), Region(0.7 * (1 - ramp), (1,), 2.0)), (None, None))
    config = config_of(form)
    objective = by_hand.objective_of(network, image, styles, config, guidance=guidance)
    losses, gradient = objective(tf.constant(image))
    in_tiles, tiled = evaluate(image, styles, config, guidance, tile=8)
    assert float(in_tiles["total"]) == pytest.approx(float(losses["total"]), rel=1e-9)
    assert np.abs(gradient - tiled).max() < 1e-8 * np.abs(gradient).max()
    direction, h = RNG.standard_normal(image.shape), 1e-6
    ahead, behind = (
        float(objective(tf.constant(image + sign * h * direction))[0]["total"]) for sign in (1, -1)
    )
    assert np.vdot(gradient, direction) == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


def test_several_styles_are_the_mean_of_their_raw_moments():
    """As of one picture in which each has its share of the place; in any order; twice the same is once."""
    form, image, styles = "wasserstein", picture(16, 16), [picture(12, 8), picture(12, 8)]
    blended = Guidance((Region(None, (0, 1)),), (None, None))
    config = config_of(form, style_blend=(3.0, 1.0))
    found = evaluate(image, styles, config, blended)
    beside = np.concatenate([styles[0]] * 3 + [styles[1]], 2)
    expected = evaluate(image, [beside], config_of(form), Guidance())
    assert float(found[0]["total"]) == pytest.approx(float(expected[0]["total"]), rel=1e-9)
    assert np.abs(found[1] - expected[1]).max() < 1e-7 * np.abs(expected[1]).max()
    turned = evaluate(image, styles[::-1], config_of(form, style_blend=(1.0, 3.0)), blended)
    assert float(turned[0]["total"]) == pytest.approx(float(found[0]["total"]), rel=1e-9)
    twice = evaluate(image, styles[:1] * 2, config, blended)
    once = evaluate(image, styles[:1], config_of(form), Guidance())
    assert float(twice[0]["total"]) == pytest.approx(float(once[0]["total"]), rel=1e-9)


@pytest.mark.parametrize("form", DEEP)
def test_a_style_of_weight_1_beside_one_of_0_is_alone_to_the_bit(form):
    image, styles = picture(16, 16), [picture(12, 8), picture(8, 12)]
    for weights, alone in (((1.0, 0.0), 0), ((0.0, 5.0), 1)):
        config = config_of(form, style_blend=weights)
        blended = evaluate(image, styles, config, Guidance((Region(None, (0, 1)),), (None, None)))
        single = evaluate(image, [styles[alone]], config_of(form), Guidance())
        assert float(blended[0]["total"]) == float(single[0]["total"])
        assert np.array_equal(*(part[1].numpy() for part in (blended, single)))


def test_layers_that_cannot_tell_a_region_have_no_term_of_it():
    dot = np.zeros((32, 32), np.float32)
    dot[5, 5] = 1
    guidance = Guidance((Region(dot, (0,)), Region(1 - dot, (1,))), (None, None))
    config = config_of("wasserstein")
    terms = make_terms(config.loss, guidance)
    names = [term.name for term in terms if term.part == "style"]
    assert names == ["style/relu1_1/region1", "style/relu1_1/region2", "style/relu2_1/region2"]
    losses, gradient = evaluate(picture(32, 32), [picture(12, 12)] * 2, config, guidance)
    assert np.isfinite(float(losses["total"])) and np.isfinite(gradient).all()
    # Of two styles in one place the one whose mask is too small at a layer is left out of the mean there.
    blended = Guidance((Region(None, (0, 1)),), (dot, None))
    terms = make_terms(config.loss, blended)
    pictures = [picture(32, 32), picture(12, 12)]
    sources = make_sources(terms, picture(8, 8), pictures, guidance=blended)
    assert [source.shares for source in sources] == [
        {"style/relu1_1": 0.5},
        {"style/relu1_1": 0.5, "style/relu2_1": 1.0},
    ]


def test_the_content_loss_is_weighted_place_by_place():
    left, _ = halves(32, 32)
    content, image = picture(32, 32), picture(32, 32)
    layers = {"content_layers": (("relu1_1", 1.0),), "style_layers": ()}
    config = Config(**layers, style_weight=0.0, tv_weight=0.0, content_weight=2.0)
    objective = by_hand.objective_of(network, content, content, config, guidance=Guidance(content=left))
    losses, gradient = objective(tf.constant(image))
    expected = (left[..., np.newaxis] * (image - content) ** 2).mean()
    assert float(losses["content"]) == pytest.approx(expected, rel=1e-6)
    assert np.abs(gradient[:, :, 16:]).max() == 0 < np.abs(gradient[:, :, :16]).max()
