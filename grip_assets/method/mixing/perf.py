"""Weights from what upsampling a domain does: the heuristic "Perf" of GEM's tables. The paper does not say what it is.

This is our reading (PerfRe in arXiv 2502.16802): a domain whose upsampling lowers the loss gets more, by its rank.
"""

import numpy as np

from grip_assets.method.agreement import mean_ranks
from grip_assets.method.budget.base import normalised


def weights(natural_D: np.ndarray, gain_D: np.ndarray, rho: float) -> np.ndarray:
    """w_d ∝ natural_d (1 + rho · rank_d), float64 (D,).

    ``gain_D``: by how much upsampling the domain lowered the loss; NaN where its training failed. Gains above 0 have
    ranks from 1/G to 1, where G is their number and ties share their mean. Other domains have rank 0.
    """
    gain_D = np.asarray(gain_D, np.float64)
    rank_D = np.zeros(len(gain_D))
    helps_D = gain_D > 0
    if helps_D.any():
        rank_D[helps_D] = mean_ranks(gain_D[helps_D]) / helps_D.sum()
    return normalised(np.asarray(natural_D, np.float64) * (1 + rho * rank_D))
