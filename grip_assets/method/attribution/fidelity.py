"""Fidelity: does a cheap score order subsets as retraining does? Measured on subsets that had no part in any choice.

Spearman's correlation of predicted and measured utility, by target, by family of subsets and by size. These are never
pooled: larger subsets are worth more under any score, and structured subsets differ more than random ones. Beside it
stands the noise ceiling, the correlation between the utilities of the same subsets under two seeds of training: no
score can be expected to agree better with retraining than retraining with itself. The ratio of the two may be slightly
above 1, since the ceiling has noise on both sides and the score only on one.
Shapes: S subsets, T targets, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.agreement import rank_correlation
from grip_assets.method.attribution.choice import FEWEST, TIE, interval, rank_correlations, resamples
from grip_assets.method.statistics import Estimate, minus

MEAN = "mean of targets"
RANDOM, STRUCTURED = "random", "structured"


def family(kind: str) -> str:
    """RANDOM for subsets that were drawn uniformly, STRUCTURED for all other kinds. A kind of its own has too few."""
    return RANDOM if kind in ("uniform", "random") else STRUCTURED


@dataclass(frozen=True)
class Check:
    """Measured utilities on the evaluation subsets. ``utility_TS``: mean over seeds; NaN where training failed.
    ``family_S``: see ``family``. ``size_S``: size of each. ``again_TS``: utility under a second seed, NaN without one;
    ``first_TS``: under the first seed alone."""

    targets: Sequence[str]
    utility_TS: np.ndarray
    family_S: np.ndarray
    size_S: np.ndarray
    first_TS: np.ndarray | None = None
    again_TS: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.utility_TS.shape != (len(self.targets), len(self.family_S)) or len(self.size_S) != len(self.family_S):
            raise GripError("Targets, families and sizes of the check subsets differ in length. Run the stage again.")


@dataclass(frozen=True)
class Fidelity:
    """One row: a score on one target in one group of subsets. ``target``: MEAN for the mean correlation over targets.
    ``ceiling``: NaN without repeated seeds. ``over_additive``: the paired difference to the additive score."""

    name: str
    target: str
    family: str
    size: int
    spearman: Estimate
    ceiling: float
    over_additive: Estimate
    words: str

    @property
    def ratio(self) -> float:
        """Of the correlation to its ceiling; NaN without a ceiling above 0."""
        return self.spearman.value / self.ceiling if self.ceiling > 0 else np.nan


def fidelity(predicted: Mapping[str, np.ndarray], additive: str | Mapping[str, str], check: Check) -> list[Fidelity]:
    """Rows for each score in ``predicted`` (name to (T, S)), each target and their mean, each family and each size.

    ``additive``: name of the additive score with which a score is compared, or of that of each score.
    """
    found = []
    for name, predicted_TS in predicted.items():
        other = additive if isinstance(additive, str) else additive.get(name)
        other_TS = predicted.get(other) if other is not None and other != name else None
        for one_family, size in groups(check):
            rows = np.flatnonzero((check.family_S == one_family) & (check.size_S == size))
            found += _rows(name, np.atleast_2d(predicted_TS), other_TS, other, check, rows)
    return found


def groups(check: Check) -> list[tuple[str, int]]:
    """(family, size) of the check subsets, in order."""
    return sorted({(str(f), int(s)) for f, s in zip(check.family_S, check.size_S, strict=True)})


def _rows(
    name: str,
    predicted_TS: np.ndarray,
    other_TS: np.ndarray | None,
    other: str | None,
    check: Check,
    rows: np.ndarray,
) -> list[Fidelity]:
    """The rows of one score in one group: one a target, and one for their mean if there are several."""
    one_family, size = str(check.family_S[rows[0]]), int(check.size_S[rows[0]])
    n = len(check.targets)
    whose = {check.targets[t]: [t] for t in range(n)} | ({MEAN: list(range(n))} if n > 1 else {})
    ceiling_T = np.array([ceiling(check, t, rows) for t in range(n)])
    found = []
    for label, targets in whose.items():
        here = np.ix_(np.array(targets), rows)
        spearman = agreement(predicted_TS[here], check.utility_TS[here])
        gain = difference(predicted_TS[here], None if other_TS is None else other_TS[here], check.utility_TS[here])
        known = ceiling_T[targets][np.isfinite(ceiling_T[targets])]
        top = float(known.mean()) if len(known) else np.nan
        found.append(Fidelity(name, label, one_family, size, spearman, top, gain, words(spearman, gain, other)))
    return found


def agreement(predicted_TS: np.ndarray, utility_TS: np.ndarray) -> Estimate:
    """The mean over targets of Spearman's correlation over subsets, with a bootstrap interval over the subsets, which
    are the same in all targets. A constant prediction has 0. NaN for fewer than four subsets."""
    predicted_TS, utility_TS, n = _known(predicted_TS, utility_TS)
    if n < FEWEST:
        return Estimate(np.nan, np.nan, np.nan, n)
    return Estimate(_mean_correlation(predicted_TS, utility_TS)[0], *interval(_draws(predicted_TS, utility_TS)), n)


def difference(predicted_TS: np.ndarray, other_TS: np.ndarray | None, utility_TS: np.ndarray) -> Estimate:
    """How much better a score agrees than another one: paired, in the same resamples of the subsets."""
    if other_TS is None:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mine_TS, measured_TS, n = _known(predicted_TS, utility_TS)
    theirs_TS = _known(other_TS, utility_TS)[0]
    if n < FEWEST:
        return Estimate(np.nan, np.nan, np.nan, n)
    value = _mean_correlation(mine_TS, measured_TS)[0] - _mean_correlation(theirs_TS, measured_TS)[0]
    return Estimate(float(value), *interval(_draws(mine_TS, measured_TS) - _draws(theirs_TS, measured_TS)), n)


def _known(predicted_TS: np.ndarray, utility_TS: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Without the subsets whose training failed. GripError if a prediction is not finite."""
    predicted_TS, utility_TS = np.asarray(predicted_TS, np.float64), np.asarray(utility_TS, np.float64)
    if not np.isfinite(predicted_TS).all():
        raise GripError("A score predicts a utility that is not finite. Compute the sketches again.")
    kept_S = np.isfinite(utility_TS).all(axis=0)
    return predicted_TS[:, kept_S], utility_TS[:, kept_S], int(kept_S.sum())


def _draws(predicted_TS: np.ndarray, utility_TS: np.ndarray) -> np.ndarray:
    rows_RS = resamples(np.zeros(utility_TS.shape[1]))
    return _mean_correlation(predicted_TS[:, rows_RS], utility_TS[:, rows_RS])


def _mean_correlation(predicted_TRS: np.ndarray, utility_TRS: np.ndarray) -> np.ndarray:
    """float64 (R,); R is 1 for arrays (T, S)."""
    pairs = zip(predicted_TRS, utility_TRS, strict=True)
    found_TR = np.array([rank_correlations(np.atleast_2d(x), np.atleast_2d(y)) for x, y in pairs])
    known_R = np.isfinite(found_TR).sum(axis=0)
    return np.where(known_R > 0, np.nansum(found_TR, axis=0) / np.maximum(known_R, 1), np.nan)


def ceiling(check: Check, target: int, rows: np.ndarray) -> float:
    """The noise ceiling of a target: Spearman's correlation between two seeds over the repeated subsets of ``rows``.

    If fewer than four of them were repeated, over the repeated subsets of the same size in all families, which differ
    more from each other, so that this ceiling is rather too high. NaN if these are too few as well.
    """
    if check.first_TS is None or check.again_TS is None:
        return np.nan
    one_S, other_S = check.first_TS[target], check.again_TS[target]
    repeated_S = np.isfinite(one_S) & np.isfinite(other_S)
    same_size = np.flatnonzero(check.size_S == check.size_S[rows[0]])
    for some in (rows, same_size):
        twice = some[repeated_S[some]]
        if len(twice) >= FEWEST:
            return rank_correlation(one_S[twice], other_S[twice])
    return np.nan


def words(spearman: Estimate, over_additive: Estimate, additive: str | None) -> str:
    """What a row says, for people. A difference counts if its interval is above or below 0."""
    if not spearman.known:
        return "too few subsets to say"
    if not spearman.low > 0:
        return "no agreement with retraining is certain"
    if not over_additive.known or additive is None:
        return f"agrees with retraining: {minus(spearman.value)}"
    if over_additive.low > TIE:
        return f"predicts better than additive by {minus(over_additive.value)}"
    if over_additive.high < -TIE:
        return f"predicts worse than additive by {minus(-over_additive.value)}"
    return "predicts no better than additive"
