"""Colours of the photo on the painting or on the style: twins, and pictures without colours."""

import numpy as np
import pytest

from neural_style_tf.images.color_transfer import (
    clipped_share,
    luma,
    match_colors,
    match_luma,
    to_gray,
    with_colors_of,
)

RNG = np.random.default_rng(0)


def picture(*size, spread=40.0):
    return np.clip(RNG.normal(120, spread, (*size, 3)) @ RNG.normal(0.3, 0.3, (3, 3)), 0, 255).astype(
        np.float32
    )


def moments(pixels, weights=None):
    flat = pixels.reshape(-1, 3).astype(np.float64)
    weights = None if weights is None else weights.ravel()
    return np.average(flat, axis=0, weights=weights), np.cov(flat.T, bias=True, aweights=weights)


def test_luma_of_the_painting_and_chroma_of_the_photo():
    """By the YCbCr of BT.601, written out."""
    photo, painting = picture(9, 7), picture(9, 7)
    result = with_colors_of(photo, painting)
    np.testing.assert_allclose(luma(result), luma(painting), atol=1e-3)
    for channel, scale in ((2, 0.564), (0, 0.713)):
        chroma = [scale * (pixels[..., channel] - luma(pixels)) for pixels in (photo, result)]
        np.testing.assert_allclose(*chroma, atol=1e-3)
    np.testing.assert_allclose(with_colors_of(photo, photo), photo, atol=1e-4)


def test_the_style_gets_the_mean_and_covariance_of_the_photo():
    photo, style = picture(30, 40), picture(25, 35, spread=70)
    (mean, spread), (target_mean, target) = moments(match_colors(style, photo)), moments(photo)
    np.testing.assert_allclose(mean, target_mean, atol=1e-2)
    # Beside the ridge.
    np.testing.assert_allclose(spread, target, atol=0.02 * np.abs(target).max())
    np.testing.assert_allclose(match_colors(style, style), style, atol=1e-2)


def test_parts_of_the_pictures_may_count_alone():
    photo, style = picture(30, 40), picture(25, 35)
    where, of = np.zeros((25, 35)), np.zeros((30, 40))
    where[:10], of[20:] = 1, 1
    result = match_colors(style, photo, where=where, of=of)
    np.testing.assert_allclose(moments(result, where)[0], moments(photo, of)[0], atol=1e-2)
    np.testing.assert_allclose(moments(result, where)[1], moments(photo, of)[1], atol=20)


def test_grey_with_the_mean_and_deviation_of_the_photo():
    photo, style = to_gray(picture(30, 40)), to_gray(picture(25, 35, spread=90))
    result = match_luma(style, photo)
    assert np.ptp(result, axis=-1).max() < 1e-3
    assert result.mean() == pytest.approx(photo.mean(), abs=1e-2)
    assert result.std() == pytest.approx(photo.std(), rel=0.01)


@pytest.mark.parametrize("change", [match_colors, match_luma])
def test_grey_flat_and_two_coloured_pictures_stay_finite(change):
    two = np.zeros((8, 8, 3), np.float32)
    two[:4] = 255, 0, 0
    pictures = [picture(8, 8), to_gray(picture(8, 8)), np.full((8, 8, 3), 77, np.float32), two]
    for style in pictures:
        for photo in pictures:
            result = change(style, photo)
            assert np.isfinite(result).all() and np.abs(result).max() < 2000


def test_how_much_is_clipped():
    values = np.array([-3.0, -0.2, 10.0, 255.3, 260.0, 300.0])
    assert clipped_share(values) == 0.5
