"""Which configuration of the surrogate is used: a finite grid, and a choice that cannot look at the answer.

A configuration is (source, normalize, gamma). Each predicts the utilities of the calibration subsets, which were
measured by retraining, and its score is Spearman's correlation with them, the mean over targets. Three ways to choose:

    bootstrap   all calibration subsets together. It begins with the default configuration, moves to another one only
                if that is measurably better, and leaves the quadratic term only if it is measurably no gain.
                Its intervals are not corrected for the number of configurations: it prefers to find a gain.
    lcb         the strict protocol of GRASP's abstract as we read it [L1]: of blocks of subsets, the gain over the
                additive score and its lower bound by Student's t. It needs blocks whose means are nearly normal.
    lcb_free    the same with bounds that hold for any distribution [L2]. They are valid, and empty for few blocks.

Only a ``Calibration`` can be given, and it refuses subsets of any other role: the subsets on which fidelity.py measures
the result never have a part in the choice. The protocol is a reconstruction: GRASP's is not public.
Shapes: C configurations, S subsets, T targets, B blocks, R resamples. Sums in float64.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from grip_assets.errors import GripError
from grip_assets.method.statistics import minus

RESAMPLES = 1000
RANGE = 4.0  # a difference of two correlations is from -2 to 2
FEWEST = 4  # subsets that one correlation needs
LEVEL = 0.95  # of the bootstrap's intervals
TIE = 1e-9  # scores that are nearer than this are the same
GRADIENTS = ("full", "blocks", "head", "factored")
ENTROPY = "cross_entropy"
"""The source that is scored by the cross-entropy of objective.py instead of R5. Its gamma is 1, or 0 for additive."""
MATCHED = ("unigram", ENTROPY, "embedding", "hidden", "column")
"""Sources whose target is a mean of the same features as the documents': surrogate.scale(matched=True)."""


@dataclass(frozen=True, order=True)
class Configuration:
    """``normalize``: none, or unit for documents' features of norm 1. ``gamma``: weight of the quadratic term."""

    source: str
    normalize: str
    gamma: float

    @property
    def name(self) -> str:
        return f"{self.source}/{self.normalize}/{self.gamma:g}"

    @property
    def additive(self) -> "Configuration":
        """The same features without the quadratic term."""
        return Configuration(self.source, self.normalize, 0.0)


def default(source: str, normalize: str = "none", gamma: float | None = None) -> Configuration:
    """The configuration before anything is measured. gamma is 0.3 for gradients, and 1 for features of which the target
    has the same kind: these were the best on our small models."""
    if gamma is None:
        gamma = 0.3 if source in GRADIENTS else 1.0
    return Configuration(source, "none" if normalize == "auto" or source == ENTROPY else normalize, gamma)


def grid(sources: Sequence[str], normalizes: Sequence[str], gammas: Iterable[float]) -> list[Configuration]:
    """All configurations, with gamma = 0 among them, whether it is given or not; gammas ascend. The cross-entropy has
    no other gamma than 0 and 1, and features of one kind."""
    ordered = sorted({0.0, *(float(gamma) for gamma in gammas)})
    found = []
    for source in sources:
        if source == ENTROPY:
            found += [Configuration(source, "none", gamma) for gamma in (0.0, 1.0)[: len(ordered)]]
        else:
            found += [Configuration(source, n, g) for n in normalizes for g in ordered]
    return found


@dataclass(frozen=True)
class Calibration:
    """The measured utilities by which a configuration may be chosen, made by ``calibration``.

    ``size_S``, ``block_S``: size and block of each subset. ``kept_S``: whether its training succeeded for all targets.
    """

    utility_TS: np.ndarray
    size_S: np.ndarray
    block_S: np.ndarray

    @property
    def kept_S(self) -> np.ndarray:
        return np.isfinite(self.utility_TS).all(axis=0)

    def only_kept(self) -> "Calibration":
        kept_S = self.kept_S
        return Calibration(self.utility_TS[:, kept_S], self.size_S[kept_S], self.block_S[kept_S])


def calibration(
    utility_TS: np.ndarray, role_S: Sequence[str], size_S: np.ndarray, block_S: np.ndarray | None = None
) -> Calibration:
    """GripError if a subset has another role than calibration, or if one array has another length."""
    others = sorted({role for role in role_S if role != "calibration"})
    if others:
        raise GripError(
            f"Subsets of the role {others[0]!r} were given to the choice of a configuration. It may only see those of"
            " the role 'calibration'. This is a fault of the program."
        )
    utility_TS = np.atleast_2d(np.asarray(utility_TS, np.float64))
    n = len(role_S)
    block_S = np.zeros(n, np.int64) if block_S is None else np.asarray(block_S)
    if not utility_TS.shape[1] == len(size_S) == len(block_S) == n:
        raise GripError(f"{n} calibration subsets have {utility_TS.shape[1]} utilities. Run counterfactuals again.")
    return Calibration(utility_TS, np.asarray(size_S), block_S)


@dataclass(frozen=True)
class Measured:
    """What was measured of a configuration. ``mean``: its mean correlation. ``gain``: over the additive reference, with
    the bounds ``lower`` and ``upper``; ``upper`` is None where the protocol has none. ``words``: why it was or was not
    chosen."""

    configuration: Configuration
    mean: float
    gain: float
    lower: float
    upper: float | None
    chosen: bool
    words: str


Predicted = Mapping[Configuration, np.ndarray]
"""The utilities (T, S) that each configuration predicts for the calibration subsets."""


def choose(
    method: str, predicted: Predicted, measured: Calibration, start: Configuration, delta: float = 0.1
) -> list[Measured]:
    """The grid with what was measured, one of it chosen. ``method``: bootstrap, lcb, or lcb_free. ``start``: the
    default. ``delta``: the probability that one of the lower bounds is wrong.

    The reference is the additive score of the features of ``start``. GripError if ``start`` or its additive score is
    not in the grid, or if too few subsets were measured.
    """
    for needed in (start, start.additive):
        if needed not in predicted:
            raise GripError(f"The configuration {needed.name} is not in the grid. This is a fault of the program.")
    predicted = {c: _finite(c, u_TS)[:, measured.kept_S] for c, u_TS in predicted.items()}
    measured = measured.only_kept()
    if method == "bootstrap":
        return _by_bootstrap(predicted, measured, start)
    return _by_bound(predicted, measured, start.additive, delta, free=method == "lcb_free")


def _finite(configuration: Configuration, predicted_TS: np.ndarray) -> np.ndarray:
    predicted_TS = np.atleast_2d(np.asarray(predicted_TS, np.float64))
    if not np.isfinite(predicted_TS).all():
        raise GripError(f"{configuration.name} predicts a utility that is not finite. Compute the sketches again.")
    return predicted_TS


def chosen(found: Sequence[Measured]) -> Configuration:
    return next(row.configuration for row in found if row.chosen)


def score(predicted_TS: np.ndarray, utility_TS: np.ndarray, size_S: np.ndarray) -> float:
    """Mean over targets and sizes of Spearman's correlation over the subsets of one size; NaN if none has enough.

    Sizes are kept apart: larger subsets are worth more under any score, which would look like agreement. A prediction
    that is the same for all subsets orders nothing, and counts as 0.
    """
    every = np.arange(utility_TS.shape[1])[None]
    return float(resampled_score(predicted_TS, utility_TS, size_S, every)[0])


def resampled_score(
    predicted_TS: np.ndarray, utility_TS: np.ndarray, size_S: np.ndarray, rows_RS: np.ndarray
) -> np.ndarray:
    """``score`` in each resample, float64 (R,). ``rows_RS``: the subsets of each, those of one size in the same columns
    of all (``resamples``). Subsets whose training failed are to be left out before."""
    found = []
    for size in np.unique(size_S):
        group_RS = rows_RS[:, size_S[rows_RS[0]] == size]
        if group_RS.shape[1] >= FEWEST:
            pairs = zip(predicted_TS, utility_TS, strict=True)
            found += [rank_correlations(x_S[group_RS], y_S[group_RS]) for x_S, y_S in pairs]
    if not found:
        return np.full(len(rows_RS), np.nan)
    known_R = np.isfinite(found).sum(axis=0)
    return np.where(known_R > 0, np.nansum(found, axis=0) / np.maximum(known_R, 1), np.nan)


def rank_correlations(predicted_RS: np.ndarray, utility_RS: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row, float64 (R,): 0 for a constant prediction, NaN for a constant utility."""
    from scipy.stats import rankdata  # slow to import

    x_RS, y_RS = (rankdata(values_RS, axis=1) for values_RS in (predicted_RS, utility_RS))
    x_RS, y_RS = x_RS - x_RS.mean(axis=1, keepdims=True), y_RS - y_RS.mean(axis=1, keepdims=True)
    norm_R = np.sqrt((x_RS**2).sum(axis=1) * (y_RS**2).sum(axis=1))
    found_R = (x_RS * y_RS).sum(axis=1) / np.where(norm_R > 0, norm_R, 1)
    return np.where((y_RS**2).sum(axis=1) > 0, found_R, np.nan)


def resamples(group_S: np.ndarray, seed: int = 0) -> np.ndarray:
    """R resamples of the subsets with replacement, int64 (R, S): of each group as many as it has."""
    rng = np.random.default_rng(seed)
    parts = [np.flatnonzero(group_S == group) for group in np.unique(group_S)]
    return np.concatenate([part[rng.integers(0, len(part), (RESAMPLES, len(part)))] for part in parts], axis=1)


# ---------------------------------------------------------------------------------------------------------- bootstrap


def interval(difference_R: np.ndarray) -> tuple[float, float]:
    """The bootstrap interval of resampled values, those that are not known left out."""
    known_R = difference_R[np.isfinite(difference_R)]
    if not len(known_R):
        return np.nan, np.nan
    low, high = np.quantile(known_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _by_bootstrap(predicted: Predicted, measured: Calibration, start: Configuration) -> list[Measured]:
    order = list(predicted)
    mean_C = _means(predicted, measured)
    rows_RS = resamples(measured.size_S)
    draws = {c: resampled_score(predicted[c], measured.utility_TS, measured.size_S, rows_RS) for c in order}
    best, words = _better_than_start(mean_C, draws, start)
    additive = best.additive if best.additive in draws else start.additive
    low, high = interval(draws[best] - draws[additive])
    if best.gamma > 0 and high <= TIE:
        term = _term(best)
        words[best] = f"the {term} is no gain: {_signed(low)} to {_signed(high)}"
        best = additive
        words[best] = f"chosen: the {term} is no gain"
    elif best.gamma > 0 and low <= TIE:
        words[best] += f". The gain of its {_term(best)} is uncertain: {_signed(low)} to {_signed(high)}"
    reference = start.additive
    return [
        Measured(
            c, mean_C[c], mean_C[c] - mean_C[reference], *interval(draws[c] - draws[reference]), c == best, words[c]
        )
        for c in order
    ]


def _term(configuration: Configuration) -> str:
    """What a configuration has beside its additive score."""
    return "logarithm" if configuration.source == ENTROPY else "quadratic term"


def _better_than_start(
    mean_C: dict[Configuration, float], draws: Mapping[Configuration, np.ndarray], start: Configuration
) -> tuple[Configuration, dict[Configuration, str]]:
    """The configuration with the highest mean of those that are measurably better than ``start``, or ``start``.

    Another source has to be measurably better than the best of the default one's, too: a gain that another gamma has
    is no reason to compute other features.
    """
    words, better = {}, []
    for c in mean_C:
        low, high = interval(draws[c] - draws[start])
        if low > TIE:
            better.append(c)
        side = "better" if low > TIE else "worse" if high < -TIE else "no measurable difference"
        words[c] = f"{side} than the default" if side in ("better", "worse") else f"{side} to the default"
        words[c] += f": {_signed(low)} to {_signed(high)}"
    words[start] = "the default"
    if not better:
        return start, words | {start: "chosen: the default, and none is measurably better"}
    best = _first(better, mean_C)
    own = _first([c for c in better if c.source == start.source] or [start], mean_C)
    if best.source != start.source and not interval(draws[best] - draws[own])[0] > TIE:
        words[best] += f", and not measurably better than {own.name}"
        best = own
    return best, words | {best: f"chosen: {words[best]}"}


def _first(some: Iterable[Configuration], value_C: Mapping[Configuration, float]) -> Configuration:
    """The largest value; of ties the smaller gamma, then the first in the grid."""
    some = list(some)
    best = max(value_C[c] for c in some)
    return min((c for c in some if value_C[c] >= best - TIE), key=lambda c: c.gamma)


def _means(predicted: Predicted, measured: Calibration) -> dict[Configuration, float]:
    found = {c: score(u, measured.utility_TS, measured.size_S) for c, u in predicted.items()}
    if not all(np.isfinite(value) for value in found.values()):
        raise GripError(
            f"A choice needs at least {FEWEST} calibration subsets of one size whose trainings succeeded. Raise"
            " settings/attribution.structured, or set settings/attribution.choose to none."
        )
    return found


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + minus(value)


# ------------------------------------------------------------------------------------------------------- lower bounds


def student_bound(gain_B: np.ndarray, others: int, delta: float) -> float:
    """L1: mean - t(1 - delta / others, B - 1) sd / sqrt(B), where ``others`` is the number of configurations beside the
    reference. Approximate: it takes the means of blocks as normal. -2 for fewer than two blocks."""
    from scipy.stats import t  # slow to import

    n = len(gain_B)
    if n < 2:
        return -RANGE / 2
    quantile = float(t.ppf(1 - delta / max(others, 1), n - 1))
    return float(np.mean(gain_B) - quantile * np.std(gain_B, ddof=1) / np.sqrt(n))


def hoeffding_bound(gain_B: np.ndarray, others: int, delta: float) -> float:
    """L2: mean - 4 sqrt(ln(others / delta) / 2B) [Hoeffding 1963]. Valid for any distribution of independent blocks."""
    n = len(gain_B)
    if not n:
        return -RANGE / 2
    return float(np.mean(gain_B) - RANGE * np.sqrt(np.log(max(others, 1) / delta) / (2 * n)))


def bernstein_bound(gain_B: np.ndarray, others: int, delta: float) -> float:
    """L2: mean - sqrt(2 Var ln(2 others / delta) / B) - 28 ln(2 others / delta) / (3 (B - 1)) [Maurer and Pontil 2009].
    Above Hoeffding's where the variance is small and blocks are many."""
    n = len(gain_B)
    if n < 2:
        return -RANGE / 2
    log = np.log(2 * max(others, 1) / delta)
    return float(np.mean(gain_B) - np.sqrt(2 * np.var(gain_B, ddof=1) * log / n) - 7 * RANGE * log / (3 * (n - 1)))


def free_bound(gain_B: np.ndarray, others: int, delta: float) -> float:
    """The larger of the two bounds of L2, each at half of ``delta``, so that both together fail with ``delta``."""
    return max(hoeffding_bound(gain_B, others, delta / 2), bernstein_bound(gain_B, others, delta / 2))


def _by_bound(
    predicted: Predicted, measured: Calibration, reference: Configuration, delta: float, free: bool
) -> list[Measured]:
    """The configuration with the largest lower bound of its gain; the reference has 0. Ties go to the smaller gamma."""
    mean_C = _means(predicted, measured)
    bound = free_bound if free else student_bound
    gains = {c: block_gains(predicted[c], predicted[reference], measured) for c in predicted}
    lower_C = {c: bound(gain_B, len(predicted) - 1, delta) for c, gain_B in gains.items()} | {reference: 0.0}
    best = _first(lower_C, lower_C)
    found = []
    for c in predicted:
        gain = float(np.mean(gains[c])) if len(gains[c]) else 0.0
        words = _bound_words(c, reference, lower_C[c], len(gains[c]), free)
        found.append(
            Measured(c, mean_C[c], gain, lower_C[c], None, c == best, f"chosen: {words}" if c == best else words)
        )
    return found


def block_gains(predicted_TS: np.ndarray, reference_TS: np.ndarray, measured: Calibration) -> np.ndarray:
    """The gain over the reference in each block that has enough subsets, float64 (at most B,)."""
    found = []
    for block in np.unique(measured.block_S):
        rows = np.flatnonzero(measured.block_S == block)
        utility_TS, size_S = measured.utility_TS[:, rows], measured.size_S[rows]
        found.append(
            score(predicted_TS[:, rows], utility_TS, size_S) - score(reference_TS[:, rows], utility_TS, size_S)
        )
    return np.array([gain for gain in found if np.isfinite(gain)], np.float64)


def _bound_words(c: Configuration, reference: Configuration, lower: float, blocks: int, free: bool) -> str:
    if c == reference:
        return "the additive reference"
    if free and lower <= -RANGE / 2:
        return f"{blocks} blocks are too few: the bound says nothing"
    if lower > TIE:
        return f"better than the additive reference by at least {_signed(lower)}"
    return f"not certain to be better than the additive reference: at least {_signed(lower)}"
