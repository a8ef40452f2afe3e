"""Intervals, wins and rank correlations, against SciPy and cases worked by hand."""

import numpy as np
import pytest
import scipy.stats

from neural_style_tf.evaluation import statistics


def test_the_interval_of_a_mean_is_that_of_a_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = statistics.mean(values)
    half = 1.96 * values.std() / 20
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.02)


def test_a_paired_difference_is_narrower_than_the_means():
    random = np.random.default_rng(0)
    pairs = random.normal(0, 10, 20)
    ours, theirs = pairs + random.normal(0, 0.1, 20), pairs + 1
    found = statistics.difference(ours, theirs)
    assert -1.2 < found.low < found.value < found.high < -0.8
    # What one of them lacks does not count.
    assert statistics.difference([1, np.nan, 5], [0, 7, 2]).value == 2


def test_what_is_too_little_has_no_interval():
    assert statistics.mean([3.0])[:1] == (3.0,) and np.isnan(statistics.mean([3.0]).low)
    assert np.isnan(statistics.mean([]).value)
    assert np.isnan(statistics.spearman_of_differences([1, 2, 3], [1, 2, 3]).value)
    assert np.isnan(statistics.spearman_of_differences([0, 0, 0, 0], [1, 2, 3, 4]).value)
    assert np.isnan(statistics.win_rate([np.nan], [1]))


def test_wins_are_counted_and_ties_are_shared():
    assert statistics.win_rate([1, 2, 3, np.nan], [2, 2, 1, 0]) == pytest.approx(0.5)
    assert statistics.win_rate([1, 1], [2, 2]) == 1


def test_rank_correlation_is_scipys():
    random = np.random.default_rng(2)
    one = random.integers(0, 6, 25).astype(float)
    other = one + random.normal(0, 2, 25)
    found = statistics.spearman_of_differences(one, other)
    doubled = ([*side, *-side] for side in (one, other))
    assert found.value == pytest.approx(scipy.stats.spearmanr(*doubled).statistic)
    assert found.low < found.value < found.high
    opposite = [-(value**3) for value in range(6)]
    assert statistics.spearman_of_differences(range(6), opposite)[0] == pytest.approx(-1)


def test_judges_who_prefer_opposite_sides_disagree():
    # By plain ranks they agree perfectly: the larger the one, the larger the other.
    prefer_first, prefer_second = [0.1, 0.2, 0.3, 0.4], [-1, -0.8, -0.5, -0.2]
    found = statistics.spearman_of_differences(prefer_first, prefer_second)
    assert found.value < -0.5 and found.high < 0
    turned = statistics.spearman_of_differences([-0.1, 0.2, -0.3, 0.4], [1, -0.8, 0.5, -0.2])
    assert turned.value == pytest.approx(found.value)
