"""How sure a number is that the page shows: correlations and slopes with 95% intervals."""

from dataclasses import dataclass

import numpy as np

from grip_assets.method.agreement import mean_ranks

Z = 1.959964
RESAMPLES = 1000


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

    def __str__(self) -> str:
        if not self.known:
            return "not defined"
        if not np.isfinite(self.low):
            return f"{minus(self.value, self.digits)} (n = {self.n}, too few for an interval)"
        value, low, high = (minus(v, self.digits) for v in (self.value, self.low, self.high))
        return f"{value} (95% interval {low} to {high}, n = {self.n:,})"


def minus(value: float, digits: int = 2) -> str:
    """A number with a minus sign that is one."""
    text = f"{value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def pearson(x: np.ndarray, y: np.ndarray, spread: float = 1.0) -> Estimate:
    """With Fisher's interval: atanh(r) ± 1.96 sqrt(spread / (n − 3))."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    n = len(x)
    if n < 3 or x.std() == 0 or y.std() == 0:
        return Estimate(np.nan, np.nan, np.nan, n)
    r = float(np.clip(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()), -1, 1))
    if n < 4:
        return Estimate(r, np.nan, np.nan, n)
    middle, half = np.arctanh(np.clip(r, -0.9999999, 0.9999999)), Z * np.sqrt(spread / (n - 3))
    return Estimate(r, float(np.tanh(middle - half)), float(np.tanh(middle + half)), n)


def spearman(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Of ranks; the interval is Fisher's with the variance of Fieller, Hartley and Pearson (1957)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    return pearson(mean_ranks(x[both]), mean_ranks(y[both]), spread=1.06)


def slope(x: np.ndarray, y: np.ndarray) -> tuple[Estimate, float]:
    """Slope of a straight line through (x, y) with a bootstrap interval over the points, and its intercept."""
    n = len(x)
    if n < 3 or np.std(x) == 0:
        return Estimate(np.nan, np.nan, np.nan, n), np.nan
    rows_RN = np.random.default_rng(0).integers(0, n, (RESAMPLES, n), dtype=np.int32)
    found = np.array([_slope(x[rows], y[rows]) for rows in rows_RN])
    low, high = np.nanquantile(found, [0.025, 0.975])
    value = _slope(x, y)
    return Estimate(value, float(low), float(high), n, digits=3), float(np.mean(y) - value * np.mean(x))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    deviation = x - x.mean()
    total = float(deviation @ deviation)
    return float(deviation @ (y - y.mean()) / total) if total > 0 else np.nan
