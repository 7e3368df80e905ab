"""Estimates with 95% intervals: correlations, slopes, means and variances.

Shapes: N points, G groups of points, K clusters, R draws or resamples, A allocations. In float64. A bootstrap has a
fixed seed, so it gives the same interval each time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grip_assets.method.agreement import mean_ranks, rank_correlation, rank_correlations

Z = 1.959964
RESAMPLES = 1000
BLOCK = 1_000_000  # things that are ranked together
ROUNDING = 1e-9  # an interval that is not wider than this counts as having no width
CELLS = 4_000_000  # most random numbers in memory at a time


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float
    n: int
    digits: int = 2

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.value))

    @property
    def signal(self) -> bool:
        """Whether 0 is outside the interval."""
        return self.low > 0 or self.high < 0

    def columns(self, value: str, low: str = "low", high: str = "high") -> dict[str, float | None]:
        """Value and interval by column name, with None in place of NaN."""
        return {value: known(self.value), low: known(self.low), high: known(self.high)}

    def __str__(self) -> str:
        if not self.known:
            return "not defined"
        if not np.isfinite(self.low):
            return f"{minus(self.value, self.digits)} (n = {self.n}, too few for an interval)"
        value, low, high = (minus(v, self.digits) for v in (self.value, self.low, self.high))
        return f"{value} (95% interval {low} to {high}, n = {self.n:,})"


def minus(value: float, digits: int = 2) -> str:
    """A number as text, with a true minus sign (U+2212)."""
    text = f"{value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def pearson(x: np.ndarray, y: np.ndarray, spread: float = 1.0) -> Estimate:
    """Pearson's correlation with Fisher's interval: atanh(r) ± 1.96 sqrt(spread / (n − 3))."""
    x, y = _both_known(x, y)
    n = len(x)
    if n < 3 or x.std() == 0 or y.std() == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    r = float(np.clip(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()), -1, 1))
    if n < 4:
        return Estimate(r, np.nan, np.nan, n)
    middle, half = np.arctanh(np.clip(r, -0.9999999, 0.9999999)), Z * np.sqrt(spread / (n - 3))
    return Estimate(r, float(np.tanh(middle - half)), float(np.tanh(middle + half)), n)


def spearman(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Spearman's rank correlation; Fisher's interval with the variance of Fieller, Hartley and Pearson (1957)."""
    x, y = _both_known(x, y)
    return pearson(mean_ranks(x), mean_ranks(y), spread=1.06)


def rank_agreement(x: np.ndarray, y: np.ndarray, seed: int = 0) -> Estimate:
    """Spearman's rank correlation with a bootstrap interval over the points, which assumes no distribution."""
    x, y = _both_known(x, y)
    value = rank_correlation(x, y)
    if len(x) < 4 or not np.isfinite(value):
        return Estimate(value, np.nan, np.nan, len(x))
    rows_RN = _drawn(len(x), seed)
    blocks = np.array_split(rows_RN, 1 + rows_RN.size // BLOCK)  # one at a time, a thousand small calls take a second
    found_R = np.concatenate([rank_correlations(x[rows], y[rows]) for rows in blocks])
    return Estimate(value, *_middle(found_R), len(x))


def _both_known(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a statistic of n things. It gets the numbers (n,) of things drawn with replacement."""
    return _middle(np.array([statistic(rows) for rows in _drawn(n, seed)]))


def _drawn(n: int, seed: int) -> np.ndarray:
    """The numbers of n things, drawn with replacement ``RESAMPLES`` times: int32 (RESAMPLES, n)."""
    return np.random.default_rng(seed).integers(0, n, (RESAMPLES, n), dtype=np.int32)


def _middle(found_R: np.ndarray) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of the finite values."""
    found_R = found_R[np.isfinite(found_R)]
    if not len(found_R):
        return np.nan, np.nan
    low, high = np.quantile(found_R, [0.025, 0.975])
    return float(low), float(high)


def slope(x: np.ndarray, y: np.ndarray) -> tuple[Estimate, float]:
    """Slope of a straight line through (x, y) with a bootstrap interval over the points, and its intercept."""
    n = len(x)
    if n < 3 or np.std(x) == 0:
        return Estimate(np.nan, np.nan, np.nan, n), np.nan
    low, high = bootstrap(lambda rows: _slope(x[rows], y[rows]), n)
    value = _slope(x, y)
    return Estimate(value, low, high, n, digits=3), float(np.mean(y) - value * np.mean(x))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    deviation = x - x.mean()
    total = float(deviation @ deviation)
    return float(deviation @ (y - y.mean()) / total) if total > 0 else np.nan


def slope_over_groups(x: np.ndarray, y: np.ndarray, group_N: np.ndarray, seed: int = 0) -> Estimate:
    """Slope of a straight line through (x, y) with a bootstrap interval over groups.

    Whole groups are drawn with replacement, since the points of a group are not independent. A resample adds up sums
    of groups (n, x, y, x², xy), so it costs G, not N. Fewer than four groups have no interval.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 3 or x.std() == 0:
        return Estimate(np.nan, np.nan, np.nan, len(x), digits=3)
    x_N, y_N = x - x.mean(), y - y.mean()  # sums of squares do not cancel
    _, group_N = np.unique(group_N, return_inverse=True)
    terms_NT = np.stack([np.ones(len(x)), x_N, y_N, x_N * x_N, x_N * y_N], axis=1)
    sums_GT = np.stack([np.bincount(group_N, weights=column) for column in terms_NT.T], axis=1)
    n = len(sums_GT)
    value = _slope(x, y)
    if n < 4:
        return Estimate(value, np.nan, np.nan, len(x), digits=3)
    rows_RG = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    n_R, x_R, y_R, xx_R, xy_R = sums_GT[rows_RG].sum(axis=1).T
    spread_R = xx_R - x_R * x_R / n_R
    found_R = (xy_R - x_R * y_R / n_R) / np.where(spread_R > 0, spread_R, np.nan)
    return Estimate(value, *_middle(found_R), len(x), digits=3)


def mean(values: npt.ArrayLike) -> Estimate:
    """Mean of the finite values, which must be independent, with Student's interval."""
    from scipy.stats import t

    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0)
    middle = float(finite.mean())
    if n < 2:
        return Estimate(middle, np.nan, np.nan, n)
    half = float(t.ppf(0.975, n - 1) * finite.std(ddof=1) / np.sqrt(n))
    return Estimate(middle, middle - half, middle + half, n)


def proportion(found: float, n: float) -> Estimate:
    """Share ``found / n`` with Wilson's interval [Wilson 1927]. It has a width even if nothing, or all, is found.

    ``n`` may be an effective number, and not whole.
    """
    if not n > 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    share, z2 = found / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = float(middle - half), float(middle + half)  # 0 of n: the low end is 0, but for rounding
    return Estimate(float(share), min(max(low, 0.0), share), max(min(high, 1.0), share), round(n))


def weighted_proportion(found_K: np.ndarray, n_K: np.ndarray, weight_K: np.ndarray) -> Estimate:
    """The mean of the shares found_k / n_k of clusters, weighted: sum w_k p_k / sum w_k. Those of n_k = 0 do not count.

    The interval is Wilson's, at the number of trials that would be as certain if all clusters had the same weight:
    (sum w_k)² / sum(w_k² / n_k) [Kish 1965]. ``n`` is the number of all trials.
    """
    known_K = np.asarray(n_K) > 0
    n_K, weight_K = np.asarray(n_K, np.float64)[known_K], np.asarray(weight_K, np.float64)[known_K]
    if not len(n_K):
        return proportion(0, 0)
    share = float(weight_K @ (np.asarray(found_K)[known_K] / n_K) / weight_K.sum())
    effective = float(weight_K.sum() ** 2 / np.sum(weight_K**2 / n_K))
    estimate = proportion(share * effective, effective)
    return Estimate(share, min(estimate.low, share), max(estimate.high, share), int(n_K.sum()))


def verdict(difference: Estimate, base: float, other: str, less_is_better: bool = True) -> str:
    """A paired difference to ``other``, whose mean is ``base``, in words.

    An interval of no width counts as no measurable difference: such a small count that differs equally under every
    seed is not certain.
    """
    if difference.low == difference.high == 0:
        return f"the same as {other}"
    if not difference.signal or difference.high - difference.low <= ROUNDING:
        return f"no measurable difference to {other}"
    better = (difference.value < 0) == less_is_better
    by = f"{abs(difference.value / base):.1%}" if base else f"{abs(difference.value):.4f}"
    return f"{'better' if better else 'worse'} than {other} by {by}"


def known(value: float) -> float | None:
    """The value, or None if it is NaN or infinite: tables have no NaN."""
    return value if np.isfinite(value) else None


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """The first x at which the line through the points (x, y), x ascending, reaches ``level``; NaN if it never does."""
    above = np.asarray(y, np.float64) - level
    for i in range(len(above) - 1):
        if above[i] == 0:
            return float(x[i])
        if above[i] * above[i + 1] < 0:
            return float(x[i] + (x[i + 1] - x[i]) * above[i] / (above[i] - above[i + 1]))
    return float(x[-1]) if len(above) and above[-1] == 0 else np.nan


def wasserstein(x_N: np.ndarray, one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Wasserstein-1 distance, in the unit of x, of two distributions over the same ascending points x.

    It is the area between their distribution functions. Weights need not sum to 1. NaN if all weights of one are 0.
    """
    if not np.any(one_N) or not np.any(other_N):
        return np.nan
    apart_N = np.cumsum(one_N) / np.sum(one_N) - np.cumsum(other_N) / np.sum(other_N)
    return float(np.abs(apart_N[:-1]) @ np.diff(x_N))


def stratified_variance(size_K: np.ndarray, n_K: np.ndarray, variance_K: np.ndarray) -> float:
    """Variance of sum_k N_k/N mean_k, where mean_k is the mean of n_k draws without replacement.

    It is sum_k (N_k/N)² (1 - n_k/N_k) S_k²/n_k [Cochran 1977, eq. 5.7]. ``variance_K``: S_k², divided by N_k - 1.
    """
    size_K, n_K = np.asarray(size_K, np.float64), np.asarray(n_K, np.float64)
    share_K = size_K / size_K.sum()
    return float(np.sum(share_K**2 * (1 - n_K / size_K) * np.asarray(variance_K) / n_K))


def stratified_estimates(values_K: Sequence[np.ndarray], n_AK: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """sum_k N_k/N mean_k under each allocation, float64 (A, R), of R = ``draws`` draws without replacement.

    All allocations take their documents from the same shuffled clusters, so that luck adds little to their differences.
    """
    total = sum(map(len, values_K))
    found_AR = np.zeros((len(n_AK), draws))
    for k, values in enumerate(values_K):
        random = np.random.default_rng([seed, k])
        step = max(CELLS // len(values), 1)
        for start in range(0, draws, step):
            order_RN = np.argsort(random.random((min(step, draws - start), len(values))), axis=1)
            sums_RN = np.cumsum(values[order_RN], axis=1)
            for a, n in enumerate(n_AK[:, k]):
                found_AR[a, start : start + step] += len(values) / total * sums_RN[:, n - 1] / n
    return found_AR


def variance_ratio(one_R: np.ndarray, other_R: np.ndarray, seed: int = 0) -> Estimate:
    """Variance of one estimator divided by that of another in the same draws, with a bootstrap interval over draws."""
    below = float(other_R.var(ddof=1))
    if not below > 0:
        return Estimate(np.nan, np.nan, np.nan, len(one_R))

    def ratio(rows: np.ndarray) -> float:
        return float(one_R[rows].var() / max(other_R[rows].var(), 1e-300))

    return Estimate(float(one_R.var(ddof=1)) / below, *bootstrap(ratio, len(one_R), seed), len(one_R))
