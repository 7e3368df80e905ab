"""What a selection is worth: the multiple of random tokens that reaches the same loss.

Models are trained on random documents at several multiples M of the tokens, under S seeds. Between two multiples the
loss is a straight line over log2 of the tokens. In float64. How many seeds a difference needs is in power.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

POINTS = 100  # of the curve, in each doubling of the tokens
ENOUGH = 2  # seeds that an interval needs


@dataclass(frozen=True)
class Worth:
    """Multiples of random tokens. ``-inf`` and ``inf``: beyond the ends of the curve. NaN: not known.

    ``least`` and ``most``: the ends of the curve.
    """

    value: float
    low: float
    high: float
    least: float
    most: float

    @property
    def known(self) -> bool:
        return not np.isnan(self.value)

    def within(self, value: float) -> float | None:
        """``value``, cut off at the ends of the curve; None if it is not known."""
        return None if np.isnan(value) else float(np.clip(value, self.least, self.most))

    def said(self, value: float) -> str:
        """``value`` in words: ``1.4``, ``more than 4`` or ``less than 1/2``."""
        if value == np.inf:
            return f"more than {_short(self.most)}"
        return f"less than {_short(self.least)}" if value == -np.inf else f"{value:.1f}"

    def __str__(self) -> str:
        if not self.known:
            return "not known"
        if np.isnan(self.low):
            return self.said(self.value)
        if self.low == self.high:
            return f"{self.said(self.value)} (95% interval all {self.said(self.low)})"
        return f"{self.said(self.value)} (95% interval {self.said(self.low)} to {self.said(self.high)})"


def _short(multiple: float) -> str:
    return f"1/{1 / multiple:g}" if multiple < 1 else f"{multiple:g}"


def worth(curve: Mapping[float, Mapping[int, float]], losses: Mapping[int, float]) -> Worth:
    """The multiple of random tokens at which the random curve has the losses of a strategy.

    ``curve``: multiple to seed to loss. ``losses``: seed to the loss of the strategy. Only seeds that all of them have
    count. The value is where the mean curve, made to fall with the tokens, reaches the mean loss. The interval has all
    multiples whose paired difference to the strategy a Student's test does not tell from 0 (an inverted test, as
    Fieller's interval is). So it has the noise of the curve too.
    """
    multiples = sorted(curve)
    seeds = sorted(set(losses).intersection(*(curve[m] for m in multiples))) if multiples else []
    if len(multiples) < 2 or not seeds:
        return Worth(*[np.nan] * 5)
    loss_MS = np.array([[curve[m][seed] for seed in seeds] for m in multiples])
    own_S = np.array([losses[seed] for seed in seeds])
    at_M = np.log2(np.array(multiples))
    value = reached(at_M, falling(loss_MS.mean(1)), float(own_S.mean()))
    low, high = _not_refuted(at_M, loss_MS, own_S)
    if not np.isnan(low):
        low, high = min(low, value), max(high, value)
    value, low, high = (float(2**x) if np.isfinite(x) else x for x in (value, low, high))
    return Worth(value, low, high, multiples[0], multiples[-1])


def falling(loss_M: np.ndarray) -> np.ndarray:
    """The nearest losses, by least squares, that never rise with the tokens."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(loss_M, increasing=False).x


def reached(at_M: np.ndarray, loss_M: np.ndarray, loss: float) -> float:
    """The first place on the curve whose loss is ``loss`` or less: -inf before its beginning, inf after its end.

    ``at_M`` ascends and ``loss_M`` never rises.
    """
    if loss > loss_M[0]:
        return -np.inf
    if loss < loss_M[-1]:
        return np.inf
    i = int(np.argmax(loss_M <= loss))
    if i == 0:
        return float(at_M[0])
    part = (loss_M[i - 1] - loss) / (loss_M[i - 1] - loss_M[i])
    return float(at_M[i - 1] + part * (at_M[i] - at_M[i - 1]))


def _not_refuted(at_M: np.ndarray, loss_MS: np.ndarray, own_S: np.ndarray) -> tuple[float, float]:
    """The ends of the places at which a paired Student's test does not tell the curve from the strategy."""
    from scipy.stats import t

    n = len(own_S)
    if n < ENOUGH:
        return np.nan, np.nan
    at_P = np.linspace(at_M[0], at_M[-1], 1 + int(POINTS * (at_M[-1] - at_M[0])))
    difference_PS = np.stack([np.interp(at_P, at_M, curve_M) for curve_M in loss_MS.T], axis=1) - own_S
    middle_P = difference_PS.mean(1)
    half_P = t.ppf(0.975, n - 1) * difference_PS.std(1, ddof=1) / np.sqrt(n)
    kept_P = np.abs(middle_P) <= half_P
    if not kept_P.any():
        return _beyond(at_P, middle_P)
    low = -np.inf if kept_P[0] else float(at_P[kept_P.argmax()])
    high = np.inf if kept_P[-1] else float(at_P[len(at_P) - 1 - kept_P[::-1].argmax()])
    return low, high


def _beyond(at_P: np.ndarray, middle_P: np.ndarray) -> tuple[float, float]:
    """The interval if the test tells every place of the curve from the strategy: beyond an end, or a single place."""
    if (middle_P > 0).all():
        return np.inf, np.inf
    if (middle_P < 0).all():
        return -np.inf, -np.inf
    at = float(at_P[np.abs(middle_P).argmin()])
    return at, at
