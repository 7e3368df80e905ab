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
    for one_family, size in groups(check):
        rows = np.flatnonzero((check.family_S == one_family) & (check.size_S == size))
        ceiling_T = np.array([ceiling(check, t, rows) for t in range(len(check.targets))])
        utility_TS = check.utility_TS[:, rows]
        drawn = {name: correlations(np.atleast_2d(p_TS)[:, rows], utility_TS) for name, p_TS in predicted.items()}
        n = int(np.isfinite(utility_TS).all(axis=0).sum())
        for name, mine_TR in drawn.items():
            other = additive if isinstance(additive, str) else additive.get(name)
            theirs_TR = drawn.get(other) if other is not None and other != name else None
            for label, targets in _labels(check.targets).items():
                spearman = _estimate(mine_TR[targets], n)
                gain = _estimate(None if theirs_TR is None else mine_TR[targets] - theirs_TR[targets], n)
                top = _mean(ceiling_T[targets][:, None])[0]
                said = words(spearman, gain, other)
                found.append(Fidelity(name, label, one_family, size, spearman, float(top), gain, said))
    order = list(predicted)
    return sorted(found, key=lambda row: order.index(row.name))


def _labels(targets: Sequence[str]) -> dict[str, list[int]]:
    """Each target, and their mean if there are several."""
    every = list(range(len(targets)))
    return {name: [t] for t, name in enumerate(targets)} | ({MEAN: every} if len(every) > 1 else {})


def groups(check: Check) -> list[tuple[str, int]]:
    """(family, size) of the check subsets, in order."""
    return sorted({(str(f), int(s)) for f, s in zip(check.family_S, check.size_S, strict=True)})


def correlations(predicted_TS: np.ndarray, utility_TS: np.ndarray) -> np.ndarray:
    """Spearman's correlation over all subsets and over each of R resamples of them, float64 (T, 1 + R). The resamples
    are the same for all targets and scores, so that differences are paired.

    Subsets whose training failed for a target are left out. NaN for fewer than four. GripError if a prediction is not
    finite.
    """
    predicted_TS, utility_TS = np.asarray(predicted_TS, np.float64), np.asarray(utility_TS, np.float64)
    if not np.isfinite(predicted_TS).all():
        raise GripError("A score predicts a utility that is not finite. Compute the sketches again.")
    kept = np.flatnonzero(np.isfinite(utility_TS).all(axis=0))
    if len(kept) < FEWEST:
        return np.full((len(utility_TS), 2), np.nan)
    rows_RS = np.concatenate([np.arange(len(kept))[None], resamples(np.zeros(len(kept)))])
    pairs = zip(predicted_TS[:, kept], utility_TS[:, kept], strict=True)
    return np.array([rank_correlations(x_S[rows_RS], y_S[rows_RS]) for x_S, y_S in pairs])


def agreement(predicted_TS: np.ndarray, utility_TS: np.ndarray) -> Estimate:
    """The mean over targets of Spearman's correlation over subsets, with a bootstrap interval over the subsets. A
    constant prediction has 0. Not known for fewer than four subsets."""
    n = int(np.isfinite(utility_TS).all(axis=0).sum())
    return _estimate(correlations(predicted_TS, utility_TS), n)


def difference(predicted_TS: np.ndarray, other_TS: np.ndarray, utility_TS: np.ndarray) -> Estimate:
    """How much better a score agrees than another one: paired, in the same resamples of the subsets."""
    n = int(np.isfinite(utility_TS).all(axis=0).sum())
    return _estimate(correlations(predicted_TS, utility_TS) - correlations(other_TS, utility_TS), n)


def _estimate(found_TR: np.ndarray | None, n: int) -> Estimate:
    """Of the mean over targets: the value is in the first column, resamples are in the others."""
    if found_TR is None:
        return Estimate(np.nan, np.nan, np.nan, 0)
    mean_R = _mean(found_TR)
    return Estimate(float(mean_R[0]), *interval(mean_R[1:]), n)


def _mean(value_TR: np.ndarray) -> np.ndarray:
    """The mean over the targets that are known, float64 (R,); NaN if none is."""
    known_R = np.isfinite(value_TR).sum(axis=0)
    return np.where(known_R > 0, np.nansum(value_TR, axis=0) / np.maximum(known_R, 1), np.nan)


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
