"""What a sceptic would select instead of GRIP: the rules that its subset is compared with.

A rule gives every document a key; documents are taken, the largest key first, until the token budget, with the stop
rule of the project (selection.draw). Rules that fix shares say so themselves (``stratified``).
    SemDeDup  Abbas et al. 2023, "SemDeDup: Data-efficient learning at web-scale through semantic deduplication"
    D4        Tirumala et al. 2023, "D4: Improving LLM pretraining via document de-duplication and diversification",
              with the prototypes of Sorscher et al. 2022, "Beyond neural scaling laws"
    DSIR      Xie et al. 2023, "Data selection for language models via importance resampling"
Written from the papers. Shapes: N documents (of the pool, or of one cluster where it says so), S strata, d dimensions.
"""

from collections.abc import Callable

import numpy as np

from grip_assets.method.budget.allocation import largest_remainder, water_fill
from grip_assets.method.selection.draw import draw, draw_one

DEDUPLICATED = 0.75  # share of the tokens that D4 keeps before it looks for prototypes: R_dedup in the paper
ROWS = 1024  # rows and columns of a block of cosines


def first(u_N: np.ndarray, *values_N: np.ndarray) -> np.ndarray:
    """Keys by which the largest value comes first, float64 (N,): by the first of ``values_N``, among equals by the
    next, at last by ``u_N``, the largest first too."""
    key_N = np.empty(len(u_N))
    key_N[np.lexsort([-values for values in (*values_N, u_N)][::-1])] = -np.arange(len(u_N))
    return key_N


def stratified(
    key_N: np.ndarray, stratum_N: np.ndarray, lengths_N: np.ndarray, total: int, max_repeats: int
) -> np.ndarray:
    """Copies of each document when all strata get the same tokens, int64 (N,).

    A stratum that has less than its share, or documents that are too long for it, leaves the rest to the others
    (water-filling). ``stratum_N``: ids from 0.
    """
    tokens_S = np.bincount(stratum_N, lengths_N).astype(np.int64)
    cap_S = tokens_S * max_repeats
    share_S = largest_remainder(water_fill(np.ones(len(cap_S)), cap_S, total), cap_S, total)
    order = np.argsort(stratum_N, kind="stable")
    sizes_S = np.bincount(stratum_N)
    repeats_N = np.zeros(len(key_N), np.int64)
    drawn = draw(key_N[order], lengths_N[order], sizes_S, share_S, np.ones(len(cap_S)), max_repeats)
    repeats_N[order] = drawn.repeats_N
    return repeats_N


def likeness(x_ND: np.ndarray, cosine_N: np.ndarray) -> np.ndarray:
    """SemDeDup inside one cluster: the largest cosine of each document to one that is preferred to it, float64 (N,).

    Preferred is what is farther from the centroid (lower ``cosine_N``; of equals the earlier one). With threshold
    1 - ε, SemDeDup removes the documents whose value is above it, so that of each group of duplicates the one farthest
    from the centroid stays. Taking the smallest values first until the budget is that rule with ε chosen for the
    budget. The document that nothing is preferred to has -1. Rounded to 1e-6, below which float32 products differ
    between machines. O(N² d), one block of cosines in memory. ``x_ND``: unit rows of the cluster.
    """
    order = np.argsort(cosine_N, kind="stable")
    x_ND = x_ND[order]
    highest_N = np.full(len(x_ND), -1.0)
    for start in range(0, len(x_ND), ROWS):
        rows = slice(start, start + ROWS)
        for left in range(0, start + 1, ROWS):
            cosine_BB = x_ND[rows] @ x_ND[left : left + ROWS].T
            if left == start:
                cosine_BB[np.triu_indices(len(cosine_BB))] = -1  # itself, and what it is preferred to
            highest_N[rows] = np.maximum(highest_N[rows], cosine_BB.max(1))
    likeness_N = np.empty(len(x_ND))
    likeness_N[order] = highest_N.round(6)
    return likeness_N


def d4(
    likeness_N: np.ndarray,
    u_N: np.ndarray,
    lengths_N: np.ndarray,
    total: int,
    cluster_again: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Keys of D4, float64 (N,): SemDeDup to 75% of the tokens, then the least prototypical of what is left.

    ``cluster_again`` clusters the documents of a mask (N,) and says how prototypical each of them is: its cosine to
    its new centroid. What SemDeDup removed comes last; where the budget is above 75%, SemDeDup keeps as much as that.
    """
    kept = max(round(DEDUPLICATED * int(lengths_N.sum())), total)
    kept_N = draw_one(first(u_N, -likeness_N), lengths_N, kept).repeats_N > 0
    prototypical_N = np.zeros(len(kept_N))
    prototypical_N[kept_N] = cluster_again(kept_N)
    return first(u_N, kept_N.astype(float), -prototypical_N, -likeness_N)


def resampled(log_weight_N: np.ndarray, eligible_N: np.ndarray, u_N: np.ndarray) -> np.ndarray:
    """Keys of DSIR, float64 (N,): importance resampling without replacement by the Gumbel top-k trick, log w + Gumbel
    noise from uniforms ``u_N``. Documents that are not eligible come last."""
    noisy_N = log_weight_N - np.log(-np.log(u_N))
    return first(u_N, eligible_N.astype(float), noisy_N)
