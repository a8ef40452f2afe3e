"""Statistics over pairs: means with bootstrap intervals, win rates, rank correlations. Draws are seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

DRAWS, SEED, LEVEL = 10_000, 0, 0.95
BATCH = 1 << 20
"""How many numbers are drawn at a time."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean without the NaN, and the interval of its bootstrap; one value has no interval."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return Estimate(float(known[0]) if len(known) else float("nan"))
    return Estimate(float(known.mean()), *_interval(np.mean, known))


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
    """Return Spearman's rank correlation, −1 to 1, of two judges, and its bootstrap interval.

    Each judge says by how much the first side is better in each trial, or NaN. The sign of a difference
    depends on which side is named first. So each difference is counted with both signs: the correlation then
    also says whether both judges prefer the same side. The bootstrap draws each difference together with its
    opposite. NaN for fewer than four trials, or if a judge sees no difference in any.
    """
    rows = np.array([values, others], np.float64)
    rows = rows[:, ~np.isnan(rows).any(0)]
    if rows.shape[1] < 4 or not rows.any(1).all():
        return Estimate(float("nan"))
    return Estimate(float(_correlation(*rows)), *_interval(_correlation, *rows))


def _interval(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval of a statistic of `samples`, which are drawn together (Efron 1979)."""
    from scipy.stats import bootstrap

    drawn = bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=DRAWS,
        batch=max(1, BATCH // len(samples[0])),
        confidence_level=LEVEL,
        method="percentile",
        random_state=SEED,
    )
    low, high = drawn.confidence_interval
    return float(low), float(high)


def _correlation(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the rank correlation of two sets of differences; 0 for a draw in which a judge sees none."""
    from scipy.stats import rankdata

    ranks = (rankdata(np.concatenate([side, -side], axis), axis=axis) for side in (first, second))
    one, other = (side - side.mean(axis, keepdims=True) for side in ranks)
    scale = np.sqrt((one**2).sum(axis) * (other**2).sum(axis))
    return (one * other).sum(axis) / np.where(scale > 0, scale, 1.0)
