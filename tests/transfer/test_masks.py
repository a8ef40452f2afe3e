"""Several styles, masks, transparency and colours in whole runs."""

import numpy as np
import pytest
import tensorflow as tf
from narrow import SHALLOW, warm_session

from neural_style_tf.config.schema import Config
from neural_style_tf.errors import UserError
from neural_style_tf.images.color_transfer import luma, to_gray
from neural_style_tf.transfer import plan
from neural_style_tf.transfer.colors import change_colors
from neural_style_tf.transfer.loop import explain_clipping
from neural_style_tf.transfer.masks import Masks
from neural_style_tf.transfer.plan import Inputs
from neural_style_tf.transfer.records import Rows

BASE = Config(
    **SHALLOW, style_loss="moments", content_loss="relative", style_weight=10.0, tv_weight=0.0
).replace(init="content", iterations=4, log_every=2, save_every=0, image_size=0)
LEFT = np.zeros((40, 48), np.float32)
LEFT[:, :24] = 1
WHITE = np.ones((7, 9), np.float32)


@pytest.fixture(scope="module")
def styles(pictures):
    rng = np.random.default_rng(7)
    other = np.repeat(np.repeat(rng.uniform(0, 255, (6, 9, 3)), 6, 0), 5, 1)
    return pictures[1], other.astype(np.float32)


@pytest.fixture
def paint(pictures, narrow_weights):
    def run(style, masks=None, content=None, **settings):
        content = pictures[0] if content is None else content
        inputs = Inputs(content, style, masks=masks or Masks())
        records = list(warm_session(narrow_weights).run(inputs, BASE.replace(**settings)))
        return records[-1].image, records

    return run


def test_white_masks_are_none_to_the_bit(paint, styles):
    plain, _ = paint(styles[0])
    for masks in (
        Masks(content=(WHITE,)),
        Masks(style=(WHITE,)),
        Masks(content=(WHITE,), style=(WHITE,), content_weight=WHITE, alpha=WHITE),
    ):
        assert np.array_equal(paint(styles[0], masks)[0], plain)
    assert np.array_equal(paint(styles, Masks(content=(WHITE, WHITE)))[0], paint(styles)[0])


def test_weights_1_and_0_are_the_first_style_to_the_bit(paint, styles, pictures):
    alone, _ = paint(styles[0])
    assert np.array_equal(paint(styles, style_blend=(1, 0))[0], alone)
    assert not np.array_equal(paint(styles, style_blend=(1, 1))[0], alone)
    # Nor does it depend on the other whether grey stays grey.
    gray = [to_gray(styles[0]), styles[1]]
    flags = {"content": to_gray(pictures[0]), "keep_gray": True}
    image, _ = paint(gray, style_blend=(1, 0), **flags)
    assert np.array_equal(image, paint(gray[0], **flags)[0]) and np.ptp(image, -1).max() < 0.1
    # A number for all, or one each.
    scaled, _ = paint(styles, style_blend=(0, 3), style_scale=(1.0, 0.5))
    assert np.array_equal(scaled, paint(styles[1], style_scale=0.5)[0])


def test_each_region_gets_its_style_and_what_none_covers_is_left_alone(paint, styles, pictures):
    masks = Masks(content=(LEFT, 1 - LEFT))
    _, records = paint(styles, masks)
    assert {"style/relu1_1/region1", "style/relu2_1/region2"} <= records[-1].terms.keys()
    for settings in ({}, {"init": "noise", "colors": "luminance", "scales": 2, "scale_iterations": (3,)}):
        only_left, records = paint(styles[0], Masks(content=(LEFT,)), **settings)
        np.testing.assert_allclose(only_left[:, 24:], pictures[0][:, 24:], atol=1e-3)
        assert np.abs(only_left - pictures[0])[:, :20].mean() > 5
        np.testing.assert_allclose(records[-1].best[:, 24:], pictures[0][:, 24:], atol=1e-3)
    half, _ = paint(styles[0], Masks(content=(0.5 * LEFT,)))
    assert np.abs(half - pictures[0])[:, 24:].max() < 1e-3


def test_a_face_that_matters_more_stays(paint, styles, pictures):
    weight = 0.02 + 0.98 * LEFT
    image, _ = paint(styles[0], Masks(content_weight=weight), iterations=15, style_weight=0.3)
    changed = np.abs(image - pictures[0]).mean((0, 2))
    assert changed[4:20].mean() < 0.8 * changed[28:44].mean()


@pytest.mark.slow
def test_in_tiles_as_in_one_piece(paint, styles):
    masks = Masks(content=(LEFT, 0.5 + 0 * LEFT), style=(None, 0.8 * np.eye(36, 45, dtype=np.float32) + 0.2))
    # Adam's first step does not depend on the size of the gradient; rounding would decide its direction.
    options = {"optimizer": "adam", "learning_rate": 1.0, "iterations": 2, "colors": "luminance"}
    whole, tiled = (paint(styles, masks, tile=tile, **options) for tile in ("none", "32"))
    for one, other in zip(whole[1], tiled[1], strict=True):
        assert one.terms == pytest.approx(other.terms, rel=1e-4)
    assert np.abs(whole[0] - tiled[0]).mean() < 0.02


def test_the_colours_of_the_photo_on_the_painting(paint, styles, pictures):
    plain, _ = paint(styles[0])
    image, records = paint(styles[0], colors="content")
    np.testing.assert_allclose(luma(image), luma(plain), atol=0.01)
    chroma = [one - luma(one)[..., np.newaxis] for one in (image, pictures[0])]
    np.testing.assert_allclose(*chroma, atol=0.01)
    assert records[-1].terms == paint(styles[0])[1][-1].terms
    assert any("--colors=content: the losses are those of" in note for note in records[0].notes)
    assert records[-1].best.shape == image.shape


def test_in_luminance_only_the_brightness_is_painted(paint, styles, pictures):
    image, _ = paint(styles[0], colors="luminance")
    chroma = [one - luma(one)[..., np.newaxis] for one in (image, pictures[0])]
    np.testing.assert_allclose(*chroma, atol=0.05)
    assert np.abs(luma(image) - luma(pictures[0])).mean() > 1
    assert (
        np.ptp(paint(to_gray(styles[0]), content=to_gray(pictures[0]), colors="luminance")[0], -1).max() < 0.1
    )


def test_the_style_in_the_colours_of_the_photo(styles, pictures):
    _, [matched], notes = change_colors("match", to_gray(pictures[0]), [styles[0]], Masks().check(1, BASE))
    assert np.ptp(matched, -1).mean() < 0.05 * np.ptp(styles[0], -1).mean()
    assert notes == ()
    # A style of two levels only, in the colours of one of more contrast.
    photo = np.zeros((40, 48, 3), np.float32)
    photo[:10] = 255
    *_, notes = change_colors("match", photo, [styles[1]], Masks().check(1, BASE))
    assert "of the style's values leave 0–255" in notes[0]


def test_a_checked_run_changes_colours_only_when_it_is_painted(pictures, monkeypatch):
    changed = []
    monkeypatch.setattr(
        plan, "change_colors", lambda *given: changed.append(1) or (given[1], given[2], ("a",))
    )
    checked = plan.plan_run(Inputs(*pictures), BASE.replace(colors="match", style_size=24))
    assert "towards the style in the photo's colours" in checked.notes[-1] and not changed
    painted = checked.prepared()
    assert changed and painted.notes == (*checked.notes, "a")
    assert max(painted.styles[0].shape) == 24 < max(checked.styles[0].shape)


def test_much_that_is_clipped_is_told():
    rows = np.full((300, 1000, 3), 100.0)
    assert explain_clipping(Rows(rows.shape, lambda top, bottom: rows[top:bottom])) == []
    rows[:30] = 300
    [line] = explain_clipping(Rows(rows.shape, lambda top, bottom: rows[top:bottom]))
    assert line.startswith("10% of the values")


def test_resumed_as_uninterrupted(styles, pictures, narrow_weights, tmp_path):
    masks = Masks(content=(LEFT, 1 - 0.5 * LEFT), content_weight=0.3 + 0.7 * LEFT)
    config = BASE.replace(colors="luminance", iterations=6, scales=2, scale_iterations=(3,), log_every=1)
    session, inputs, prefix = warm_session(narrow_weights), Inputs(pictures[0], styles, masks=masks), None
    for record in session.run(inputs, config):
        if record.step == 5:
            prefix = tf.train.Checkpoint(state=record.state).write(str(tmp_path / "ckpt-5"))
    whole = record
    *_, resumed = session.run(inputs, config, resume=prefix)
    assert resumed.terms == whole.terms and np.array_equal(resumed.image, whole.image)


@pytest.mark.parametrize(
    ("masks", "settings", "said"),
    [
        (Masks(content=(LEFT,)), {}, "--content_mask is given 1 times, and --style 2"),
        (Masks(style=(LEFT, LEFT, LEFT)), {}, "--style_mask is given 3 times, and --style 2"),
        (Masks(), {"style_blend": (1, 2, 3)}, "--style_blend has 3 numbers, but there are 2 styles"),
        (Masks(), {"style_scale": (1, 2, 3)}, "--style_scale has 3 numbers"),
        (Masks(), {"mask_weight": (1, 2)}, "--mask_weight is about the regions of --content_mask"),
        (Masks(), {"mask_guides": "inside"}, "--mask_guides=inside is about masks, and there is none"),
        (
            Masks((WHITE, WHITE), (WHITE, WHITE), alpha=WHITE),
            {"mask_guides": "inside"},
            "is about masks, and there is none but white",
        ),
        (Masks(content=(LEFT, 1 - LEFT)), {"mask_weight": (1,)}, "--mask_weight has 1 numbers"),
        (Masks(content=(LEFT, 1 - LEFT)), {"style_blend": (1, 2)}, "each has its own"),
        (Masks(content=(LEFT, 0 * LEFT)), {}, "--content_mask, the one of style 2, is black everywhere"),
        (Masks(style=(0 * LEFT, None)), {}, "--style_mask, the one of style 1, is black everywhere"),
        (Masks(content_weight=0 * LEFT), {}, "--content_weight_mask is black everywhere"),
        (Masks(content=(LEFT, 1 - LEFT), alpha=LEFT), {}, "style 2 is transparent everywhere"),
        (Masks(style=(np.eye(40, dtype=np.float32)[:1] * 0.01, None)), {}, "too small for every layer"),
    ],
)
def test_masks_that_cannot_be_are_refused(paint, styles, masks, settings, said):
    with pytest.raises(UserError, match=said):
        paint(styles, masks, **settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alpha": np.full((4, 4), 255, np.uint8)}, "alpha must be numbers from 0 to 1"),
        ({"content_weight": 3 * LEFT}, "content_weight must be numbers from 0 to 1"),
        ({"content": LEFT}, "content must be a tuple of masks"),
        ({"content": (None, LEFT)}, r"content must be arrays \[H, W\], not NoneType"),
        ({"content": (np.zeros((4, 4, 3), np.float32),)}, r"content must be arrays \[H, W\]"),
        ({"style": (np.zeros((0, 4), np.float32),)}, r"style must be arrays \[H, W\]"),
        ({"style": (np.full((4, 4), np.nan),)}, "style must be numbers from 0 to 1"),
        ({"style": (-LEFT,)}, "style must be numbers from 0 to 1"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        Masks(**given)


def test_a_nearly_grey_style_gets_no_colours_of_its_own(pictures):
    rng = np.random.default_rng(0)
    style = to_gray(pictures[1]) + rng.integers(-1, 2, pictures[1].shape)
    _, [matched], _ = change_colors("match", pictures[0], [style], Masks().check(1, BASE))
    _, [exact], _ = change_colors("match", pictures[0], [to_gray(style)], Masks().check(1, BASE))
    np.testing.assert_allclose(matched, exact, atol=1e-2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None,), "the style picture must be an array"),
        (([[1, 2, 3]],), "the style picture must be an array"),
        ((np.zeros((4, 4)),), r"the style picture must be an array \[H, W, 3\], not \[4, 4\]"),
        (((),), "there is no style picture"),
        ((np.zeros((4, 4, 3)), None, None), "masks must be a Masks, not NoneType"),
    ],
)
def test_inputs_that_are_no_pictures_are_refused(pictures, given, said):
    with pytest.raises(UserError, match=said):
        Inputs(pictures[0], *given)
