"""Statistics over pairs: means with bootstrap intervals, win rates, rank correlations. Draws are seeded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

DRAWS, SEED, LEVEL = 10_000, 0, 0.95
BLOCK = 1 << 20
"""How many numbers are drawn at a time."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def draws(count: int) -> Iterator[np.ndarray]:
    """Yield 10,000 bootstrap draws of `count` pairs, in blocks [draws, count] of indices; always the same."""
    random, rows = np.random.default_rng(SEED), max(1, BLOCK // count)
    for start in range(0, DRAWS, rows):
        yield random.integers(0, count, (min(rows, DRAWS - start), count))


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean over pairs, and the percentile interval of its bootstrap (Efron 1979).

    Args:
        values: A value for each pair, or NaN. Fewer than two values have no interval.
    """
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return Estimate(float(known[0]) if len(known) else float("nan"))
    means = np.concatenate([known[drawn].mean(1) for drawn in draws(len(known))])
    return Estimate(float(known.mean()), *_interval(means))


def difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Return the mean of `values − others` over the pairs that have both, with its bootstrap interval."""
    return mean(np.asarray(values, np.float64) - np.asarray(others, np.float64))


def win_rate(badness: Sequence[float], others: Sequence[float]) -> float:
    """Return the share of pairs, 0 to 1, in which `badness` is less than `others`; a tie counts half.

    Pairs with a NaN do not count; the result is NaN if there are no others.
    """
    ours, theirs = (np.asarray(side, np.float64) for side in (badness, others))
    known = ~np.isnan(ours) & ~np.isnan(theirs)
    if not known.any():
        return float("nan")
    ours, theirs = ours[known], theirs[known]
    return float(np.mean((ours < theirs) + 0.5 * (ours == theirs)))


def spearman_of_differences(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Return Spearman's rank correlation of differences, −1 to 1, and its bootstrap interval.

    The sign of a difference depends on which side is named first. So each difference is counted with both
    signs: the correlation then also says whether both judges prefer the same side. The bootstrap draws each
    difference together with its opposite.

    Args:
        values: By how much the first side is better in each trial, according to one judge; or NaN.
        others: The same according to another judge.

    Returns:
        The correlation; NaN for fewer than four trials, or if a judge sees no difference in any.
    """
    rows = np.array([values, others], np.float64)
    rows = rows[:, ~np.isnan(rows).any(0)]
    if rows.shape[1] < 4:
        return Estimate(float("nan"))
    found = _correlation(rows[:, np.newaxis])
    drawn = np.concatenate([_correlation(rows[:, items]) for items in draws(rows.shape[1])])
    # A draw whose differences are all 0 has no correlation.
    return Estimate(float(found[0]), *_interval(drawn[~np.isnan(drawn)]))


def _interval(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _correlation(rows: np.ndarray) -> np.ndarray:
    """Return the rank correlation of two sets of differences, [2, draws, items], over items: [draws]."""
    from scipy.stats import rankdata

    first, second = rankdata(np.concatenate([rows, -rows], axis=-1), axis=-1)
    first, second = (side - side.mean(-1, keepdims=True) for side in (first, second))
    scale = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    return np.divide((first * second).sum(-1), scale, out=np.full(len(scale), np.nan), where=scale > 0)
