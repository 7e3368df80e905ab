"""Is the difference there? Means over seeds with Student's interval, alone and paired by seed. In float64; S seeds."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Estimate(NamedTuple):
    """A mean and the interval that holds it with 95%, normal errors assumed; NaN where one value says nothing of it."""

    mean: float
    low: float
    high: float


def estimate(values_S: npt.ArrayLike) -> Estimate:
    """Mean ± t(0.975, S - 1) s / sqrt(S) [Student 1908]."""
    from scipy.stats import t

    values_S = np.asarray(values_S, np.float64)
    mean, n = float(values_S.mean()), len(values_S)
    if n < 2:
        return Estimate(mean, math.nan, math.nan)
    half = float(t.ppf(0.975, n - 1) * values_S.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half)


def verdict(difference: Estimate, base: float, other: str, less_is_better: bool = True) -> str:
    """What a paired difference to ``other``, whose mean is ``base``, says in words."""
    if not (difference.low > 0 or difference.high < 0):
        return f"no measurable difference to {other}"
    better = (difference.mean < 0) == less_is_better
    return f"{'better' if better else 'worse'} than {other} by {abs(difference.mean / base):.1%}"
