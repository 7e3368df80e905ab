"""How far two raters, or two selections, agree. In float64; N documents. Intervals are in statistics.py.

Ranks come from SciPy. The formulas of kappa, Spearman and Wasserstein (statistics.py) are written here, a few lines
each: libraries give other last digits, and these numbers are in artifacts. Tests compare them with scipy.stats and
sklearn.metrics.
"""

import numpy as np


def weighted_kappa(one_N: np.ndarray, other_N: np.ndarray, levels: int = 11) -> float:
    """Cohen's kappa with quadratic weights [Cohen 1968] of ratings from 0 to ``levels - 1``, rounded to whole numbers.

    1: the raters always agree. 0: no more than by chance. Below 0: less. NaN if both raters give everything the same
    level, since then chance explains all agreement.
    """
    a_N, b_N = (np.clip(np.floor(np.asarray(x, np.float64) + 0.5), 0, levels - 1) for x in (one_N, other_N))
    # The mean squared difference, over that of independent raters with the same marginal distributions.
    observed = np.mean((a_N - b_N) ** 2)
    by_chance = a_N.var() + b_N.var() + (a_N.mean() - b_N.mean()) ** 2
    return float(1 - observed / by_chance) if by_chance > 0 else float("nan")


def rank_correlation(one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks; ties share their mean rank. NaN if one rater is constant."""
    if len(one_N) < 2:
        return float("nan")
    return float(rank_correlations(np.asarray(one_N)[None], np.asarray(other_N)[None])[0])


def rank_correlations(one_RN: np.ndarray, other_RN: np.ndarray) -> np.ndarray:
    """``rank_correlation`` of each row with the same row of the other, float64 (R,)."""
    a_RN, b_RN = mean_ranks(one_RN), mean_ranks(other_RN)
    spread_R = a_RN.std(axis=1) * b_RN.std(axis=1)
    products_RN = (a_RN - a_RN.mean(axis=1, keepdims=True)) * (b_RN - b_RN.mean(axis=1, keepdims=True))
    varies_R = spread_R > 0
    return np.where(varies_R, products_RN.mean(axis=1) / np.where(varies_R, spread_R, 1), np.nan)


def spearman_brown(halves: float) -> float:
    """Correlation to expect between two whole measurements, from the correlation r of two halves: 2r / (1 + r)
    [Spearman 1910, Brown 1910]. A correlation below 0 is luck, and is returned as it is."""
    return 2 * halves / (1 + halves) if halves > 0 else halves


def mean_ranks(values_N: np.ndarray) -> np.ndarray:
    """Ranks from 1, float64 (N,), or (R, N) for the ranks within each row; ties share their mean rank."""
    from scipy.stats import rankdata  # slow to import

    return rankdata(np.asarray(values_N, np.float64), axis=-1)


def mutual_information(one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Normalised mutual information of two labellings, 2 I / (H + H') [Strehl and Ghosh 2002]; labels are from 0 on.

    1: each tells the other. 0: neither says anything of the other; also if both have only one label.
    """
    width = int(np.max(other_N)) + 1
    pairs, counts_P = np.unique(np.asarray(one_N, np.int64) * width + other_N, return_counts=True)
    one_K, other_G = np.bincount(one_N), np.bincount(other_N)
    n = len(one_N)
    by_chance_P = one_K[pairs // width] * (other_G[pairs % width] / n)
    shared = float((counts_P * np.log(counts_P / by_chance_P)).sum()) / n
    both = _entropy(one_K) + _entropy(other_G)
    return min(max(2 * shared / both, 0.0), 1.0) if both > 0 else 0.0


def _entropy(counts_K: np.ndarray) -> float:
    share_K = counts_K[counts_K > 0] / counts_K.sum()
    return float(-(share_K * np.log(share_K)).sum())


def overlap(tokens_N: np.ndarray, one_N: np.ndarray, other_N: np.ndarray) -> float:
    """Jaccard's index of two selections in tokens, copies counted: sum min(r, r') l / sum max(r, r') l. 1 if both are
    empty."""
    union = int((tokens_N * np.maximum(one_N, other_N)).sum())
    return float((tokens_N * np.minimum(one_N, other_N)).sum() / union) if union else 1.0


def overlap_by_chance(one: float, other: float) -> float:
    """The ``overlap`` to expect between two independent uniform draws of ``one`` and ``other`` times the pool.

    A draw of m times the pool has a j-th copy of a document with probability p_j = min(max(m - j + 1, 0), 1). The
    overlap is sum_j p_j q_j / sum_j (p_j + q_j - p_j q_j). For shares below 1 that is p q / (p + q - p q).
    """
    copies = np.arange(np.ceil(max(one, other, 1)))
    p, q = (np.clip(multiple - copies, 0, 1) for multiple in (one, other))
    union = float((p + q - p * q).sum())
    return float((p * q).sum() / union) if union else 1.0
