"""Each measure: known values, an independent twin, and that it tells better from worse."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats

from neural_style_tf.evaluation import measures
from neural_style_tf.images.color_transfer import luma


@pytest.fixture
def random():
    return np.random.default_rng(0)


def picture(random, height=48, width=56, shade=128, noise=40):
    smooth = scipy.ndimage.gaussian_filter(random.standard_normal((height, width, 3)), (2, 2, 0))
    return np.clip(shade + noise * smooth / smooth.std(), 0, 255).astype(np.float32)


# Content.


def test_ssim_of_equal_and_of_flat_pictures(random):
    photo = picture(random)
    assert measures.ssim(photo, photo) == pytest.approx(1)
    # Without structure only the means are compared: (2 μν + C₁) / (μ² + ν² + C₁), C₁ = (0.01 · 255)².
    flat = [np.full((16, 16, 3), level, np.float32) for level in (100, 150)]
    constant = 2.55**2
    assert measures.ssim(*flat) == pytest.approx((30_000 + constant) / (32_500 + constant), rel=1e-4)


def test_cfsd_is_that_of_its_twin_in_blocks_of_rows(random, monkeypatch):
    one, other = (random.uniform(0, 600, (5, 6, 4)) for _ in range(2))

    def similar(features):
        rows = features.reshape(-1, 4) / (4 * measures.UNIT_INPUT)
        return scipy.special.softmax(rows @ rows.T, axis=1)

    expected = scipy.stats.entropy(similar(other), similar(one), axis=1).sum()
    assert measures.cfsd(one, other) == pytest.approx(expected, rel=1e-4)
    monkeypatch.setattr(measures, "BLOCK", 70)
    assert measures.cfsd(one, other) == pytest.approx(expected, rel=1e-4)
    # Ten of the thirty rows stand for all.
    monkeypatch.setattr(measures, "ROWS", 10)
    rows = np.linspace(0, 29, 10).round().astype(int)
    each = scipy.stats.entropy(similar(other), similar(one), axis=1)
    assert measures.cfsd(one, other) == pytest.approx(3 * each[rows].sum(), rel=1e-4)


def test_the_perceptual_distance_is_a_share(random):
    layers = [random.uniform(0, 9, (4, 5, 3)), random.uniform(0, 9, (2, 3, 6))]
    assert measures.perceptual_distance(layers, layers) == 0
    assert measures.perceptual_distance([2 * layers[0], layers[1]], layers) == pytest.approx(0.5)
    assert measures.perceptual_distance([0 * layers[0], 3 * layers[1]], layers) == pytest.approx(2.5)


# Style.


def test_gaussians_are_compared_as_by_scipys_matrix_root(random):
    one = random.standard_normal((20, 10, 5)) @ np.diag([1, 2, 3, 1, 1])
    other = random.standard_normal((15, 10, 5)) + 1
    sigma, target = (np.cov(side.reshape(-1, 5).T, bias=True) for side in (one, other))
    root = scipy.linalg.sqrtm(target)
    common = np.trace(scipy.linalg.sqrtm(root @ sigma @ root)).real
    mean = other.mean((0, 1))
    shift = one.mean((0, 1)) - mean
    expected = shift @ shift + np.trace(sigma) + np.trace(target) - 2 * common
    expected /= np.trace(target) + mean @ mean
    assert measures.gaussian_w2(*([measures.statistics_of(side)] for side in (one, other))) == pytest.approx(
        expected, rel=1e-9
    )


def test_gaussians_of_one_channel_are_worked_by_hand():
    # μ 1, σ 1 and ν 4, τ 2: ((1 − 4)² + (1 − 2)²) / (4² + 2²).
    [one, other] = map(measures.statistics_of, (np.array([[[0.0], [2.0]]]), np.array([[[2.0], [6.0]]])))
    assert measures.gaussian_w2([one], [other]) == pytest.approx(0.5)
    assert measures.gaussian_w2([one, other], [other, other]) == pytest.approx(0.25)
    assert measures.gaussian_w2([other], [other]) == pytest.approx(0, abs=1e-12)
    # 4² + 2² from 1² + 1²: (2 − 20)² / 20²; and of (1, 1) from (4, 2): 10 / 20.
    assert measures.gram_distance([one], [other]) == pytest.approx(0.81)
    assert measures.moment_distance([one], [other]) == pytest.approx(0.5)


def test_statistics_in_blocks_are_numpys(random, monkeypatch):
    features = (random.standard_normal((9, 7, 4)) + 3).astype(np.float32)
    monkeypatch.setattr(measures, "BLOCK", 40)
    found = measures.statistics_of(features)
    rows = features.reshape(-1, 4).astype(np.float64)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.gram, rows.T @ rows / len(rows), rtol=1e-5)
    assert found.energy == pytest.approx((rows**2).sum(1).mean(), rel=1e-6)
    assert measures.gram_distance([found], [found]) == 0


def test_patches_are_compared_as_by_scipys_wasserstein_distance(random):
    one, other = picture(random, 13, 12), picture(random, 13, 12, shade=90)
    filters = np.random.default_rng([0, 0]).standard_normal((147, 256))
    filters /= np.linalg.norm(filters, axis=0)

    def projected(pixels):
        places = [(y, x) for y in range(7) for x in range(6)]
        rows = [pixels[y : y + 7, x : x + 7].transpose(2, 0, 1).ravel() for y, x in places]
        return np.array(rows) @ filters

    sides = [projected(side.astype(np.float64)) for side in (one, other)]
    columns = zip(sides[0].T, sides[1].T, strict=True)
    expected = np.mean([scipy.stats.wasserstein_distance(*pair) for pair in columns])
    assert measures.patch_distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert measures.patch_distance(one, one) == 0


def test_patches_of_another_number_are_compared_by_quantiles(random):
    small, large = random.uniform(0, 255, (64, 64, 3)), random.uniform(0, 255, (80, 96, 3))
    assert measures.patch_distance(small, large) < 0.2 * measures.patch_distance(small, large + 60)


def test_a_black_picture_has_no_colour_in_common_with_others():
    black, red = np.zeros((8, 8, 3)), np.full((8, 8, 3), (200.0, 0, 0))
    assert measures.colour_distance(black, red) == measures.colour_distance(red, black) == 1
    assert measures.colour_distance(black, black) == 0


def test_colours_are_those_of_a_naive_twin(random):
    one, other = (random.uniform(0, 255, (3, 4, 3)) for _ in range(2))

    def histogram(pixels):
        counts = np.zeros((3, 64, 64))
        for color in pixels.reshape(-1, 3) / 255:
            for channel in range(3):
                rest = [index for index in range(3) if index != channel]
                u, v = (np.log(color[channel] + 1e-6) - np.log(color[index] + 1e-6) for index in rest)
                bins = np.linspace(-3, 3, 64)
                of_u, of_v = (1 / (1 + ((value - bins) / 0.02) ** 2) for value in (u, v))
                counts[channel] += np.outer(of_u, of_v) * np.sqrt((color**2).sum())
        return counts / counts.sum()

    expected = np.sqrt(((np.sqrt(histogram(one)) - np.sqrt(histogram(other))) ** 2).sum() / 2)
    assert measures.colour_distance(one, other) == pytest.approx(expected, rel=1e-4)


def test_coherence_of_stripes_and_of_one_shade():
    x = np.mgrid[0:64, 0:64][1]
    stripes = np.repeat((128 + 60 * np.sin(x / 3))[..., np.newaxis], 3, -1)
    assert measures.coherence(stripes) == pytest.approx(1)
    assert measures.coherence(np.full((32, 32, 3), 77.0)) == 0


def test_coherence_is_that_of_its_twin_by_eigenvalues(random):
    pixels = picture(random)
    expected = []
    for fine, coarse in measures.TENSOR_SCALES:
        gray = luma(pixels)
        down = scipy.ndimage.gaussian_filter1d(
            scipy.ndimage.gaussian_filter1d(gray, fine, axis=0, order=1), fine, axis=1
        )
        right = scipy.ndimage.gaussian_filter1d(
            scipy.ndimage.gaussian_filter1d(gray, fine, axis=1, order=1), fine, axis=0
        )
        gradients = np.stack([down, right], -1)
        tensor = gradients[..., :, np.newaxis] * gradients[..., np.newaxis, :]
        tensor = scipy.ndimage.gaussian_filter(tensor, (coarse, coarse, 0, 0))
        small, large = np.moveaxis(np.linalg.eigvalsh(tensor), -1, 0)
        expected.append((large - small).sum() / (large + small).sum())
    assert measures.coherence(pixels) == pytest.approx(np.mean(expected), rel=1e-4)


# Copies.


def share(painting, style):
    return measures.copied_share(measures.copied_places(painting, style))


def test_the_copied_share_counts_pieces_of_the_style():
    random = np.random.default_rng(2)
    style, painting = random.standard_normal((14, 16, 8)), random.standard_normal((12, 13, 8))
    assert share(style, style) == 1
    assert share(painting, style) < 0.05
    # A piece of 6×7 positions has 4×5 whole patches; of those at its border, most are matched by it, too.
    copy = painting.copy()
    copy[3:9, 2:9] = style[5:11, 8:15]
    assert 20 / (10 * 11) <= share(copy, style) <= 63 / (10 * 11)
    # A piece of a single position is smaller than what counts.
    painting[3, 2] = style[5, 8]
    assert share(painting, style) < 0.05


def test_the_copied_share_is_that_of_its_twin():
    random = np.random.default_rng(3)
    style, painting = random.standard_normal((9, 8, 3)), random.standard_normal((8, 10, 3))
    painting[1:6, 2:8] = style[3:8, 1:7] + 0.1 * random.standard_normal((5, 6, 3))

    def unit_patches(features):
        features = features - style.mean((0, 1))
        windows = np.lib.stride_tricks.sliding_window_view(features, (3, 3), axis=(0, 1))
        return (
            windows / np.linalg.norm(windows.reshape(*windows.shape[:2], -1), axis=-1)[..., None, None, None]
        )

    ours, theirs = unit_patches(painting), unit_patches(style)
    offsets = {}
    for place in np.ndindex(ours.shape[:2]):
        similar = np.einsum("abnij,nij->ab", theirs, ours[place])
        match = np.unravel_index(similar.argmax(), similar.shape)
        offsets[place] = tuple(np.subtract(match, place))

    def region(place):
        found, left = set(), [place]
        while left:
            y, x = here = left.pop()
            if here in found or offsets.get(here) != offsets[place]:
                continue
            found.add(here)
            left += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        return found

    expected = np.mean([len(region(place)) >= 6 for place in offsets])
    assert 0.1 < expected < 1
    assert share(painting, style) == expected


def test_the_foreign_share_counts_what_is_unlike_the_photo():
    # The photo has channel 0 everywhere; the painting channel 1 on the left, where it is wholly unlike.
    photo, painting = np.zeros((5, 8, 2)), np.zeros((5, 8, 2))
    photo[..., 0] = 3
    painting[:, :4, 1], painting[:, 4:, 0] = 7, 2
    copied = np.ones((3, 6), bool)
    # By columns of patches: 3, 3, 2, 1, 0 and 0 thirds are unlike.
    assert measures.foreign_share(copied, painting, photo) == pytest.approx((1 + 1 + 2 / 3 + 1 / 3) / 6)
    copied[:, 1:] = False
    assert measures.foreign_share(copied, painting, photo) == pytest.approx(1 / 6)
    assert measures.foreign_share(~copied | copied, photo, photo) == 0
