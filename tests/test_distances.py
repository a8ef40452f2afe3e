"""The distances by which benchmarks judge pictures, and the curves they make of them."""

import distances
import numpy as np
import pytest
import scipy.linalg
import tradeoff


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return random.uniform(0, 255, (64, 80, 3)), random.uniform(0, 255, (56, 72, 3)) ** 0.9


def test_equal_pictures_are_at_no_distance_and_others_are(pictures):
    one, other = pictures
    for distance in (distances.patch_distance, distances.colour_distance):
        assert distance(one, one) == pytest.approx(0, abs=1e-9)
        assert distance(one, other) > 0.01


def test_a_grey_level_more_is_a_patch_distance_of_about_one_where_means_are_kept(pictures):
    one, _ = pictures
    # Only the lowest level holds the mean; the directions share the difference out among them.
    found = distances.patch_distance(one, one + 10, levels=1)
    assert 5 < found < 12


def test_gaussians_are_compared_as_by_scipys_matrix_root():
    random = np.random.default_rng(1)
    one, other = (
        random.standard_normal((200, 5)) @ np.diag([1, 2, 3, 1, 1]),
        random.standard_normal((150, 5)) + 1,
    )
    sigma, target = np.cov(one.T, bias=True), np.cov(other.T, bias=True)
    root = scipy.linalg.sqrtm(target)
    common = np.trace(scipy.linalg.sqrtm(root @ sigma @ root)).real
    shift = one.mean(0) - other.mean(0)
    expected = shift @ shift + np.trace(sigma) + np.trace(target) - 2 * common
    expected /= np.trace(target) + other.mean(0) @ other.mean(0)
    assert distances.gaussian_w2(one, other) == pytest.approx(expected, rel=1e-9)


def test_the_copied_share_counts_pieces_of_the_style():
    random = np.random.default_rng(2)
    style, painting = random.standard_normal((14, 16, 8)), random.standard_normal((12, 13, 8))
    assert distances.copied_share(style, style) == 1
    assert distances.copied_share(painting, style) < 0.05
    # A piece of 6×7 positions has 4×5 whole patches; of those at its border, most are matched by it, too.
    copy = painting.copy()
    copy[3:9, 2:9] = style[5:11, 8:15]
    assert 20 / (10 * 11) <= distances.copied_share(copy, style) <= 63 / (10 * 11)
    # A piece of a single position is smaller than what counts.
    painting[3, 2] = style[5, 8]
    assert distances.copied_share(painting, style) < 0.05


def test_curves_are_compared_where_all_of_them_are():
    low, high = [(0.2, 0.8), (0.4, 0.6), (0.8, 0.2)], [(0.9, 0.3), (0.4, 0.8)]
    found = tradeoff.area({"low": low, "high": high})
    assert found == pytest.approx({"low": 0.4, "high": 0.6})
    assert all(
        np.isnan(one) for one in tradeoff.area({"low": low[:2], "high": [(0.5, 1), (0.6, 1)]}).values()
    )


def test_a_point_is_compared_across_and_up():
    curve = [(0.8, 0.2), (0.2, 0.8)]
    assert tradeoff.beside((0.5, 0.7), curve) == pytest.approx((0.5, 0.3))
    across, up = tradeoff.beside((0.9, 0.4), curve)
    assert np.isnan(across) and up == pytest.approx(0.6)
