"""Other scores of a subset, beside which the surrogate stands in the table of fidelity: each is (T, S), more is better.

    random              a hash of the subset
    length              the mean length of its documents
    graddot             mean of <G_t, phi_i>: TracIn at one checkpoint, R5 without its quadratic term
    cosine              mean of the cosine of G_t and phi_i
    trak                mean of G_tᵀ (F + d I)⁻¹ phi_i, F the Fisher matrix of the sketches: as TRAK, at one checkpoint
    influence           R6: the same less half of its own quadratic term
    kernelsm            kernel ridge regression on which documents a subset has, fitted on the calibration subsets
    embedding           mean cosine of the target's embedding and the document's
    unigram_ce          cross-entropy of the target under the subset's token counts
    unigram_chi2        chi-squared divergence of the subset's token counts from the target's
    dsir                mean of DSIR's log weight, from hashed n-grams

All means over documents are weighted by tokens. To add one, write a function of ``Evidence`` and an entry in
``BASELINES`` with the fields that it needs. Shapes: N documents, S subsets, T targets, F numbers of a sketch, V tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.method.attribution import surrogate, unigram
from grip_assets.method.sampling import keyed_uniform

RIDGES = tuple(10.0**exponent for exponent in range(-4, 3))


@dataclass(frozen=True)
class Evidence:
    """What scores may use. A field that is None is not there, and scores that need it are left out.

    ``members``: rows of the documents of each subset to be scored; a row that is listed twice counts twice.
    ``names``: the subsets' ids. ``weight_N``: tokens of each document. ``phi_NF``, ``target_TF``: gradient sketches.
    ``embedding_ND``, ``target_embedding_TD``: embeddings. ``counts_NV``, ``target_counts_TV``: token counts (sparse or
    not), ``pool_V``: distribution of the pool. ``dsir_TN``: DSIR's log weights. ``calibration_members``,
    ``calibration_utility_TS``: the subsets that were trained for the choice, and their utilities; NaN where one failed.
    """

    members: Sequence[np.ndarray]
    names: Sequence[str]
    weight_N: np.ndarray
    targets: int
    phi_NF: Any = None
    target_TF: Any = None
    embedding_ND: Any = None
    target_embedding_TD: Any = None
    counts_NV: Any = None
    target_counts_TV: Any = None
    pool_V: Any = None
    dsir_TN: Any = None
    calibration_members: Any = None
    calibration_utility_TS: Any = None
    seed: int = 0

    def mean_of(self, value_TN: np.ndarray) -> np.ndarray:
        """The token-weighted mean of values of documents in each subset, float64 (T, S)."""
        value_NT = np.atleast_2d(np.asarray(value_TN, np.float64)).T
        return surrogate.means(value_NT, self.weight_N, self.members).T

    def alike(self, value_S: np.ndarray) -> np.ndarray:
        """The same score for every target, float64 (T, S)."""
        return np.broadcast_to(np.asarray(value_S, np.float64), (self.targets, len(self.members))).copy()


def random(e: Evidence) -> np.ndarray:
    return e.alike(keyed_uniform(e.seed, "attribution:random", list(e.names)))


def length(e: Evidence) -> np.ndarray:
    return e.alike(np.array([np.mean(e.weight_N[rows]) for rows in e.members]))


def graddot(e: Evidence) -> np.ndarray:
    return surrogate.utility(e.target_TF, _means(e), 0.0, np.ones(e.targets))


@threadpool_limits.wrap(limits=1)
def cosine(e: Evidence) -> np.ndarray:
    target_TF = surrogate.unit(e.target_TF).astype(np.float64)
    unit_SF = surrogate.means(surrogate.unit(e.phi_NF), e.weight_N, e.members)
    return target_TF @ unit_SF.T


def trak(e: Evidence) -> np.ndarray:
    return surrogate.influence_utility(e.target_TF, _means(e), surrogate.fisher(e.phi_NF, e.weight_N), 0.0)


def influence(e: Evidence) -> np.ndarray:
    return surrogate.influence_utility(e.target_TF, _means(e), surrogate.fisher(e.phi_NF, e.weight_N), 1.0)


@threadpool_limits.wrap(limits=1)
def embedding(e: Evidence) -> np.ndarray:
    target_TD = surrogate.unit(e.target_embedding_TD).astype(np.float64)
    return target_TD @ surrogate.means(surrogate.unit(e.embedding_ND), e.weight_N, e.members).T


def unigram_ce(e: Evidence) -> np.ndarray:
    counts_SV = unigram.subset_counts(e.counts_NV, e.members)
    return unigram.cross_entropy(_dense(e.target_counts_TV), counts_SV, e.pool_V)


def unigram_chi2(e: Evidence) -> np.ndarray:
    subset_SV = unigram.chi_squared(unigram.subset_counts(e.counts_NV, e.members), e.pool_V).astype(np.float64)
    target_TV = unigram.chi_squared(_dense(e.target_counts_TV), e.pool_V).astype(np.float64)
    return -np.array([((subset_SV - one_V) ** 2).sum(axis=1) for one_V in target_TV])


def dsir(e: Evidence) -> np.ndarray:
    return e.mean_of(e.dsir_TN)


@threadpool_limits.wrap(limits=1)
def kernelsm(e: Evidence) -> np.ndarray:
    """Kernel ridge regression of the utility on the subset [KernelSM]. It sees no text and no gradient.

    The kernel is the cosine of two subsets' token counts by document, so a subset that shares no document with any
    calibration subset is predicted at their mean. The ridge is the one with the least leave-one-out error.
    """
    known_S = np.isfinite(e.calibration_utility_TS).all(axis=0)
    fitted = [rows for rows, known in zip(e.calibration_members, known_S, strict=True) if known]
    kernel_CC = subset_kernel(fitted, fitted, e.weight_N)
    kernel_SC = subset_kernel(e.members, fitted, e.weight_N)
    return np.array([_ridge(kernel_CC, y_C, kernel_SC) for y_C in e.calibration_utility_TS[:, known_S]])


def subset_kernel(one: Sequence[np.ndarray], other: Sequence[np.ndarray], weight_N: np.ndarray) -> np.ndarray:
    """The cosine of subsets as vectors of tokens by document, float64 (S, S')."""
    one_SN, other_SN = (_indicators(members, weight_N) for members in (one, other))
    return np.asarray((one_SN @ other_SN.T).todense(), np.float64)


def _indicators(members: Sequence[np.ndarray], weight_N: np.ndarray) -> Any:
    """Unit rows of tokens by document, as a sparse matrix (S, N)."""
    found = surrogate.memberships(members, weight_N)
    found.sum_duplicates()
    norm_S = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    return found.multiply((1 / np.maximum(norm_S, 1e-300))[:, None]).tocsr()


def _ridge(kernel_CC: np.ndarray, y_C: np.ndarray, kernel_SC: np.ndarray) -> np.ndarray:
    """The prediction of kernel ridge regression around the mean, float64 (S,)."""
    mean = y_C.mean()
    value_C, vector_CC = np.linalg.eigh(kernel_CC)
    value_C = np.maximum(value_C, 0)
    errors = [_left_out(value_C, vector_CC, y_C - mean, ridge) for ridge in RIDGES]
    ridge = RIDGES[int(np.argmin(errors))]
    return mean + kernel_SC @ (vector_CC @ ((vector_CC.T @ (y_C - mean)) / (value_C + ridge)))


def _left_out(value_C: np.ndarray, vector_CC: np.ndarray, y_C: np.ndarray, ridge: float) -> float:
    """Mean squared leave-one-out error: residual over 1 - leverage."""
    inverse_CC = (vector_CC / (value_C + ridge)) @ vector_CC.T
    return float(np.mean(((inverse_CC @ y_C) / np.diag(inverse_CC)) ** 2))


def _means(e: Evidence) -> np.ndarray:
    return surrogate.means(e.phi_NF, e.weight_N, e.members)


def _dense(counts: Any) -> np.ndarray:
    return np.asarray(counts.todense() if hasattr(counts, "todense") else counts, np.float64)


class Baseline(NamedTuple):
    """``needs``: fields of the evidence without which there is no score."""

    score: Callable[[Evidence], np.ndarray]
    needs: tuple[str, ...] = ()


GRADIENT = ("phi_NF", "target_TF")
COUNTS = ("counts_NV", "target_counts_TV", "pool_V")
BASELINES: dict[str, Baseline] = {
    "random": Baseline(random),
    "length": Baseline(length),
    "graddot": Baseline(graddot, GRADIENT),
    "cosine": Baseline(cosine, GRADIENT),
    "trak": Baseline(trak, GRADIENT),
    "influence": Baseline(influence, GRADIENT),
    "kernelsm": Baseline(kernelsm, ("calibration_members", "calibration_utility_TS")),
    "embedding": Baseline(embedding, ("embedding_ND", "target_embedding_TD")),
    "unigram_ce": Baseline(unigram_ce, COUNTS),
    "unigram_chi2": Baseline(unigram_chi2, COUNTS),
    "dsir": Baseline(dsir, ("dsir_TN",)),
}


def possible(evidence: Evidence) -> list[str]:
    """Names of the scores for which the evidence has all fields."""
    return [
        name for name, entry in BASELINES.items() if all(getattr(evidence, field) is not None for field in entry.needs)
    ]
