"""Masks from pictures of any kind, brought to other sizes."""

import numpy as np
import pytest
from PIL import Image

from neural_style_tf.images import fill_hidden, load_image
from neural_style_tf.images.masks import fit_mask, load_mask, stretched, with_opacity

RNG = np.random.default_rng(0)
SHAPE = np.zeros((40, 60), np.uint8)
SHAPE[10:30, 20:] = 255


def saved(path, image, **options):
    image.save(path, **options)
    return load_mask(path)[0]


def test_pictures_of_any_kind(tmp_path):
    expected = SHAPE / 255
    grey = Image.fromarray(SHAPE)
    alpha = Image.merge("RGBA", [Image.fromarray(RNG.integers(0, 255, SHAPE.shape, np.uint8))] * 3 + [grey])
    deep = Image.fromarray(SHAPE.astype(np.uint16) * 257)
    for name, image in (
        ("grey.png", grey),
        ("rgb.png", grey.convert("RGB")),
        ("one.png", grey.convert("1")),
        ("alpha.png", alpha),
        ("deep.png", deep),
    ):
        np.testing.assert_array_equal(saved(tmp_path / name, image), expected)


def test_the_noise_of_jpeg_is_no_mask(tmp_path):
    mask = saved(tmp_path / "m.jpg", Image.fromarray(SHAPE), quality=85)
    inside = np.s_[18:22, 34:50]
    assert (mask[inside] == 1).all() and (mask[:2] == 0).all()
    noisy = np.clip(SHAPE.astype(int) + RNG.integers(-5, 6, SHAPE.shape), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(saved(tmp_path / "n.png", Image.fromarray(noisy)), SHAPE / 255)


def test_soft_values_stay_soft(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    mask = saved(tmp_path / "r.png", Image.fromarray(ramp))[0]
    assert (np.diff(mask) >= 0).all() and mask[127] == pytest.approx(0.5, abs=0.01)


def test_reduced_by_the_mean_of_areas():
    mask = RNG.uniform(0, 1, (40, 60)).astype(np.float32)
    expected = mask.reshape(10, 4, 12, 5).mean((1, 3))
    np.testing.assert_allclose(fit_mask(mask, (10, 12)), expected, atol=1e-6)
    assert fit_mask(mask, (40, 60)) is mask
    for size in ((10, 100), (100, 10), (90, 130), (1, 1)):
        fitted = fit_mask(mask, size)
        assert fitted.shape == size and fitted.mean() == pytest.approx(mask.mean(), abs=0.02)
        assert (fit_mask(np.ones((7, 9), np.float32), size) == 1).all()
        assert (fit_mask(np.zeros((7, 9), np.float32), size) == 0).all()


def test_opacity_is_part_of_a_mask_and_another_shape_is_told():
    alpha = np.full((4, 6), 51, np.uint8)
    np.testing.assert_allclose(with_opacity(np.full((8, 12), 0.5, np.float32), alpha), 0.1, atol=1e-6)
    np.testing.assert_allclose(with_opacity(None, alpha), 0.2)
    assert with_opacity(None, None) is None
    assert stretched((40, 60), (400, 600)) == "" and "60×40" in stretched((40, 60), (600, 400))


def test_colours_under_full_transparency_are_those_around(tmp_path):
    """Whatever a program left there: a cut-out on black is one on white."""
    rgba = np.zeros((32, 48, 4), np.uint8)
    rgba[8:24, 10:30] = 200, 30, 60, 255
    results = []
    for hidden in (0, 255, 127):
        rgba[rgba[..., 3] == 0, :3] = hidden
        Image.fromarray(rgba).save(tmp_path / "a.png")
        picture = load_image(tmp_path / "a.png")
        np.testing.assert_array_equal(picture.alpha, rgba[..., 3])
        results.append(fill_hidden(picture.pixels, picture.alpha))
        np.testing.assert_allclose(results[-1], np.broadcast_to([200, 30, 60], (32, 48, 3)), atol=0.5)
        smaller = load_image(tmp_path / "a.png", longest=31)
        filled = fill_hidden(smaller.pixels, smaller.alpha)
        np.testing.assert_allclose(filled, np.broadcast_to([200, 30, 60], (21, 31, 3)), atol=2)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
