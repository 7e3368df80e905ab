"""How many seeds a difference needs, and which difference a number of seeds can show: a paired Student's test.

Differences and spreads are shares of the loss of random. The intervals themselves are in statistics.py.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np

ERROR, POWER = 0.05, 0.8
MOST = 1000  # seeds; nobody trains more
POINTS = 1000  # at which the distribution of a spread is looked at
DIFFERENCE = 0.01  # that an evaluation should show

PRIOR = 0.01
"""Spread of paired differences where none was measured. It is the median over the strategies of the first ladder, on
held-out projects with three seeds: 0.7% of the loss on one pool, 1.4% on the other (from the intervals in
docs/evidence-default.md and evidence-polyglot.md, divided by 4.303 / sqrt(3))."""


def spread(losses: Mapping[int, float], base: Mapping[int, float]) -> float:
    """Standard deviation over seeds of the paired difference to ``base``, as a share of the mean of ``base``.

    NaN for fewer than two seeds, and for a strategy that is the same as ``base`` under every seed.
    """
    seeds = sorted(set(losses) & set(base))
    if len(seeds) < 2:
        return np.nan
    difference = np.array([losses[seed] - base[seed] for seed in seeds])
    found = float(difference.std(ddof=1) / abs(np.mean([base[seed] for seed in seeds])))
    return found or np.nan


def usual(spreads: Mapping[str, float]) -> float:
    """The median of the known spreads; NaN if there is none. One strategy with huge documents does not decide."""
    finite = [value for value in spreads.values() if np.isfinite(value)]
    return float(np.median(finite)) if finite else np.nan


def power(difference: float, of_spread: float, seeds: int) -> float:
    """The chance that a two-sided paired test at 5% shows a true ``difference`` with so many seeds.

    It is the mean over the possible spreads of a sample (chi-squared). scipy's noncentral t is often not a number.
    """
    from scipy.special import ndtr
    from scipy.stats import t

    if seeds < 2:
        return 0.0
    limit_P = t.ppf(1 - ERROR / 2, seeds - 1) * _sample_spreads(seeds - 1)
    moved = difference / of_spread * np.sqrt(seeds)
    return float(np.mean(ndtr(moved - limit_P) + ndtr(-moved - limit_P)))


@cache
def _sample_spreads(freedom: int) -> np.ndarray:
    """Spreads of samples as shares of the true one, at equal steps of their distribution."""
    from scipy.stats import chi2

    return np.sqrt(chi2.ppf((np.arange(POINTS) + 0.5) / POINTS, freedom) / freedom)


def seeds_needed(of_spread: float, difference: float = DIFFERENCE) -> int | None:
    """The least number of seeds that shows a true ``difference`` with a power of 80%. None if it is above 1,000."""
    low, high = 1, MOST + 1  # power(low) is too small, power(high) is enough or beyond what is tried
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, of_spread, middle) >= POWER else (middle, high)
    return high if high <= MOST else None


def shown_by(seeds: int, of_spread: float) -> float:
    """The least true difference that so many seeds show with a power of 80%. NaN for fewer than two seeds."""
    from scipy.optimize import brentq

    if seeds < 2:
        return np.nan
    return float(brentq(lambda d: power(d, of_spread, seeds) - POWER, 1e-9 * of_spread, 1e3 * of_spread))
