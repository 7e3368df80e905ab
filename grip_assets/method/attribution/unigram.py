"""Features of token counts: chi-squared units, the divergence that they stand for, and cross-entropy. No model is used.

At small scale a table of token counts predicts retraining better than gradients do, so it is a source of its own, and
every other source has to be better than it. Counting is done in stages/attribution/. Shapes: N documents, S subsets,
T targets, V tokens of the vocabulary. Counts may be sparse matrices of SciPy.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from grip_assets.errors import GripError
from grip_assets.method.attribution.sketching import CountSketch

FLOOR = 1e-4  # added to a frequency under the root, so that rare tokens do not lead
SMOOTHING = 0.01  # of the pool's distribution in that of a subset: a token that it lacks has a finite cost
PRIORS = 2.0 ** (np.arange(41) / 2)  # tokens of smoothing that are compared
TINY = 1e-300


def distribution(counts: Any) -> np.ndarray:
    """The distribution of all counts together, float64 (V,). GripError if there are none."""
    total_V = np.asarray(counts.sum(axis=0), np.float64).ravel()
    if not total_V.sum() > 0:
        raise GripError("There are no tokens to count.")
    return total_V / total_V.sum()


def chi_squared(counts: Any, pool_V: np.ndarray) -> np.ndarray:
    """(p_i - q) / sqrt(q + 0.0001) of each row of counts, float32 (N, V); q is ``pool_V``, p_i the row's distribution.

    Features of documents and of targets are made alike. ||v_S - G_t||² is then the chi-squared divergence of the
    subset's token counts from the target's. A row without tokens gets zeros: it says nothing against the pool.
    """
    dense_NV = np.asarray(counts.todense() if hasattr(counts, "todense") else counts, np.float64)
    total_N1 = dense_NV.sum(axis=1, keepdims=True)
    share_NV = np.where(total_N1 > 0, dense_NV / np.maximum(total_N1, TINY), pool_V)
    return ((share_NV - pool_V) / np.sqrt(pool_V + FLOOR)).astype(np.float32)


def sketched(counts: Any, pool_V: np.ndarray, sketch: CountSketch) -> np.ndarray:
    """The CountSketch of ``chi_squared``, float32 (N, F), for a sparse matrix of counts: no dense (N, V) is made.

    The feature is a sparse part p_i / sqrt(q + 0.0001) less a part that all documents share.
    """
    from scipy.sparse import csr_matrix, diags  # slow to import

    counts = csr_matrix(counts).astype(np.float64)
    total_N = np.asarray(counts.sum(axis=1)).ravel()
    root_V = np.sqrt(pool_V + FLOOR)
    share = diags(1 / np.maximum(total_N, TINY)) @ counts @ diags(1 / root_V)
    common_F = sketch.apply((pool_V / root_V)[None])[0]
    return np.where(total_N[:, None] > 0, sketch.apply_sparse(share) - common_F, 0).astype(np.float32)


def prior(documents: Iterable[Any], pool_V: np.ndarray) -> float:
    """The tokens μ of the pool's distribution with which counts are smoothed: p = (c + μ q) / (n + μ).

    They are those that predict each token of a document best from its other tokens, of 1, √2, 2, ... tokens: the
    leave-one-out estimate of Zhai and Lafferty (2002). No target and no utility has a part in it. ``documents``: sparse
    rows of counts. GripError if no document has two tokens.
    """
    value_M, tokens = np.zeros(len(PRIORS)), 0.0
    for row in documents:
        count_C, share_C = row.data.astype(np.float64), pool_V[row.indices]
        n = float(count_C.sum())
        if n >= 2:
            likely_MC = (count_C - 1 + PRIORS[:, None] * share_C) / (n - 1 + PRIORS)[:, None]
            value_M, tokens = value_M + np.log(likely_MC) @ count_C, tokens + n
    if not tokens:
        raise GripError("No document has two tokens, so nothing says how token counts are to be smoothed.")
    return float(PRIORS[int(np.argmax(np.round(value_M / tokens, 9)))])


def subset_counts(counts: Any, members: Sequence[np.ndarray]) -> np.ndarray:
    """Token counts of each subset, float64 (S, V). A row that is listed twice counts twice."""
    return np.array([np.asarray(counts[rows].sum(axis=0), np.float64).ravel() for rows in members])


@threadpool_limits.wrap(limits=1)
def cross_entropy(
    target_TV: np.ndarray, subset_SV: np.ndarray, pool_V: np.ndarray, smoothing: float = SMOOTHING
) -> np.ndarray:
    """The negative cross-entropy Σ p_t log p_S of targets under the unigrams of subsets, in nats, float64 (T, S).

    ``target_TV``, ``subset_SV``: counts. p_S is mixed with ``smoothing`` of the pool's distribution, and at last with a
    little of the uniform one. More is better.
    """
    n = len(pool_V)
    floor_V = (1 - smoothing) * np.asarray(pool_V, np.float64) + smoothing / n
    share_SV = _shares(subset_SV)
    log_SV = np.log((1 - smoothing) * share_SV + smoothing * floor_V)
    return _shares(target_TV) @ log_SV.T


def _shares(counts_SV: np.ndarray) -> np.ndarray:
    counts_SV = np.atleast_2d(np.asarray(counts_SV, np.float64))
    return counts_SV / np.maximum(counts_SV.sum(axis=1, keepdims=True), TINY)
